"""Shared by the suites under pytest: the modules beside them, fixed threads and allocator, and one way to time a candidate of a case."""

import statistics
import sys
from functools import lru_cache
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parent))

from cases import Case, Work, error  # noqa: E402
from machine import commit, device_name, fix_allocator, instruction_set  # noqa: E402

ABOUT_S = 0.5  # about so long one candidate is timed


def pytest_configure():
    fix_allocator()


def pytest_generate_tests(metafunc):
    """A bench_ function that takes `case` and `name` runs for every candidate of every quick case of its module."""
    if {"case", "name"} <= set(metafunc.fixturenames):
        quick = [(case, name) for case in metafunc.module.cases("cpu") if case.is_quick for name in case.names]
        metafunc.parametrize(
            ("case", "name"), quick, ids=[f"{case.op}-{case.name}-{case.dtype}-{case.device}-{name}" for case, name in quick]
        )


@lru_cache(maxsize=1)
def _work(case_id: str) -> Work:
    case = _CASES[case_id]
    return case.build(case)


_CASES: dict[str, Case] = {}


@pytest.fixture
def timed(benchmark):
    """`timed(case, name)`: time one candidate, then check its result; skips a peer that is absent here, with the reason."""

    def run(case: Case, name: str) -> None:
        _CASES[case.id] = case
        work = _work(case.id)
        if name in work.absent:
            pytest.skip(f"{name}: {work.absent[name]}")
        candidate = work.candidates[name]
        benchmark.group = case.id
        benchmark.extra_info |= {
            "commit": commit(),
            "device": device_name("cpu"),
            "instruction_set": instruction_set("cpu"),
            "threads": torch.get_num_threads(),
            "role": candidate.role,
        }
        from ratios import wall_clock

        candidate.call()
        warm_s = statistics.median(wall_clock(candidate.call, 1)) / 1e3
        # One call per round: pytest-benchmark allows no more with a setup, which restores inputs that are changed in place.
        # For candidates that take seconds, one round is enough: some in 16 bits take 50 times as long as ours.
        rounds = max(3 if warm_s < ABOUT_S else 1, min(200, int(ABOUT_S / warm_s)))
        result = benchmark.pedantic(candidate.call, setup=work.restore, rounds=rounds)
        if candidate.checked != 0:
            assert error(result, work.gold(), candidate.checked) <= case.tolerance

    return run
