"""For every test: uninitialised memory is NaN, so an output that nobody wrote shows; random inputs are fresh and their seed is printed."""

import os
import random
import zlib

import pytest
import torch

SEED = int(os.environ.get("PYDISP_TEST_SEED") or random.randrange(2**31))


def pytest_report_header(config):
    from pydisp.ops import native

    sets = native.instruction_sets()
    return [
        f"PYDISP_TEST_SEED={SEED}",
        f"C++ instruction sets: {', '.join(sets) or 'none'}; in use: {native.instruction_set() or 'plain torch'}",
    ]


@pytest.fixture(autouse=True)
def deterministic_algorithms():
    torch.use_deterministic_algorithms(True)
    yield
    torch.use_deterministic_algorithms(False)


@pytest.fixture
def generator(request) -> torch.Generator:
    """A generator of its own for each test; PYDISP_TEST_SEED (shown with a failure) draws the same inputs again."""
    print(f"PYDISP_TEST_SEED={SEED}")
    return torch.Generator().manual_seed(SEED + zlib.crc32(request.node.nodeid.encode()))
