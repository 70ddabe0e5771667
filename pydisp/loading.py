"""Loads models and tokenizers by name (a folder, a GGUF file, a hub name, or `demo`), and chooses devices and dtypes."""

import logging
import os
from collections.abc import Callable
from pathlib import Path

import torch
from torch import nn

from pydisp.checkpoint import misfit, shortfall
from pydisp.config_file import read_config_file
from pydisp.generation_config import keep_generation_config_
from pydisp.gguf import Head, is_gguf, local_file, read_head
from pydisp.given_file import check_folder
from pydisp.given_value import first_line
from pydisp.loading_error import LoadingError, no_memory, telling
from pydisp.memory import free_bytes, stored_values
from pydisp.placement import check_device_map
from pydisp.progress import silence
from pydisp.sentencepiece_file import is_sentencepiece, unread
from pydisp.transformers_bars import as_ours

logger = logging.getLogger("pydisp")

DEMO = "demo"
DEMO_FOLDER = Path(__file__).parent / "demo" / "model"
DTYPES = ("float32", "bfloat16", "float16", "float64")


def resolved_name(name: str) -> str:
    """The name to pass to transformers: the packaged folder for `demo`, else the name itself. (A GGUF file needs more: see `_source`.)

    Raises: LoadingError for an empty name, for a path without a model, and for a folder with a pipe or a device in it.
    """
    if not name.strip():  # as a path it would be the current folder
        raise LoadingError("the name of the model is empty; give the folder of a transformers model, a hub name, or 'demo'.")
    if name == DEMO:
        return str(DEMO_FOLDER)
    if is_gguf(name):
        return name
    path = Path(name)
    if path.is_dir():
        if not (path / "config.json").is_file():
            raise LoadingError(f"{name} holds no config.json; give the folder of a transformers model, a hub name, or 'demo'.")
        try:
            check_folder(path, "give a folder of regular files.")
        except ValueError as error:
            raise LoadingError(str(error)) from None
    elif path.exists() or name.startswith((".", "/", "~")) or name.count("/") > 1:
        raise LoadingError(f"there is no model folder at {name}; give the folder of a transformers model, a hub name, or 'demo'.")
    return name


def displayed_name(name: str) -> str:
    """The name without the path of a machine."""
    if is_gguf(name):
        return Path(name).name
    return Path(name).resolve().name if Path(name).is_dir() or Path(name).is_absolute() else name


