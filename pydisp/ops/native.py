"""Loads the C++ ops (csrc/, built by setup.py into pydisp/_native.so) and says once which implementation serves on the CPU.

`PYDISP_REQUIRE_NATIVE=1` turns a missing or broken library into an ImportError instead of a fall-back to plain torch.
"""

import logging
import os
from functools import cache
from pathlib import Path

import torch

from pydisp.ops.library import has_kernel

LIBRARY_FILE = Path(__file__).parents[1] / "_native.so"
logger = logging.getLogger("pydisp")


@cache
def load() -> str | None:
    """Load the library, once; returns why it is not there, None if it is."""
    why = _why_not_loaded(LIBRARY_FILE)
    if why is None:
        logger.info("pydisp: the CPU ops run in C++ (%s).", LIBRARY_FILE.name)
    elif os.environ.get("PYDISP_REQUIRE_NATIVE", "0") not in ("", "0"):
        raise ImportError(f"PYDISP_REQUIRE_NATIVE is set, but {why}; reinstall pydisp where torch and a C++20 compiler are, or unset it.")
    else:
        logger.warning("pydisp: the CPU ops run in plain torch, because %s.", why)
    return why


def is_loaded() -> bool:
    """Whether csrc/ was built and its registrations are live."""
    return load() is None


def _why_not_loaded(file: Path) -> str | None:
    if not file.is_file():
        return "this installation was built without csrc/ (torch or a C++ compiler was missing)"
    try:
        torch.ops.load_library(file)
    except OSError as error:
        return f"{file.name} does not load with torch {torch.__version__} ({error})"
    # A misspelt namespace in C++ registers nothing and says nothing.
    return None if has_kernel("norm_select", "CPU") else f"{file.name} registered no op"
