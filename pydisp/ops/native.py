"""Loads the C++ ops (csrc/, built by setup.py into pydisp/_native.so) and says once which implementation serves on the CPU.

Without a working library plain torch serves; with `PYDISP_REQUIRE_NATIVE=1` that is an ImportError instead.
`PYDISP_CPU_ISA=generic|avx2|avx512|avx512bf16` chooses one of the instruction sets that were compiled and that the processor has; by
default the newest of them serves.
"""

import ctypes
import logging
import os
from functools import cache
from pathlib import Path

import torch

from pydisp.ops.library import has_kernel, is_set

LIBRARY_FILE = Path(__file__).parents[1] / "_native.so"
logger = logging.getLogger("pydisp")


@cache
def load() -> str | None:
    """Load the library, once. Returns: None, or the reason why it could not be loaded."""
    why = _why_not_loaded(LIBRARY_FILE)
    if why is None:
        logger.info("pydisp: the CPU ops run in C++ (%s).", LIBRARY_FILE.name)
    elif is_set("PYDISP_REQUIRE_NATIVE"):
        raise ImportError(f"PYDISP_REQUIRE_NATIVE is set, but {why}; install again where torch and a C++20 compiler are, or unset it.")
    else:
        logger.warning("pydisp: the CPU ops run in plain torch, because %s.", why)
    return why


def is_loaded() -> bool:
    """Whether csrc/ was built and its registrations are live."""
    return load() is None


def instruction_sets() -> list[str]:
    """The instruction sets that were compiled and that this processor has, the plainest first; empty without the library."""
    return [name for number, name in _compiled() if _library().pydisp_isa_supported(number)] if is_loaded() else []


def instruction_set() -> str | None:
    """The instruction set in use; None without the library."""
    return dict(_compiled())[_library().pydisp_isa_in_use()] if is_loaded() else None


def use_instruction_set(name: str) -> None:
    """Run the C++ ops with another set from now on, in all threads (for tests and measurements).

    Raises: ValueError for a set that was not compiled or that this processor lacks.
    """
    if name not in instruction_sets():
        raise ValueError(f"instruction set {name!r} cannot run here; choose among: {', '.join(instruction_sets()) or 'none (no C++ ops)'}.")
    _library().pydisp_use_isa(next(number for number, known in _compiled() if known == name))


@cache
def _library() -> ctypes.CDLL:
    library = ctypes.CDLL(str(LIBRARY_FILE))
    library.pydisp_isa_name.restype = ctypes.c_char_p
    return library


@cache
def _compiled() -> list[tuple[int, str]]:
    compiled = []
    while (name := _library().pydisp_isa_name(len(compiled))) is not None:
        compiled.append((len(compiled), name.decode()))
    return compiled


def _why_not_loaded(file: Path) -> str | None:
    if not file.is_file():
        return "this installation was built without csrc/ (torch or a C++ compiler was missing)"
    try:
        torch.ops.load_library(file)
    except OSError as error:
        return f"{file.name} does not load with torch {torch.__version__} ({error})"
    wanted = os.environ.get("PYDISP_CPU_ISA")
    if wanted and wanted != dict(_compiled())[_library().pydisp_isa_in_use()]:
        logger.warning(
            "pydisp: PYDISP_CPU_ISA=%s is not a set that this processor has; %s serves.",
            wanted,
            dict(_compiled())[_library().pydisp_isa_in_use()],
        )
    # A misspelt namespace in C++ registers nothing and says nothing.
    return None if has_kernel("norm_select", "CPU") else f"{file.name} registered no op"
