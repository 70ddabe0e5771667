"""Models and tokenizers by name: a folder, a hub name, or `demo`; devices and dtypes by default or by name."""

import json
import os
from pathlib import Path

import torch
from torch import nn

from pydisp.spec import REFUSED

DEMO = "demo"
DEMO_FOLDER = Path(__file__).parent / "demo" / "model"
DTYPES = ("float32", "bfloat16", "float16", "float64")


class LoadingError(ValueError):
    """A model or tokenizer that cannot be had, in one sentence."""


def resolved_name(name: str) -> str:
    """What transformers is given for a name: the packaged folder for `demo`, else the name.

    Raises: LoadingError for a path without a model.
    """
    if name == DEMO:
        return str(DEMO_FOLDER)
    path = Path(name)
    if path.is_dir():
        if not (path / "config.json").is_file():
            raise LoadingError(f"{name} holds no config.json; give the folder of a transformers model, a hub name, or 'demo'.")
    elif path.exists() or name.startswith((".", "/", "~")) or name.count("/") > 1:
        raise LoadingError(f"there is no model folder at {name}; give the folder of a transformers model, a hub name, or 'demo'.")
    return name


def displayed_name(name: str) -> str:
    """The name without a machine's path."""
    return Path(name).resolve().name if Path(name).is_dir() or Path(name).is_absolute() else name


def choose_device(name: str | None) -> torch.device:
    """The device named, or the accelerator there is, or the CPU.

    Raises: ValueError for a device that torch does not know or that is not there.
    """
    if name == "meta":
        raise ValueError("device 'meta' holds no values; `pydisp env` lists the devices.")
    if name is None:
        return torch.accelerator.current_accelerator() if torch.accelerator.is_available() else torch.device("cpu")
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise ValueError(f"device {name!r} cannot be used here ({str(error).splitlines()[0]}); `pydisp env` lists the devices.") from None
    return device


def choose_dtype(name: str | None, device: torch.device, stored: torch.dtype) -> torch.dtype:
    """The dtype to compute in: the one named; else float32 on a CPU and the checkpoint's elsewhere.

    Raises: ValueError for an unknown name.
    """
    if name is None:
        return torch.float32 if device.type == "cpu" and stored in (torch.bfloat16, torch.float16) else stored
    if name not in DTYPES:
        raise ValueError(f"unknown dtype {name!r}; known: {', '.join(DTYPES)}.")
    return getattr(torch, name)


def load_config(name: str, *, revision: str | None = None, trust_remote_code: bool = False):
    """The transformers config of a model.

    Raises: LoadingError.
    """
    from transformers import AutoConfig

    folder = Path(resolved_name(name))
    if folder.is_dir():  # before AutoConfig asks for leave to run the model's own code
        try:
            values = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        except ValueError:
            values = None
        if not isinstance(values, dict) or not isinstance(values.get("model_type"), str):
            raise LoadingError(f"the config.json of {name} is no JSON that names a model_type; give the folder of a transformers model.")
        if values["model_type"] in REFUSED:
            raise LoadingError(REFUSED[values["model_type"]])
    return _load(AutoConfig, "configuration", name, revision=revision, trust_remote_code=trust_remote_code)


def load_pruned_config(folder: str | os.PathLike):
    """The config of a folder that `pydisp prune` wrote.

    Raises: LoadingError for any other.
    """
    if not Path(folder).is_dir():
        raise LoadingError(f"there is no folder {folder}; give a folder that `pydisp prune` wrote.")
    config = load_config(str(folder))
    described = getattr(config, "pydisp", None)
    if not described:
        raise LoadingError(f"{folder} holds a {config.model_type} model that is not pruned; give a folder that `pydisp prune` wrote.")
    if not isinstance(described, dict) or not isinstance(described.get("dense_parameters"), dict):
        raise LoadingError(f"the config.json of {folder} does not say how large the dense model was; copy the whole folder again.")
    return config


def load_tokenizer(name: str, *, revision: str | None = None, trust_remote_code: bool = False):
    """The tokenizer of a model.

    Raises: LoadingError.
    """
    from transformers import AutoTokenizer

    return _load(AutoTokenizer, "tokenizer", name, revision=revision, trust_remote_code=trust_remote_code)