def choose_device(name: str | None) -> torch.device:
    """The named device; without a name the accelerator if there is one, else the CPU.

    Raises: ValueError for a device that torch does not know or that this machine lacks.
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
    """The dtype to compute in: the named one; without a name `stored`, the checkpoint's, but float32 for half precision on a CPU.

    Raises: ValueError for an unknown name.
    """
    if name is None:
        return torch.float32 if device.type == "cpu" and stored in (torch.bfloat16, torch.float16) else stored
    if name not in DTYPES:
        raise ValueError(f"unknown dtype {name!r}; known: {', '.join(DTYPES)}.")
    return getattr(torch, name)


def load_config(name: str, *, revision: str | None = None, trust_remote_code: bool = False):
    """The transformers config of a model.

    Raises: LoadingError, also for a damaged GGUF file; ImportError for a GGUF file if the extra that reads it is not installed.
    """
    from transformers import AutoConfig

    if is_gguf(name):
        return _gguf_config(name, revision)
    folder = Path(resolved_name(name))
    if folder.is_dir():  # before AutoConfig asks for permission to run the model's own code
        try:
            read_config_file(folder, name)
        except (OSError, ValueError) as error:
            raise LoadingError(str(error)) from None
    return _load(AutoConfig, "configuration", name, revision=revision, trust_remote_code=trust_remote_code)


def empty_model(config, name: str, *, trust_remote_code: bool = False) -> nn.Module:
    """The causal language model of a config on torch's meta device: its modules and shapes, without values.

    Args:
        name: of the model, for messages.
    Raises: LoadingError for a config that describes no such model.
    """
    from transformers import AutoModelForCausalLM

    try:
        with torch.device("meta"):
            return AutoModelForCausalLM.from_config(config, trust_remote_code=trust_remote_code)
    except Exception as error:  # transformers checks few values: what they make of each other may raise anything
        why = ("" if isinstance(error, ValueError) else f"{type(error).__name__}: ") + first_line(error).rstrip(".")
        raise LoadingError(
            f"the config of {name} describes no causal language model ({why}); give another one, or copy it again."
        ) from None


def load_pruned_config(folder: str | os.PathLike):
    """The config of a folder that `pydisp prune` wrote.

    Raises: LoadingError for any other folder.
    """
    if is_gguf(str(folder)):
        raise LoadingError(f"{displayed_name(str(folder))} is a model that is not pruned; give a folder that `pydisp prune` wrote.")
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

    head = _gguf_head(name, revision)[1] if is_gguf(name) else None
    try:
        tokenizer = _load(AutoTokenizer, "tokenizer", name, revision=revision, trust_remote_code=trust_remote_code)
    except LoadingError:
        if not is_gguf(name) and is_sentencepiece(resolved_name(name), revision):
            raise LoadingError(unread(name)) from None
        raise
    for kind, number in head.special_tokens.items() if head else ():  # transformers 5.17 takes the beginning token for the end token
        setattr(tokenizer, kind, tokenizer.convert_ids_to_tokens(number))
    return tokenizer


def load_model(
    name: str,
    *,
    device: torch.device,
    dtype: torch.dtype,
    revision: str | None = None,
    trust_remote_code: bool = False,
    device_map: str | dict | None = None,
    say: Callable[[str], None] = silence,
) -> nn.Module:
    """A causal language model on a device, in a dtype, in evaluation mode; the weights of a GGUF file are unpacked.

    device_map: spread over devices, memory and disk, see `pydisp.placement`; `device` is then without meaning.
    say: a function that receives progress lines; transformers' own bars do not appear.
    Raises: LoadingError if the model cannot be loaded, if it lacks a weight or has one too many, or if it does not fit into memory (the
        size of a folder is known before it is read).
    """
    source = dict(revision=revision, trust_remote_code=trust_remote_code)
    with as_ours(say, title=f"loading {displayed_name(name)}", unit="tensor"):
        if device_map is not None:
            return _spread_model(name, dtype, device_map, **source)
        _check_memory(name, device, dtype, **source)
        model = _gguf_model(name, dtype, revision) if is_gguf(name) else _whole_model(name, dtype=dtype, **source)
    keep_generation_config_(model)
    try:
        return model.to(device).eval()
    except torch.OutOfMemoryError as error:
        raise LoadingError(no_memory(name, device, str(error).splitlines()[0])) from None


def _spread_model(name: str, dtype: torch.dtype, device_map: str | dict, **source) -> nn.Module:
    if is_gguf(name):
        raise LoadingError(f"{displayed_name(name)} is a GGUF file, which is unpacked on one device; leave out --device-map.")
    weights_to_load(name, **source)
    if isinstance(device_map, dict):
        check_device_map(empty_model(load_config(name, **source), name, trust_remote_code=source["trust_remote_code"]), device_map)
    model = _whole_model(name, dtype=dtype, device_map=device_map, **source)
    if model.get_input_embeddings().weight.is_meta:  # there was not even room for them
        raise LoadingError(no_memory(name, model.get_input_embeddings()._hf_hook.execution_device, "its embeddings do not fit"))
    keep_generation_config_(model)
    return model.eval()


def _whole_model(name: str, *, revision: str | None, **options) -> nn.Module:
    from transformers import AutoModelForCausalLM

    place, place_options = _source(name, revision)
    return load_whole(AutoModelForCausalLM, place, name, **place_options, **options)


def load_whole(auto_class, place: str, name: str, **options) -> nn.Module:
    """What `auto_class.from_pretrained(place, **options)` of transformers gives, if the files hold just the weights of the config.

    Args:
        name: of the model, for messages.
    Raises: LoadingError if the model cannot be loaded, naming the first weight that is missing, has another shape, or has no place in a
        layer: transformers would draw it at random or leave it out.
    """
    with telling("model", name):
        model, info = auto_class.from_pretrained(place, **{**options, "output_loading_info": True, "ignore_mismatched_sizes": True})
    if words := misfit(model, info):
        raise LoadingError(f"{name} {words}")
    return model


def _gguf_head(name: str, revision: str | None) -> tuple[Path, Head]:
    try:
        path = local_file(name, revision)
        return path, read_head(path)
    except (OSError, ValueError) as error:  # huggingface_hub's errors are OSErrors
        raise LoadingError(first_line(error)) from None


def _gguf_config(name: str, revision: str | None):
    from transformers import AutoConfig, __version__

    path, head = _gguf_head(name, revision)
    try:
        config = _load(AutoConfig, "configuration", name, revision=revision)
    except LoadingError as error:
        if "not supported" not in str(error):
            raise
        raise LoadingError(
            f"{path.name} holds a model of the architecture {head.architecture!r}, which transformers {__version__} does not read from "
            "GGUF; give the model's own folder or hub name."
        ) from None
    if head.leaves_out:
        logger.warning(
            "%s: transformers leaves out %s, the factors of rotary positions, so that long contexts score worse than in llama.cpp; "
            "the model's own folder or hub name has them.",
            path.name,
            head.leaves_out[0],
        )
    config.dtype = head.dtype
    _name_config_(config, path)
    return config


def _name_config_(config, path: Path) -> None:
    """Change a config's name from the folder to the GGUF file, and remove the title that transformers takes from the file."""
    config._name_or_path = str(path)
    vars(config).pop("_model_name_or_path", None)


