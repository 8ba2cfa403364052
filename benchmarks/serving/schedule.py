"""When requests leave: a seeded schedule that no answer can hold up."""

import random


def poisson(rate: float, seconds: float, seed: int) -> list[float]:
    """Return the times of a Poisson process within `[0, seconds)`, ascending.

    Args:
        rate: arrivals per second on average.
        seconds: length of the window.
        seed: the same seed gives the same times.
    """
    rng = random.Random(seed)
    times: list[float] = []
    now = rng.expovariate(rate)
    while now < seconds:
        times.append(now)
        now += rng.expovariate(rate)
    return times
