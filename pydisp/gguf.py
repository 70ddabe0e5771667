"""GGUF files: weights, config and tokenizer of a model in one file, the format of llama.cpp.

transformers unpacks such a file into plain weights, but does not check it: a file that is cut off fails only after minutes, and one part of
a split model gets random weights for the rest. So pydisp first reads the head of the file with the library gguf. A file is named by its
path, or by OWNER/REPOSITORY/FILE.gguf on the hub.

    >>> read_head("models/SmolLM2-135M-Instruct.Q4_1.gguf")  # doctest: +SKIP
    Head(architecture='llama', dtype=torch.bfloat16, values=134515008, special_tokens={'bos_token': 1, ...}, leaves_out=())
"""

import importlib.util
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

import torch

from pydisp.config_file import MOST_LAYERS
from pydisp.distribution import install_command
from pydisp.given_value import first_line, short

SUFFIX = ".gguf"
_PLAIN = {"F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}
_SPECIAL_TOKENS = {"bos_token": "bos", "eos_token": "eos", "unk_token": "unknown", "pad_token": "padding"}
_NUMBERS = {f"tokenizer.ggml.{theirs}_token_id": ours for ours, theirs in _SPECIAL_TOKENS.items()}
_CARD = ("license", "license.name", "license.link", "languages", "source.repo_url", "repo_url", "base_model.0.repo_url")
# Factors of the rotary positions for long contexts (Llama 3.1 and later, Phi-3); the loader of transformers ignores them.
_LEFT_OUT = ("rope_freqs.weight", "rope_factors_long.weight", "rope_factors_short.weight")


@dataclass(frozen=True)
class Head:
    """The head of a file.

    Args:
        architecture: llama.cpp's name for the family.
        dtype: dtype of plain weights; bfloat16 if any are packed in blocks (these have at most 8 bits and mostly come from bfloat16).
        values: number of weights in all tensors.
        special_tokens: ids of special tokens, by transformers' names.
        leaves_out: names of tensors that transformers does not read.
        card: what the file says of its licence and its source, by llama.cpp's names without `general.`.
    """

    architecture: str
    dtype: torch.dtype
    values: int
    special_tokens: dict[str, int]
    leaves_out: tuple[str, ...]
    card: dict = field(default_factory=dict)


def is_gguf(name: str) -> bool:
    """Whether a model's name is that of a GGUF file, local or on the hub."""
    return name.lower().endswith(SUFFIX) and not Path(name).is_dir()


def local_file(name: str, revision: str | None = None) -> Path:
    """The local path of a file; a file of the hub (OWNER/REPOSITORY/FILE.gguf) is downloaded into the hub's cache.

    Raises: FileNotFoundError; the errors of huggingface_hub.
    """
    path = Path(name).expanduser()
    if path.is_file():
        return path
    if name.startswith((".", "/", "~")) or name.count("/") < 2 or path.exists():
        raise FileNotFoundError(f"there is no file {name}; give the path of a GGUF file, or OWNER/REPOSITORY/FILE{SUFFIX} of the hub.")
    from huggingface_hub import hf_hub_download

    owner, repository, file = name.split("/", 2)
    return Path(hf_hub_download(f"{owner}/{repository}", file, revision=revision))


def read_head(path: str | Path) -> Head:
    """Read everything except the weights, and check that the weights are all there (2 s for a vocabulary of 49,152).

    Raises: ImportError naming the extra; ValueError for a file that is cut off, a part of a split model, no GGUF file, or a file with more or
        fewer layers than it says.
    """
    missing = [library for library in ("gguf", "accelerate") if importlib.util.find_spec(library) is None]
    if missing:
        raise ImportError(f"{Path(path).name} needs the library {missing[0]}; install it with: {install_command('gguf')}")
    path = Path(path).resolve()
    return _read_head(path, path.stat().st_mtime_ns)


@lru_cache(maxsize=4)  # loading the config, checking memory and loading weights each read the head
def _read_head(path: Path, _changed_at: int) -> Head:
    from gguf import GGUFReader

    with path.open("rb") as file:
        if file.read(4) != b"GGUF":
            raise ValueError(f"{path.name} is no GGUF file (it does not begin with GGUF); give one, or the folder of a model.")
    try:
        reader = GGUFReader(path)
        fields = {name: field.contents() for name, field in reader.fields.items() if "tokenizer.ggml.tokens" not in name}
    except (ValueError, IndexError, KeyError, OverflowError, UnicodeDecodeError) as error:  # of the reader, by the damage
        raise ValueError(f"{path.name} is damaged or cut off ({first_line(error)}); copy or download it again.") from None
    layers = f"{fields.get('general.architecture')}.block_count"
    for name in ("split.count", layers, *_NUMBERS):
        if type(fields.get(name, 1)) is not int:
            raise ValueError(f"{path.name} has {short(fields[name])} for {name}, and it must be a whole number; copy or convert it again.")
    if fields.get("split.count", 1) > 1:
        raise ValueError(f"{path.name} is one of {fields['split.count']} parts of a model; merge them with `llama-gguf-split --merge`.")
    if not isinstance(fields.get("general.architecture"), str) or not reader.tensors:
        raise ValueError(f"{path.name} names no architecture or holds no weights; give the GGUF file of a language model.")
    _check_layers(path.name, fields.get(layers), [tensor.name for tensor in reader.tensors])
    types = {tensor.tensor_type.name for tensor in reader.tensors}
    plain = [dtype for name, dtype in _PLAIN.items() if name in types]  # norms are float32 beside weights of half the size
    return Head(
        architecture=fields["general.architecture"],
        dtype=plain[-1] if types <= _PLAIN.keys() else torch.bfloat16,
        values=sum(int(tensor.n_elements) for tensor in reader.tensors),
        special_tokens={ours: fields[theirs] for theirs, ours in _NUMBERS.items() if theirs in fields},
        leaves_out=tuple(tensor.name for tensor in reader.tensors if tensor.name in _LEFT_OUT),
        card={name: fields[f"general.{name}"] for name in _CARD if f"general.{name}" in fields},
    )


def _check_layers(file: str, count: int | None, names: list[str]) -> None:
    """Refuse another number of layers than that of the weights: transformers would leave out the rest, or make layers without end."""
    layers = sorted({int(number) for number in (name.split(".")[1] for name in names if name.startswith("blk.")) if number.isdecimal()})
    if not layers and count is not None and count > MOST_LAYERS:
        raise ValueError(f"{file} says that it has {count} layers, and models have {MOST_LAYERS:,} at most; convert or download it again.")
    if layers and (count != len(layers) or layers[-1] != len(layers) - 1):
        raise ValueError(
            f"{file} says that it has {count} layers, but holds weights of {len(layers)}, numbered up to {layers[-1]} from 0; convert or "
            "download it again."
        )
