"""The verdicts of the Triton kernels' checks, kept in the user's cache folder so that each check is made once.

A verdict is a small JSON file of its own:

    {"about": {"op": "norm_select", "dtype": "bfloat16", "device": "NVIDIA H100 (9, 0)", "driver": ...}, "error": null, "seconds": 0.7}

It holds for exactly what `about` says: with another device, driver, torch, triton or pydisp, or a changed kernel, the check is made again.
If the folder cannot be written to or a file is damaged, that is no error: the check is made again.
"""

import hashlib
import importlib
import json
import os
import sys
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path

import torch


@dataclass(frozen=True)
class Verdict:
    """error: why plain torch serves, or None if the kernels are right. seconds: duration of the check, compilation included."""

    error: str | None
    seconds: float


def circumstances(op: str, device: torch.device, dtype: torch.dtype) -> dict[str, str]:
    """All that a verdict depends on, in words. Raises: whatever importing triton raises."""
    import triton

    from pydisp import __version__

    return {
        "op": op,
        "dtype": name_of(dtype),
        "device": name_of_device(device),
        "driver": _driver() if device.type == "cuda" else "",
        "torch": torch.__version__,
        "triton": triton.__version__,
        "pydisp": __version__,
        "kernels": sources_digest(),
    }


def name_of(dtype: torch.dtype) -> str:
    """`bfloat16` for torch.bfloat16."""
    return str(dtype).removeprefix("torch.")


def name_of_device(device: torch.device) -> str:
    """The model of a GPU and its capability: the same for equal GPUs of one machine. On any other device Triton's interpreter runs."""
    if device.type != "cuda":
        return f"{device.type}, interpreted"
    properties = torch.cuda.get_device_properties(device)
    architecture = getattr(properties, "gcnArchName", None) if torch.version.hip else None  # AMD's capability names no architecture
    return f"{properties.name} ({architecture or f'{properties.major}, {properties.minor}'})"


def sources_digest() -> str:
    """A digest of the files of the kernels and of self_check.py, as they are on disk."""
    package = importlib.import_module("pydisp.kernels")
    files = [file for folder in package.__path__ for file in Path(folder).glob("*.py")] + [Path(__file__).with_name("self_check.py")]
    digest = hashlib.sha256()
    for file in sorted(files, key=lambda file: file.name):
        digest.update(file.name.encode() + b"\0" + file.read_bytes())
    return digest.hexdigest()[:16]


def _driver() -> str:
    """The driver's version as the system and as CUDA report it; empty if neither does."""
    names = []
    for file in ("/proc/driver/nvidia/version", "/sys/module/amdgpu/version"):
        try:
            names += Path(file).read_text(encoding="utf-8").splitlines()[:1]
        except (OSError, ValueError):
            continue
    number = getattr(torch._C, "_cuda_getDriverVersion", None)
    return "; ".join([*names, *([] if number is None else [f"CUDA {number()}"])])


def folder() -> Path | None:
    """The folder of the verdicts; None if there is neither a cache folder nor a home."""
    asked = os.environ.get("XDG_CACHE_HOME", "")
    try:
        if os.path.isabs(asked):  # the XDG specification says to ignore relative paths
            cache = Path(asked)
        elif sys.platform == "win32":
            cache = Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
        elif sys.platform == "darwin":
            cache = Path.home() / "Library" / "Caches"
        else:
            cache = Path.home() / ".cache"
    except RuntimeError:
        return None
    return cache / "pydisp" / "triton"


def file_of(about: dict[str, str]) -> Path | None:
    """The file of the verdict on `about`, which need not exist; None without a folder."""
    where = folder()
    digest = hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()[:16]
    return where and where / f"{about['op']}-{about['dtype']}-{digest}.json"


def read(about: dict[str, str]) -> Verdict | None:
    """The verdict that was kept on `about`; None if there is none or its file is damaged."""
    file = file_of(about)
    try:
        kept = json.loads(file.read_text(encoding="utf-8")) if file else None
        if kept is None or kept["about"] != about or not isinstance(kept["error"], str | None):
            return None
        return Verdict(kept["error"], float(kept["seconds"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def keep(about: dict[str, str], verdict: Verdict) -> bool:
    """Write the verdict on `about`; the file appears whole even if another process writes it too. Returns: whether it could be written."""
    file = file_of(about)
    if file is None:
        return False
    part = None
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile("w", dir=file.parent, suffix=".part", delete=False, encoding="utf-8") as opened:
            part = Path(opened.name)
            json.dump({"about": about, **asdict(verdict)}, opened, indent=1)
        part.replace(file)
        return True
    except OSError:
        if part is not None:
            part.unlink(missing_ok=True)
        return False