def _gguf_model(name: str, dtype: torch.dtype, revision: str | None) -> nn.Module:
    from transformers import AutoModelForCausalLM, GgufConfig

    path = _gguf_head(name, revision)[0]
    options = {"gguf_file": path.name, "dtype": dtype, "quantization_config": GgufConfig(gguf_file=path.name, dequantize=True)}
    model = load_whole(AutoModelForCausalLM, str(path.parent), path.name, **options)
    _name_config_(model.config, path)
    return model


def stored_dtype(config) -> torch.dtype:
    """The dtype of a checkpoint, from its config; float32 if the config has none."""
    dtype = getattr(config, "dtype", None)
    dtype = getattr(torch, dtype, None) if isinstance(dtype, str) else dtype
    return dtype if isinstance(dtype, torch.dtype) else torch.float32


def _source(name: str, revision: str | None) -> tuple[str, dict]:
    """The name and the options by which transformers' from_pretrained finds a model."""
    if is_gguf(name):
        path = local_file(name, revision)
        return str(path.parent), {"gguf_file": path.name}
    return resolved_name(name), {} if revision is None else {"revision": revision}


def _load(auto_class, what: str, name: str, *, revision: str | None = None, **kwargs):
    with telling(what, name):
        place, place_options = _source(name, revision)
        return auto_class.from_pretrained(place, **place_options, **kwargs)


def _check_memory(name: str, device: torch.device, dtype: torch.dtype, **source) -> None:
    """Refuse a model folder or a GGUF file whose weights would not fit, before reading them."""
    free, needed = free_bytes(device), weights_to_load(name, **source) * dtype.itemsize
    if free is not None and needed > free:
        raise LoadingError(no_memory(name, device, f"{needed / 2**30:.1f} GiB of weights, {free / 2**30:.1f} GiB free"))


def weights_to_load(name: str, *, revision: str | None = None, trust_remote_code: bool = False) -> int:
    """The number of weights that loading a folder or a GGUF file makes; 0 for a model of the hub, which is not here yet.

    Raises: LoadingError if its config describes no model, or one of more weights than its files hold.
    """
    folder = Path(resolved_name(name))
    if not is_gguf(name) and not folder.is_dir():
        return 0
    config = load_config(name, revision=revision, trust_remote_code=trust_remote_code)
    stored = _gguf_head(name, revision)[1].values if is_gguf(name) else sum(stored_values(path) for path in folder.glob("*.safetensors"))
    if getattr(config, "quantization_config", None) is not None or trust_remote_code and getattr(config, "auto_map", None):
        return stored  # several weights in a number, or code of its own, which may need values to make a model
    model = empty_model(config, name)
    if not is_gguf(name) and (words := shortfall(model, folder)):
        raise LoadingError(f"{name} {words}")
    described = sum(parameter.numel() for parameter in model.parameters())
    if is_gguf(name) and described > 2 * stored:  # if it is nearer, loading names the first weight that is missing
        raise LoadingError(
            f"{displayed_name(name)} holds {stored:,} weights, but its fields describe {described:,}; copy or convert it again."
        )
    return max(stored, described)
