"""Loads models and tokenizers by name (a folder, a GGUF file, a hub name, or `demo`), and chooses devices and dtypes."""

import importlib.util
import logging
import os
from collections.abc import Callable
from pathlib import Path

import torch
from torch import nn

from pydisp.generation_config import keep_generation_config_
from pydisp.gguf import Head, is_gguf, local_file, read_head
from pydisp.given_file import check_folder, read_text
from pydisp.given_value import first_line, json_value
from pydisp.memory import free_bytes, stored_values
from pydisp.placement import check_device_map
from pydisp.progress import silence
from pydisp.spec import REFUSED
from pydisp.transformers_bars import as_ours

logger = logging.getLogger("pydisp")

DEMO = "demo"
DEMO_FOLDER = Path(__file__).parent / "demo" / "model"
DTYPES = ("float32", "bfloat16", "float16", "float64")
_MOST_CONFIG_BYTES = 1 << 24  # 100,000 labels of a classifier are 4 MB


class LoadingError(ValueError):
    """A model or tokenizer cannot be loaded; the message is one sentence."""


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
        values = _config_values(folder, name)
        if not isinstance(values, dict) or not isinstance(values.get("model_type"), str):
            raise LoadingError(f"the config.json of {name} is no JSON that names a model_type; give the folder of a transformers model.")
        if values["model_type"] in REFUSED:
            raise LoadingError(REFUSED[values["model_type"]])
    return _load(AutoConfig, "configuration", name, revision=revision, trust_remote_code=trust_remote_code)


def _config_values(folder: Path, name: str):
    """What stands in a folder's config.json."""
    needed = "give the folder of a transformers model."
    try:
        text = read_text(folder / "config.json", needed, most_bytes=_MOST_CONFIG_BYTES)
        return json_value(text, f"the config.json of {name}", needed)
    except (OSError, ValueError) as error:
        raise LoadingError(str(error)) from None


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
        if not is_gguf(name) and _is_sentencepiece(name, revision):
            raise LoadingError(_sentencepiece_words(name)) from None
        raise
    for kind, number in head.special_tokens.items() if head else ():  # transformers 5.17 takes the beginning token for the end token
        setattr(tokenizer, kind, tokenizer.convert_ids_to_tokens(number))
    return tokenizer


def _is_sentencepiece(name: str, revision: str | None) -> bool:
    """Whether a model's tokenizer.model is a SentencePiece file. If transformers cannot read one, its message wrongly asks for tiktoken."""
    from transformers.utils import cached_file

    options = dict(revision=revision, local_files_only=True, _raise_exceptions_for_missing_entries=False)
    try:
        file = cached_file(resolved_name(name), "tokenizer.model", **options)
    except (OSError, ValueError):
        return False
    if file is None:
        return False
    with open(file, "rb") as opened:  # a tiktoken file of that name has lines of base64, a SentencePiece file is a protocol buffer
        return opened.read(1) == b"\n"


def _sentencepiece_words(name: str) -> str:
    missing = [package for package, module in (("sentencepiece",) * 2, ("protobuf", "google.protobuf")) if not _is_installed(module)]
    if not missing:
        return f"the tokenizer.model of {name} cannot be read with sentencepiece; is it damaged or cut off?"
    return f"the tokenizer of {name} is a SentencePiece file, which needs {' and '.join(missing)}; pip install {' '.join(missing)}."


