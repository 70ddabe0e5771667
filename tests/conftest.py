"""For every test: uninitialised memory is NaN, so an output that nobody wrote shows; random inputs are fresh and their seed is printed."""

import os
import random
import zlib

import pytest
import torch

SEED = int(os.environ.get("PYDISP_TEST_SEED") or random.randrange(2**31))


def pytest_report_header(config):
    return f"PYDISP_TEST_SEED={SEED}"


def pytest_runtest_setup(item):
    # the report of a test carries these to the process that writes the summary, under xdist too
    isa = getattr(item, "callspec", None) and item.callspec.params.get("isa")
    if isa:
        item.user_properties.append(("instruction set", f"{isa}{' alone' if 'csrc' in item.path.parts else ''}"))


def pytest_terminal_summary(terminalreporter):
    """Which instruction sets the C++ kernels ran with: in the ops, and alone (tests/csrc: under sanitizers, simulated, under qemu)."""
    ran, left_out = (
        {value for report in terminalreporter.getreports(outcome) for name, value in report.user_properties if name == "instruction set"}
        for outcome in ("passed", "skipped")
    )
    if ran or left_out:
        skipped = f"; skipped: {', '.join(sorted(left_out - ran))}" if left_out - ran else ""
        terminalreporter.write_line(f"C++ instruction sets that ran: {', '.join(sorted(ran)) or 'none'}{skipped}")


@pytest.fixture(autouse=True)
def deterministic_algorithms():
    torch.use_deterministic_algorithms(True)
    yield
    torch.use_deterministic_algorithms(False)


@pytest.fixture
def many_lines(monkeypatch):
    """Phases say lines from their first step on; short ones too."""
    from pydisp import progress

    for name in ("FIRST_LINE_SECONDS", "LINE_SECONDS", "SHARE_OF_TIME"):
        monkeypatch.setattr(progress, name, 0.0)


@pytest.fixture
def generator(request) -> torch.Generator:
    """A generator of its own for each test; PYDISP_TEST_SEED (shown with a failure) draws the same inputs again."""
    print(f"PYDISP_TEST_SEED={SEED}")
    return torch.Generator().manual_seed(SEED + zlib.crc32(request.node.nodeid.encode()))


@pytest.fixture
def tiny_shape(monkeypatch) -> str:
    """The name of a shape of pydisp.shapes that is built in no time."""
    from pydisp import shapes

    values = dict(
        vocab_size=61, hidden_size=96, intermediate_size=160, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2,
        max_position_embeddings=64, tie_word_embeddings=True,
    )  # fmt: skip
    monkeypatch.setitem(shapes.SHAPES, "tiny", ("llama", values))
    return "tiny"
