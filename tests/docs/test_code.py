"""Every python example of the documentation runs, and prints what the page says it prints.

Seen to fail with: a block that raises, a wrong `text` block behind a python block, a name used before the block that
makes it, a connection to an address, a file that another page left behind (each page has a folder of its own).
"""

import io
import socket
from collections.abc import Iterator
from contextlib import redirect_stdout
from pathlib import Path

import pytest
import torch

from tests.docs.pages import PAGES, examples


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """Run in an empty folder, without a network, and leave torch as it was."""

    def refuse(*arguments: object) -> None:
        raise AssertionError(f"documentation must not connect to {arguments[1:]}")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.chdir(tmp_path)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with torch.random.fork_rng(devices=[]):
        yield
    torch.set_num_threads(threads)


def run_examples(text: str, name: str) -> int:
    """Return how many python blocks of a page ran; each sees the names the earlier ones made."""
    namespace: dict[str, object] = {"__name__": "__documentation__"}
    listed = examples(text)
    for block, shown in listed:
        source = "\n" * (block.line - 1) + block.text  # a traceback then names the page's own line
        printed = io.StringIO()
        with redirect_stdout(printed):
            exec(compile(source, name, "exec"), namespace)
        if shown is not None:
            assert printed.getvalue().strip() == shown.strip(), f"{name}, block in line {block.line}"
    return len(listed)


@pytest.mark.usefixtures("offline")
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_python_block_runs_and_prints_what_the_page_shows(page: Path) -> None:
    """A page's examples run in order in one namespace, offline and in an empty folder."""
    run_examples(page.read_text(encoding="utf-8"), str(page))


@pytest.mark.usefixtures("offline")
@pytest.mark.parametrize(
    ("page", "reason"),
    [
        ("```python\nraise ValueError('broken')\n```\n", "broken"),
        ("```python\nprint(2)\n```\n\n```text\n3\n```\n", "block in line 2"),
        ("```python\nprint(later)\n```\n\n```python\nlater = 1\n```\n", "later"),
        (
            "```python\nimport socket\nwith socket.socket() as s:\n    s.connect(('127.0.0.1', 9))\n```\n",
            "must not connect",
        ),
    ],
    ids=["raises", "prints something else", "uses a name too early", "connects"],
)
def test_a_broken_example_is_noticed(page: str, reason: str) -> None:
    """What a page must not do fails, so that a green run means something."""
    with pytest.raises(Exception, match=reason):
        run_examples(page, "planted.md")


def test_blocks_share_a_namespace_and_output_may_be_left_out() -> None:
    """A later block sees the names of an earlier one; a block without shown output only has to run."""
    page = "```python\nx = 2\n```\n\n```python\nprint(x)\n```\n\nProse.\n\n```text\nnot its output\n```\n"
    assert run_examples(page, "planted.md") == 2


def test_the_documentation_has_examples() -> None:
    """There is something to run: the pages that teach by example hold python blocks."""
    counts = {page.name: len(examples(page.read_text(encoding="utf-8"))) for page in PAGES}
    assert all(counts[name] for name in ("symmetries.md", "generation.md", "evaluation.md", "mathematics.md"))
