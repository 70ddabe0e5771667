"""The Triton kernels: under the interpreter on CPU tensors where TRITON_INTERPRET=1 is set, else on the GPU if there is one.

    TRITON_INTERPRET=1 python -m pytest tests/kernels    # any machine
    python -m pytest tests/kernels                       # a GPU's kernels, and what the compiler makes of them (test_aot.py)

The interpreter and the compiler do not share a process: the variable is read when triton is imported.
"""

import importlib.util
import os
import sys
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parent))  # for interpreter.py, aot.py and gold.py

INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"
if INTERPRETED or torch.cuda.is_available():
    os.environ.setdefault("PYDISP_TRITON", "1")  # before pydisp is imported: a kernel that fails a test must not be replaced by plain torch
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # or torch 2.10's deterministic mode, which every test has, refuses cuBLAS
_has_triton = importlib.util.find_spec("triton.runtime") is not None if importlib.util.find_spec("triton") else False
if not _has_triton:
    collect_ignore_glob = ["test_*.py"]
elif INTERPRETED:
    collect_ignore_glob = ["test_aot.py"]
elif torch.cuda.is_available():
    collect_ignore_glob = ["test_interpreter.py"]
else:
    collect_ignore_glob = [one.name for one in Path(__file__).parent.glob("test_*.py") if one.name != "test_aot.py"]


def pytest_report_header(config):
    where = "interpreter" if INTERPRETED else "GPU" if torch.cuda.is_available() else "neither interpreter nor GPU: compiled, not run"
    return f"Triton kernels: {where if _has_triton else 'triton is not installed'}"


@pytest.fixture
def device() -> torch.device:
    """Where kernels run: CPU tensors under the interpreter, else the GPU."""
    return torch.device("cpu" if INTERPRETED else "cuda")


@pytest.fixture(autouse=True)
def launches():
    """Under the interpreter every test's launches are watched: bounds and races raise, traffic is counted; on a GPU None."""
    if not INTERPRETED:
        yield None
        return
    import interpreter

    with interpreter.watch() as seen:
        yield seen


@pytest.fixture
def counted(launches):
    """The launches so far, for tests of the bytes that they move."""
    if launches is None:
        pytest.skip("only the interpreter counts bytes")
    return launches
