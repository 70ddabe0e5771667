"""Memory: how much a device has left, and how much a file of weights needs."""

import json
import math
import os
from pathlib import Path

import torch

_CGROUPS = Path("/sys/fs/cgroup")
_CGROUP_FILES = (  # limit, use, and what of the use is files that can be dropped
    ("memory.max", "memory.current", "inactive_file"),
    ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes", "total_inactive_file"),
)


def free_bytes(device: torch.device) -> float | None:
    """Bytes that new tensors can take on a device, within the limit of a container; None if the platform does not tell."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    if device.type == "cpu" and os.path.exists("/proc/meminfo"):
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return min(int(line.split()[1]) * 1024, _free_in_container())
    return None


def resident_bytes() -> int | None:
    """Memory that this process holds now; None where nobody says."""
    pages = Path("/proc/self/statm")
    return int(pages.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") if pages.is_file() else None


def _free_in_container() -> float:
    """Bytes left below the memory limit of a container (cgroup v2, else v1); infinite without a limit.

    Files that were read stay in memory until something else needs it; they count as free.
    """
    for limit, used, cached in _CGROUP_FILES:
        limit, used = (_CGROUPS / name for name in (limit, used))
        if limit.is_file() and used.is_file():
            if limit.read_text().strip() == "max":
                return float("inf")
            return int(limit.read_text()) - int(used.read_text()) + _statistic(limit.with_name("memory.stat"), cached)
    return float("inf")


def _statistic(path: Path, name: str) -> int:
    if path.is_file():
        for line in path.read_text().splitlines():
            if line.startswith(f"{name} "):
                return int(line.split()[1])
    return 0


def stored_shapes(path: Path) -> dict[str, tuple[int, ...]]:
    """The names and shapes of the weights in a safetensors file, from its head; empty for a damaged file, which loading will report.

    A file that tells of more weights than it has half bytes for is damaged.
    """
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        try:
            header = json.loads(file.read(min(length, 100_000_000)))
        except (ValueError, RecursionError):
            return {}
    shapes = {}
    for name, entry in header.items() if isinstance(header, dict) else ():
        shape = entry.get("shape") if name != "__metadata__" and isinstance(entry, dict) else None
        if isinstance(shape, list) and all(type(n) is int and n >= 0 for n in shape):
            shapes[name] = tuple(shape)
    return shapes if _count(shapes) <= 2 * path.stat().st_size else {}


def stored_values(path: Path) -> int:
    """The number of weights in a safetensors file; 0 for a damaged one."""
    return _count(stored_shapes(path))


def _count(shapes: dict[str, tuple[int, ...]]) -> int:
    return sum(map(math.prod, shapes.values()))
