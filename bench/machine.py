"""Conditions of a timing besides the code: threads and the allocator, set the same for every run, and a record of the machine.

pin(threads=1)         # first thing in a program; starts it again if the thread variables were not set before torch was loaded
record = describe("cpu")
"""

import ctypes
import datetime
import importlib.metadata
import os
import platform
import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))  # measure the pydisp of this checkout, whether or not one is installed
THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
LIBRARIES = ("torch", "transformers", "triton", "liger-kernel", "cut-cross-entropy")
# glibc adapts its thresholds to earlier frees, so the page faults of a candidate depend on which one ran before it. These values are the
# ones that a long process reaches: blocks up to 32 MiB (glibc's maximum) come from the heap, and freed heap stays.
TIMING_THRESHOLDS = (32 << 20, 1 << 30)
# For measures of memory: freed memory goes back to the system at once, so that the next call cannot use resident leftovers unnoticed.
MEMORY_THRESHOLDS = (64 << 10, 64 << 10)
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3


def fix_allocator(thresholds: tuple[int, int] = TIMING_THRESHOLDS) -> bool:
    """Set glibc's M_MMAP_THRESHOLD and M_TRIM_THRESHOLD (bytes) for this process; False if the C library has no mallopt (musl, macOS)."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    mmap_bytes, trim_bytes = thresholds
    return bool(mallopt(_M_MMAP_THRESHOLD, mmap_bytes)) and bool(mallopt(_M_TRIM_THRESHOLD, trim_bytes))


def pin(threads: int) -> None:
    """Fix threads and allocator. If the thread variables differ, the program starts again with them set: libraries read them only once."""
    wanted = dict.fromkeys(THREAD_VARIABLES, str(threads))
    if any(os.environ.get(name) != value for name, value in wanted.items()):
        os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], os.environ | wanted)
    fix_allocator()
    import torch

    torch.set_num_threads(threads)


def commit() -> str:
    """The commit of this checkout, with `+` if tracked files differ from it, or `unknown` outside git; PYDISP_COMMIT, if set, instead.

    For a copy of a checkout, whose git is older than its files: the figures belong to the commit that was copied.
    """
    from pydisp.environment import CODE
    from pydisp.environment import commit as commit_of

    return os.environ.get("PYDISP_COMMIT") or commit_of([*CODE, "bench", ":!bench/results"], ROOT) or "unknown"


def device_name(device: str) -> str:
    """The model name of the CPU or the GPU."""
    if device == "cuda":
        import torch

        return torch.cuda.get_device_name()
    try:
        model = re.search(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(), re.M)
    except OSError:
        model = None
    return model[1].strip() if model else platform.processor() or platform.machine()


def instruction_set(device: str) -> str:
    """The instruction set of the ops: `avx2`, `avx512`, `neon` or `generic` on CPUs, `sm90` and the like on NVIDIA GPUs."""
    import torch

    if device == "cuda":
        return "sm{}{}".format(*torch.cuda.get_device_capability())
    from pydisp.ops import native

    return native.instruction_set() if native.is_loaded() else "no-native"


def describe(device: str) -> dict:
    """Device, instruction sets, versions, commit, threads and date of this run; warns on standard error of uncommitted changes."""
    import torch

    from pydisp.environment import environment

    record = {
        "device": device_name(device),
        "kind": device,
        "instruction_set": instruction_set(device),
        "machine": platform.machine(),
        "cpu_instruction_sets": environment()["cpu"]["instruction_sets"],
        "ops": {name: where[device] for name, where in environment()["ops"].items()},
        "versions": {"python": platform.python_version(), **{name: _version(name) for name in LIBRARIES}},
        "threads": torch.get_num_threads(),
        "commit": commit(),
        "date": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d"),
    }
    if device == "cuda":
        record["versions"]["cuda"] = torch.version.cuda
    if record["commit"].endswith("+"):
        print(
            f"warning: files differ from commit {record['commit'][:-1]}; commit first, or the figures will be marked with +.",
            file=sys.stderr,
        )
    return record


def file_stem(record: dict) -> str:
    """The name, such as `amd-epyc-avx2`, under which bench/results keeps the results of this device and instruction set."""
    name = re.sub(r"\((r|tm)\)|\b(cpu|processor|core)\b", " ", record["device"].lower())
    return re.sub(r"[^a-z0-9]+", "-", f"{name} {record['instruction_set']}").strip("-")


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None
