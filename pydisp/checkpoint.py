"""A checkpoint: whether the weights in a model's files are those that its config describes.

transformers fills a weight that is missing at random and leaves out one that it has no place for; either would give wrong figures without a
word. What is left out rightly: heads of other tasks, parts for images, buffers that are computed, and layers that predict further tokens.
"""

import math
import re
from collections.abc import Iterable
from pathlib import Path

from torch import nn

from pydisp.given_file import read_text
from pydisp.given_value import json_value
from pydisp.memory import stored_shapes

_GIVE = "copy or convert it again, or give it the config of its weights"
_WEIGHTS, _INDEX = "model.safetensors", "model.safetensors.index.json"  # what transformers reads before all others
_MOST_INDEX_BYTES = 1 << 28


def misfit(model: nn.Module, info: dict) -> str | None:
    """What keeps a checkpoint from being that of a model, as the end of a sentence after the model's name; None if nothing does.

    Args:
        model: as it was loaded, a transformers model.
        info: that transformers tells beside it (output_loading_info=True).
    """
    mismatched = sorted(info.get("mismatched_keys") or ())  # name, shape in the files, shape in the model
    if mismatched:
        key, stored, described = mismatched[0]
        return f"has {key} {_shape(stored)}, but its config describes {_shape(described)} ({_number(mismatched)} in all); {_GIVE}."
    for what, keys in (
        ("lacks", _lacking(model, info["missing_keys"])),
        ("holds weights that its config has no place for:", _left_out(model, info["unexpected_keys"])),
    ):
        if keys:
            return f"{what} {keys[0]} ({_number(keys)} in all); {_GIVE}."
    return None


def _number(keys: list) -> str:
    return "1 weight" if len(keys) == 1 else f"{len(keys):,} weights"


def _shape(sizes: Iterable[int]) -> str:
    return f"({', '.join(map(str, sizes))})"


def _lacking(model: nn.Module, missing: Iterable[str]) -> list[str]:
    """The missing keys that matter: a buffer is computed, but for quantized models, which keep their weights in buffers."""
    computed = set() if _is_quantized(model) else {name for name, _ in model.named_buffers()}
    return _in_order(key for key in missing if key not in computed)


def _left_out(model: nn.Module, unexpected: Iterable[str]) -> list[str]:
    """The keys that the model has no place for, of layers beyond its last one, and of weights and biases in its layers."""
    prefix = f"{getattr(model, 'base_model_prefix', '')}."
    modules = dict(model.named_modules())
    stacks = {name: len(module) for name, module in modules.items() if isinstance(module, nn.ModuleList)}

    def matters(key: str) -> bool:
        """Not so masks, which older checkpoints call `bias` of an attention, and the biases of zero that quantizers write for every linear."""
        place, _, leaf = key.rpartition(".")
        if leaf == "bias":
            module = modules.get(place, modules.get(prefix + place))
            return not _is_quantized(model) and (module is None or hasattr(module, "weight"))
        return leaf == "weight"

    found = []
    for key in unexpected:
        for match in re.finditer(r"\.(\d+)\.", key):
            stack, number = key[: match.start()], int(match[1])
            stack = next((name for name in (stack, prefix + stack) if name in stacks), None)
            if stack is None:
                continue
            beyond = number - stacks[stack]
            if beyond >= _further_layers(model) or beyond < 0 and matters(key):
                found.append(key)
            break
    return _in_order(found)


def _is_quantized(model: nn.Module) -> bool:
    return getattr(model.config, "quantization_config", None) is not None


def _further_layers(model: nn.Module) -> int:
    """Layers that predict tokens after the next one: some checkpoints have them after the last layer, and nothing here uses them."""
    count = getattr(model.config, "num_nextn_predict_layers", None)
    return count if isinstance(count, int) else 0


def _in_order(keys: Iterable[str]) -> list[str]:
    """Layer 2 before layer 10."""
    return sorted(keys, key=lambda key: [(int(part), "") if part.isdecimal() else (-1, part) for part in key.split(".")])


def _files(folder: Path) -> list[Path]:
    """The safetensors files that transformers would read; none if the index of several is damaged, of which it tells by itself."""
    if (folder / _WEIGHTS).is_file():
        return [folder / _WEIGHTS]
    try:
        index = json_value(read_text(folder / _INDEX, "", most_bytes=_MOST_INDEX_BYTES), _INDEX, "")
        return sorted({folder / name for name in index["weight_map"].values()})
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return []


def shortfall(model: nn.Module, folder: Path) -> str | None:
    """That a folder holds fewer weights than its config describes, in words as those of `misfit`, from the heads of its files; else None.

    Nothing is said of other files than safetensors: they are read first.

    Args:
        model: of the folder's config, not quantized and without values (see `pydisp.loading.empty_model`).
    """
    ignored = "|".join(f"({one})" for one in getattr(model, "_keys_to_ignore_on_load_missing", None) or ())
    described = {name: tuple(one.shape) for name, one in model.named_parameters() if not (ignored and re.search(ignored, name))}
    heads = [stored_shapes(path) for path in _files(folder)]
    if not heads or not all(heads):  # one is damaged
        return None
    stored = {name: shape for head in heads for name, shape in head.items()}
    count, wanted = (sum(map(math.prod, shapes.values())) for shapes in (stored, described))
    if count >= wanted:
        return None
    prefix = f"{model.base_model_prefix}."
    unlike = (name for name, shape in described.items() if shape not in (stored.get(name), stored.get(name.removeprefix(prefix))))
    first = next(unlike, next(iter(described)))
    example = f"{first} {_shape(described[first])}"
    return f"holds {count:,} weights in its files, but its config describes {wanted:,}, among them {example}; {_GIVE}."
