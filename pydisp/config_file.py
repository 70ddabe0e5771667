"""The config.json of a model's folder: what transformers would take without a check, or be busy with for ever, is refused here.

read_config_file("folder", "folder")["model_type"]
"""

from collections.abc import Iterator
from pathlib import Path

from pydisp.given_file import read_text
from pydisp.given_value import json_value, short
from pydisp.spec import REFUSED

MOST_LAYERS = 1000  # the deepest published model; as many are made without values in 2 s
_LARGEST = 2**63 - 1
_MOST_BYTES = 1 << 24  # 100,000 labels of a classifier are 4 MB
_UNBOUNDED = "model_max_length"  # of tokenizers, which write 10**30 for no limit
_NEEDED, _COPY = "give the folder of a transformers model.", "copy the whole folder again."
_COUNTS = {"num_hidden_layers", "num_layers", "n_layers", "n_layer",
           "num_decoder_layers", "num_encoder_layers", "decoder_layers", "encoder_layers"}  # fmt: skip
_SIZES = {"num_hidden_layers", "n_layer", "hidden_size", "n_embd", "vocab_size"}  # a model has none of them at 0


def read_config_file(folder: Path, name: str) -> dict:
    """What stands in a folder's config.json.

    Args:
        name: of the model, for messages.
    Raises: ValueError for what is no JSON object with a model_type, a family that pydisp refuses, a size that is no whole number above 0,
        more than MOST_LAYERS layers, and a number of more than 64 bits; FileNotFoundError.
    """
    text = read_text(folder / "config.json", _NEEDED, most_bytes=_MOST_BYTES)
    values = json_value(text, f"the config.json of {name}", _NEEDED)
    if not isinstance(values, dict) or not isinstance(values.get("model_type"), str):
        raise ValueError(f"the config.json of {name} is no JSON that names a model_type; {_NEEDED}")
    if values["model_type"] in REFUSED:
        raise ValueError(REFUSED[values["model_type"]])
    for part in (values, values.get("text_config")):
        for key in sorted(_SIZES & part.keys()) if isinstance(part, dict) else ():
            if isinstance(part[key], int | float) and (type(part[key]) is not int or part[key] < 1):
                words = f"{key} {short(part[key])}, and it must be a whole number above 0"
                raise ValueError(f"the config.json of {name} has {words}; {_COPY}")
    for key, value in _numbers(values):
        if key in _COUNTS and value > MOST_LAYERS:
            raise ValueError(f"the config.json of {name} has {key} {short(value)}, and models have {MOST_LAYERS:,} layers at most; {_COPY}")
        if isinstance(value, int) and abs(value) > _LARGEST and key != _UNBOUNDED:
            raise ValueError(f"the config.json of {name} has {short(value)} for {short(key)}, which torch cannot hold as a number; {_COPY}")
    return values


def _numbers(values: dict) -> Iterator[tuple[str, int | float]]:
    """Every number and the key that it stands under, also in lists and in the configs of parts, whose depth json_value has bounded."""
    for key, value in values.items():
        for one in value if isinstance(value, list) else [value]:
            if isinstance(one, dict):
                yield from _numbers(one)
            elif isinstance(one, int | float):
                yield key, one