def _is_installed(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:  # the parent package is missing
        return False


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
    Raises: LoadingError if the model cannot be loaded or does not fit into memory (the size of a folder is known before it is read).
    """
    from transformers import AutoModelForCausalLM

    source = dict(revision=revision, trust_remote_code=trust_remote_code)
    with as_ours(say, title=f"loading {displayed_name(name)}", unit="tensor"):
        if device_map is not None:
            return _spread_model(name, dtype, device_map, **source)
        _check_memory(name, device, dtype, revision)
        model = _gguf_model(name, dtype, revision) if is_gguf(name) else _load(AutoModelForCausalLM, "model", name, dtype=dtype, **source)
    keep_generation_config_(model)
    try:
        return model.to(device).eval()
    except torch.OutOfMemoryError as error:
        raise LoadingError(_no_memory(name, device, str(error).splitlines()[0])) from None


def _spread_model(name: str, dtype: torch.dtype, device_map: str | dict, **source) -> nn.Module:
    from transformers import AutoModelForCausalLM

    if is_gguf(name):
        raise LoadingError(f"{displayed_name(name)} is a GGUF file, which is unpacked on one device; leave out --device-map.")
    if isinstance(device_map, dict):
        with torch.device("meta"):
            trust = {"trust_remote_code": source["trust_remote_code"]}
            check_device_map(AutoModelForCausalLM.from_config(load_config(name, **source), **trust), device_map)
    model = _load(AutoModelForCausalLM, "model", name, dtype=dtype, device_map=device_map, **source)
    if model.get_input_embeddings().weight.is_meta:  # there was not even room for them
        raise LoadingError(_no_memory(name, model.get_input_embeddings()._hf_hook.execution_device, "its embeddings do not fit"))
    keep_generation_config_(model)
    return model.eval()


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
    """Raises: LoadingError if the file lacks a weight, because transformers would fill it at random."""
    from transformers import AutoModelForCausalLM, GgufConfig

    path = _gguf_head(name, revision)[0]
    unpack = GgufConfig(gguf_file=path.name, dequantize=True)
    model, info = _load(
        AutoModelForCausalLM, "model", name, revision=revision, dtype=dtype, quantization_config=unpack, output_loading_info=True
    )
    if info["missing_keys"]:
        raise LoadingError(
            f"{path.name} lacks {sorted(info['missing_keys'])[0]} ({len(info['missing_keys'])} weights in all); copy or convert the file again."
        )
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
    try:
        place, place_options = _source(name, revision)
        return auto_class.from_pretrained(place, **place_options, **kwargs)
    except LoadingError:
        raise
    except (MemoryError, torch.OutOfMemoryError) as error:
        raise LoadingError(_no_memory(name, torch.device("cpu"), str(error).splitlines()[0])) from None
    except RuntimeError as error:
        if "not enough memory" in str(error):
            raise LoadingError(_no_memory(name, torch.device("cpu"), "allocation failed")) from None
        raise LoadingError(f"cannot load the {what} of {name}: {first_line(error)}") from None
    except (OSError, ValueError, KeyError, TypeError, ImportError) as error:
        if "trust_remote_code=True" in str(error):
            raise LoadingError(
                f"the {what} of {name} comes with code of its own, which runs only by leave; read it, then add --trust-remote-code "
                "(in Python: trust_remote_code=True)."
            ) from None
        raise LoadingError(f"cannot load the {what} of {name}: {first_line(error)}") from None
    except Exception as error:  # safetensors and tokenizers raise types of their own for damaged files
        if type(error).__module__.split(".")[0] in ("safetensors", "safetensors_rust", "tokenizers", "builtins", "huggingface_hub"):
            raise LoadingError(f"cannot load the {what} of {name}: {first_line(error)}; is a file damaged or cut off?") from None
        raise


def _no_memory(name: str, device: torch.device, why: str) -> str:
    return f"there is no memory for {name} on {device} ({why}); choose another --device, --device-map auto, --dtype bfloat16, or a smaller model."


def _check_memory(name: str, device: torch.device, dtype: torch.dtype, revision: str | None) -> None:
    """Refuse a model folder or a GGUF file whose weights would not fit, before reading them."""
    free = free_bytes(device)
    if is_gguf(name):
        values = _gguf_head(name, revision)[1].values
    else:
        values = sum(stored_values(path) for path in Path(resolved_name(name)).glob("*.safetensors"))
    needed = values * dtype.itemsize
    if free is not None and needed > free:
        raise LoadingError(_no_memory(name, device, f"{needed / 2**30:.1f} GiB of weights, {free / 2**30:.1f} GiB free"))
