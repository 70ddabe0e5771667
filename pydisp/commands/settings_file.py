"""The settings file of `pydisp prune --config`: YAML with one plain value for each setting, read so that any file ends in one sentence."""

import json
from pathlib import Path

from pydisp.given_file import read_text
from pydisp.given_value import short, yaml_value

_MOST_BYTES = 1 << 16  # all settings together are a few hundred
_EXAMPLE = "write lines such as 'keep_ratio: 0.5'."


def read_settings(path: Path) -> dict:
    """Settings from YAML, checked strictly: each key must be in PruneSettings, each value of its type. `model` (written by `prune`) is
    ignored.

    Raises: FileNotFoundError; ValueError, naming the file, for anything that is not such a file.
    """
    needed = "give a YAML file such as the pydisp.yaml of a pruned folder."
    settings = yaml_value(read_text(path, needed, most_bytes=_MOST_BYTES), str(path), _EXAMPLE)
    if not isinstance(settings, dict):
        raise ValueError(f"{path} holds no settings; {_EXAMPLE}")
    settings.pop("model", None)
    _check(path, settings)
    return {key: value for key, value in settings.items() if value is not None}


def _check(path: Path, settings: dict) -> None:
    from pydantic import TypeAdapter, ValidationError

    from pydisp.pruning import PruneSettings

    fields = PruneSettings.__dataclass_fields__
    for key in settings:
        if key not in fields:
            raise ValueError(f"{path} has the unknown setting {short(key)}; known: {', '.join(sorted(fields))}.")
    try:
        # As JSON, because in strict mode pydantic makes a dataclass from nothing else.
        TypeAdapter(PruneSettings).validate_json(json.dumps({"keep_ratio": 0.5, **settings}, default=str, skipkeys=True))
    except ValidationError as error:
        first = error.errors()[0]
        words = first["msg"].removeprefix("Value error, ").rstrip(".")
        key = ".".join(map(str, first["loc"]))
        place = f"{path}: {key} is {short(first['input'])}" if key else path  # a fault of the whole already names the setting
        raise ValueError(f"{place}: {words}.") from None
