"""What this installation will run: versions, devices, the CPU's instruction sets, and the implementation behind each op.

Report("Loss by frequency", facts={**run_facts(model), "seed": 0})    # the facts that every report gives about its run
"""

import importlib.metadata
import os
import platform
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import nn

LIBRARIES = ("torch", "transformers", "safetensors", "tokenizers", "numpy", "triton", "lm-eval", "peft", "datasets")


CODE = ("pydisp", "kernels", "csrc")  # the folders of a checkout that decide the result of a run


def versions() -> dict[str, str]:
    """Versions of Python, pydisp and the libraries that decide the figures of a run."""
    import torch
    import transformers

    from pydisp import __version__

    return {
        "pydisp": __version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "transformers": transformers.__version__,
    }


def run_facts(model: "nn.Module | None" = None) -> dict:
    """The facts of a run for a report: versions, threads, device and dtype of the model (if there is one), and the `commit` if pydisp runs
    from a checkout. Two runs on one machine at one commit give the same facts, because there are no times and no paths.
    """
    import torch

    known = {"versions": versions(), "threads": torch.get_num_threads()}
    if model is not None:
        known |= {"device": str(model.device), "dtype": str(model.dtype).removeprefix("torch.")}
    checked_out = commit()
    return known | ({"commit": checked_out} if checked_out else {})


def commit(paths: Sequence[str] = CODE, checkout: Path = Path(__file__).parents[1]) -> str | None:
    """The commit of the checkout that pydisp runs from, in twelve digits, with `+` if tracked files below `paths` differ from it.

    None if there is no checkout (an installed pydisp may lie inside another project's checkout, which does not count) or no git.
    """
    if not (checkout / ".git").exists():
        return None
    command = ["git", "-C", str(checkout)]
    # inside a git hook, the GIT_ variables name another repository
    apart = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    try:
        head = subprocess.run([*command, "rev-parse", "HEAD"], env=apart, capture_output=True, text=True, check=True).stdout.strip()
        differs = subprocess.run([*command, "diff", "--quiet", "HEAD", "--", *paths], env=apart, capture_output=True).returncode
    except (OSError, subprocess.CalledProcessError):
        return None
    return head[:12] + "+" * bool(differs)


def environment() -> dict[str, dict]:
    """Sections of plain values; a library that is not installed is None."""
    import torch

    from pydisp import __version__, ops

    def version(name: str) -> str | None:
        try:
            return importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            return None

    devices = {"cpu": platform.processor() or platform.machine()}
    for number in range(torch.cuda.device_count()):
        devices[f"cuda:{number}"] = torch.cuda.get_device_name(number)
    if torch.backends.mps.is_available():
        devices["mps"] = "Metal"
    return {
        "versions": {
            "pydisp": __version__,
            "commit": commit(),
            "python": platform.python_version(),
            **{name: version(name) for name in LIBRARIES},
        },
        "devices": devices,
        "cpu": {
            "threads": torch.get_num_threads(),
            "capability": torch.backends.cpu.get_cpu_capability(),
            "instruction_sets": _instruction_sets(),
            "c++": ops.native.instruction_set() or "none: plain torch serves",
        },
        "cuda": {"triton": _triton()},
        "ops": ops.implementations(),
        "linear": _linears(),
        "loss": {"bfloat16": _loss_products()},
    }


def _linears() -> dict[str, str]:
    """For each dtype, which linear pruned models run on this CPU, and why."""
    from pydisp.ops.upcast_linear import DECISIONS

    return {
        str(dtype).removeprefix("torch."): f"{'upcast_linear' if is_faster else 'torch'}: {why}"
        for dtype, (is_faster, why) in DECISIONS.items()
    }


def _loss_products() -> str:
    """How the loss multiplies bfloat16 on this CPU, and why; decided by multiplies_bfloat16 in csrc/token_statistics_problem.h."""
    from pydisp.ops import native

    wanted = os.environ.get("PYDISP_BF16_MM")
    if not native.is_loaded():
        return "torch: the C++ ops are not built"
    if wanted in ("native", "upcast"):
        return f"{wanted}: PYDISP_BF16_MM={wanted}"
    if wanted not in (None, "", "auto"):
        raise ValueError(f"PYDISP_BF16_MM is {wanted!r}; set it to native, upcast or auto.")
    if native.instruction_set() == "avx512bf16":
        return "native: AVX-512's bfloat16 instruction sums into float32"
    return "upcast: the C++ ops run here without AVX-512's bfloat16 instruction"


def _triton() -> str:
    """Whether the Triton kernels serve CUDA tensors, and why."""
    from pydisp.ops import cuda

    return cuda.status()


def _instruction_sets() -> list[str]:
    """The instruction sets of this CPU that matter to the kernels; those that the platform does not report are left out."""
    wanted = (
        "avx2",
        "fma",
        "f16c",
        "avx512f",
        "avx512bw",
        "avx512vl",
        "avx512_bf16",
        "avx512_vbmi2",
        "avx512_fp16",
        "amx_bf16",
        "asimd",
        "bf16",
        "sve",
    )
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            flags = {word for line in file if line.startswith(("flags", "Features")) for word in line.split()}
    except OSError:
        return []
    return [name for name in wanted if name in flags]
