"""Counters, gauges and histograms, and the text that Prometheus reads.

Seen to fail: a value on a bucket's bound counted above it; buckets not cumulative; a quote in a label left as it is.
"""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.observability.metrics import Counter, Gauge, Histogram, exposition


def test_the_text_of_each_kind() -> None:
    """Help, type and samples, labels quoted and escaped, whole numbers without a point."""
    counter, gauge = Counter("c_total", "counts", ("a", "b")), Gauge("g", "goes up and down")
    counter.add("x", 'quo"te\\ and\nline')
    counter.add("x", 'quo"te\\ and\nline', amount=2)
    gauge.set(value=0.5)
    histogram = Histogram("h", "spreads", ("m",), (0.1, 1.0))
    histogram.observe_all("x", values=(0.1, 0.5, 7.0))
    assert exposition([counter, gauge, histogram]) == (
        "# HELP c_total counts\n# TYPE c_total counter\n"
        'c_total{a="x",b="quo\\"te\\\\ and\\nline"} 3\n'
        "# HELP g goes up and down\n# TYPE g gauge\ng{} 0.5\n"
        "# HELP h spreads\n# TYPE h histogram\n"
        'h_bucket{m="x",le="0.1"} 1\nh_bucket{m="x",le="1"} 2\nh_bucket{m="x",le="+Inf"} 3\n'
        'h_sum{m="x"} 7.6\nh_count{m="x"} 3\n'
    )


@given(values=st.lists(st.floats(0, 10), max_size=50))
def test_buckets_count_what_is_at_most_their_bound(values: list[float]) -> None:
    """Each bucket holds exactly the values up to its bound, the last one all of them."""
    bounds = (0.0, 1.0, 2.5, 9.0)
    histogram = Histogram("h", "spreads", (), bounds)
    histogram.observe_all(values=values)
    found = {sample.labels["le"]: sample.value for sample in histogram.samples() if sample.suffix == "_bucket"}
    for bound in bounds:
        assert found[str(int(bound)) if bound == int(bound) else str(bound)] == sum(v <= bound for v in values)
    assert found["+Inf"] == histogram.count() == len(values)


def test_gauges_forget() -> None:
    """A gauge that was cleared shows only what was set since; a counter with the wrong labels is our own fault."""
    gauge = Gauge("g", "goes up and down", ("m",))
    gauge.set("old", value=1)
    gauge.clear()
    gauge.set("new", value=2)
    assert [dict(sample.labels) for sample in gauge.samples()] == [{"m": "new"}]
    counter = Counter("c_total", "counts", ("a",))
    counter.add("x", "y")
    with pytest.raises(ValueError, match="zip"):
        list(counter.samples())
