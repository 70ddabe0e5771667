"""Memory of a running model: its peak, measured in a separate process, and the memory pages of its weights."""

import contextlib
import gc
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import torch
from torch import nn

from pydisp.speed.models import NAMES, Source, build
from pydisp.speed.timing import Workload, run_once


def ask_for_huge_pages() -> None:
    """Make torch put weights on a CPU into pages of 2 MiB if Linux grants them, unless THP_MEM_ALLOC_ENABLE is already set.

    With pages of 4 KiB, the reading speed depends on which physical pages a model happened to get (LOG.md has figures), so that times of
    two models, or of one model built twice, cannot be compared. torch reads the variable at its first tensor, so call this before that.
    """
    os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")


def huge_page_share() -> float | None:
    """Share of this process's anonymous memory that is in huge pages; None if the system does not tell."""
    try:
        lines = Path("/proc/self/smaps_rollup").read_text().splitlines()[1:]
        sizes = {name: int(size.split()[0]) for name, _, size in (line.partition(":") for line in lines)}
        return sizes["AnonHugePages"] / sizes["Anonymous"]
    except (OSError, KeyError, ValueError, ZeroDivisionError):
        return None


def _peak_mib(model: nn.Module, workload: Workload) -> float:
    """Peak MiB of this process (on an accelerator: of its tensors there) while the model, already in memory, ran once."""
    for parameter in model.parameters():
        parameter.sum()  # reads every page of the weights into memory before the count starts
    gc.collect()
    if model.device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(model.device)
        run_once(model, workload)
        return torch.cuda.max_memory_allocated(model.device) / 2**20
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")  # forget the peak of loading and slicing
    run_once(model, workload)
    try:
        line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM:"))
        return int(line.split()[1]) / 1024
    except (OSError, StopIteration):
        return _peak_since_start_mib()


def _peak_since_start_mib() -> float:
    """For systems that keep only one peak for the whole life of a process, loading and slicing included."""
    try:
        import resource
    except ImportError:
        raise OSError("this system does not tell the peak memory of a process; add --no-memory.") from None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 2**20 if sys.platform == "darwin" else peak / 1024


def peak_mib(source: Source, name: str, workload: Workload, threads: int, at_most_seconds: float | None = None) -> float:
    """Peak memory of one model of a source, in a fresh process with nothing else in it.

    Raises: ChildProcessError with the last line that the process wrote, if it fails; TimeoutError once `at_most_seconds` are over.
    """
    recipe = json.dumps({"source": asdict(source), "name": name, "workload": asdict(workload), "threads": threads})
    # python -m puts the working directory first on the path, but the new process must import the same package as this one
    path = os.pathsep.join([str(Path(__file__).parents[2]), *filter(None, [os.environ.get("PYTHONPATH")])])
    command, environment = [sys.executable, "-m", "pydisp.speed", recipe], {**os.environ, "PYTHONPATH": path}
    try:
        run = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=at_most_seconds)
    except subprocess.TimeoutExpired:
        raise TimeoutError(f"the process that measures the memory of {name} was not done after {at_most_seconds:.0f} s.") from None
    if run.returncode:
        last = (run.stderr.strip().splitlines() or [f"exit status {run.returncode}"])[-1]
        raise ChildProcessError(f"the process that measures the memory of {name} failed ({last}).")
    return float(run.stdout.strip().splitlines()[-1])


def print_peak(recipe: str) -> None:
    """The work of the process that `peak_mib` starts: build the model of a recipe, run it once and print its peak."""
    given = json.loads(recipe)
    torch.set_num_threads(given["threads"])
    model = build(Source(**given["source"]), [given["name"]])[given["name"]]
    print(_peak_mib(model, Workload(**given["workload"])))


def peaks_of(source: Source, workload: Workload, at_most_seconds: float | None = None) -> Iterator[tuple[str, float]]:
    """Yield the name and the peak_mib of each model of a source, one after the other."""
    started = time.monotonic()
    for name in NAMES:
        left = None if at_most_seconds is None else max(0.0, at_most_seconds - (time.monotonic() - started))
        yield name, peak_mib(source, name, workload, torch.get_num_threads(), left)
