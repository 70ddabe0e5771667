"""Extra memory of one candidate: the peak resident size of a fresh process minus its size before the call and minus the outputs.

    python bench/memory.py 'norm_select[llama2_7b-attn_input-keep50-decode-f32-cpu]' pydisp      # prints {"extra_mib": 0.4}

The process draws the inputs, and so touches their memory. Then it calls once at a tiny shape, which loads code and starts libraries
(compiled candidates at the full shape, because they are made for one shape). It gives free memory back, resets VmHWM through
/proc/self/clear_refs and calls once. Freed blocks of 64 KiB and more go back at once, so that no leftover can hide a use of memory; memory
that a candidate keeps for its next call is counted. The kernel counts resident pages in batches: a figure below about 0.3 MiB means none.
"""

import ctypes
import gc
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from machine import MEMORY_THRESHOLDS, fix_allocator

MIB = 1 << 20
_RESET_PEAK = "5"  # proc(5), /proc/pid/clear_refs: reset VmHWM to the current resident size


def _status_bytes(name: str) -> int:
    return int(re.search(rf"^{name}:\s*(\d+) kB", Path("/proc/self/status").read_text(), re.M)[1]) * 1024


def _storages(value: object) -> dict[int, int]:
    """Bytes of each distinct storage behind a tensor or a nest of tuples and lists of tensors, by address."""
    if isinstance(value, tuple | list):
        return {key: size for part in value for key, size in _storages(part).items()}
    if hasattr(value, "untyped_storage"):
        storage = value.untyped_storage()
        return {storage.data_ptr(): storage.nbytes()}
    return {}


def extra_bytes(call: Callable[[], object], inputs: object = ()) -> int:
    """Peak memory of one call on CPU tensors in this process, beyond what was resident before and beyond the outputs.

    Args:
        call: returns its outputs (tensors, or tuples of them); an output that is one of `inputs` does not count as new memory.
    Raises: OSError if the kernel does not reset VmHWM (no Linux, or /proc is read-only).
    """
    fix_allocator(MEMORY_THRESHOLDS)
    gc.collect()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
    known = _storages(inputs)
    Path("/proc/self/clear_refs").write_text(_RESET_PEAK)
    before = _status_bytes("VmRSS")
    outputs = call()
    peak = _status_bytes("VmHWM")
    fresh = sum(size for key, size in _storages(outputs).items() if key not in known)
    return max(0, peak - before - fresh)


def extra_mib(case_id: str, candidate: str, timeout_s: float = 600) -> float:
    """`extra_bytes` of one candidate of a case on the CPU, in MiB, measured in a separate process.

    Raises: RuntimeError with the last line that the process wrote, if it fails.
    """
    command = [sys.executable, str(Path(__file__).resolve()), case_id, candidate]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=timeout_s)
    except subprocess.TimeoutExpired:
        raise RuntimeError(f"no answer in {timeout_s:g} s") from None
    if done.returncode:
        raise RuntimeError((done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1])
    return json.loads(done.stdout.splitlines()[-1])["extra_mib"]


def cuda_extra_bytes(call: Callable[[], object], inputs: object = ()) -> int:
    """The same on a GPU, by the count of torch's allocator; no separate process is needed."""
    import torch

    call()  # compiles, and allocates memory that libraries keep (cuBLAS workspaces)
    torch.cuda.synchronize()
    gc.collect()
    known = _storages(inputs)
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    outputs = call()
    torch.cuda.synchronize()
    peak = torch.cuda.max_memory_allocated()
    fresh = sum(size for key, size in _storages(outputs).items() if key not in known)
    return max(0, peak - before - fresh)


def main() -> None:
    import torch
    from cases import find

    case_id, name = sys.argv[1:]
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    case = find(case_id)
    tiny = case.as_tiny()
    tiny.build(tiny).candidates[name].call()
    work = case.build(case)
    candidate = work.candidates[name]
    if "compile" in name:
        candidate.call()
    print(json.dumps({"extra_mib": round(extra_bytes(candidate.call, work.inputs) / MIB, 2)}))


if __name__ == "__main__":
    main()
