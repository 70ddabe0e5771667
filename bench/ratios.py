"""Times candidates against each other in one run: rounds take turns, the result is a ratio of medians.

from ratios import ratios
ratios({"c++": f, "torch": g})      # {"c++": (2.7, 1.0), "torch": (26.4, 9.8)}: median ms, and times the first one's
"""

import statistics
import time
from collections.abc import Callable


def ratios(candidates: dict[str, Callable[[], object]], rounds: int = 21, at_least_s: float = 0.002) -> dict[str, tuple[float, float]]:
    """Median runtime_ms of each candidate and its ratio to the first candidate's; a round repeats a call until `at_least_s` is over."""
    calls = {}
    for name, call in candidates.items():
        call()  # warms caches and allocators up
        start = time.perf_counter()
        call()
        calls[name] = max(1, round(at_least_s / (time.perf_counter() - start)))
    times = {name: [] for name in candidates}
    for _ in range(rounds):
        for name, call in candidates.items():
            start = time.perf_counter()
            for _ in range(calls[name]):
                call()
            times[name].append((time.perf_counter() - start) / calls[name] * 1e3)
    medians = {name: statistics.median(found) for name, found in times.items()}
    first = next(iter(medians.values()))
    return {name: (median, median / first) for name, median in medians.items()}