def load_model(
    name: str, *, device: torch.device, dtype: torch.dtype, revision: str | None = None, trust_remote_code: bool = False
) -> nn.Module:
    """A causal language model on a device, in a dtype, in evaluation mode.

    Raises: LoadingError if it cannot be had, or if the memory for it is not there (a folder's size is known before it is read).
    """
    from transformers import AutoModelForCausalLM

    _check_memory(name, device, dtype)
    model = _load(AutoModelForCausalLM, "model", name, revision=revision, trust_remote_code=trust_remote_code, dtype=dtype)
    try:
        return model.to(device).eval()
    except torch.OutOfMemoryError as error:
        raise LoadingError(_no_memory(name, device, str(error).splitlines()[0])) from None


def stored_dtype(config) -> torch.dtype:
    """The dtype of a checkpoint, from its config; float32 where it does not say."""
    dtype = getattr(config, "dtype", None)
    dtype = getattr(torch, dtype, None) if isinstance(dtype, str) else dtype
    return dtype or torch.float32


def _load(auto_class, what: str, name: str, **kwargs):
    if kwargs.get("revision") is None:
        kwargs.pop("revision", None)
    try:
        return auto_class.from_pretrained(resolved_name(name), **kwargs)
    except LoadingError:
        raise
    except (MemoryError, torch.OutOfMemoryError) as error:
        raise LoadingError(_no_memory(name, torch.device("cpu"), str(error).splitlines()[0])) from None
    except RuntimeError as error:
        if "not enough memory" in str(error):
            raise LoadingError(_no_memory(name, torch.device("cpu"), "allocation failed")) from None
        raise LoadingError(f"cannot load the {what} of {name}: {_first_sentence(error)}") from None
    except (OSError, ValueError, KeyError, TypeError, ImportError) as error:
        raise LoadingError(f"cannot load the {what} of {name}: {_first_sentence(error)}") from None
    except Exception as error:  # safetensors and tokenizers raise types of their own for damaged files
        if type(error).__module__.split(".")[0] in ("safetensors", "safetensors_rust", "tokenizers", "builtins", "huggingface_hub"):
            raise LoadingError(f"cannot load the {what} of {name}: {_first_sentence(error)}; is a file damaged or cut off?") from None
        raise


def _first_sentence(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0].rstrip(":") if lines else type(error).__name__


def _no_memory(name: str, device: torch.device, why: str) -> str:
    return f"there is no memory for {name} on {device} ({why}); choose another --device, or --dtype bfloat16, or a smaller model."


def _check_memory(name: str, device: torch.device, dtype: torch.dtype) -> None:
    """Refuse a model folder whose weights would not fit, before reading them."""
    folder = Path(resolved_name(name))
    free = free_bytes(device)
    if not folder.is_dir() or free is None:
        return
    needed = sum(_stored_values(path) for path in folder.glob("*.safetensors")) * dtype.itemsize
    if needed > free:
        raise LoadingError(_no_memory(name, device, f"{needed / 2**30:.1f} GiB of weights, {free / 2**30:.1f} GiB free"))


def _stored_values(path: Path) -> int:
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        try:
            header = json.loads(file.read(min(length, 100_000_000)))
        except ValueError:
            return 0  # damaged: loading says so
    count = 0
    for name, entry in header.items() if isinstance(header, dict) else ():
        if name != "__metadata__" and isinstance(entry, dict) and isinstance(entry.get("shape"), list):
            size = 1
            for n in entry["shape"]:
                size *= n
            count += size
    return count


def free_bytes(device: torch.device) -> float | None:
    """Memory that a new tensor could have on a device, within the limit of a container; None where nobody says."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    if device.type == "cpu" and os.path.exists("/proc/meminfo"):
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return min(int(line.split()[1]) * 1024, _free_in_container())
    return None


def _free_in_container() -> float:
    """What the memory limit of a container (cgroup v2) leaves; infinite without one."""
    limit, used = (Path(f"/sys/fs/cgroup/memory.{name}") for name in ("max", "current"))
    if not (limit.is_file() and used.is_file()) or limit.read_text().strip() == "max":
        return float("inf")
    return int(limit.read_text()) - int(used.read_text())
