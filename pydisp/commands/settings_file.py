"""The settings file of `pydisp prune --config`: YAML with one plain value for each setting, read so that any file ends in one sentence."""

import json
from pathlib import Path

_MOST_BYTES = 1 << 16  # all settings together are a few hundred
_DEEPEST = 10  # yaml reads deeper parts by recursion, to the end of Python's stack
_MOST_LETTERS = 60  # of a value that a sentence repeats
_EXAMPLE = "write lines such as 'keep_ratio: 0.5'."


def read_settings(path: Path) -> dict:
    """Settings from YAML, checked strictly: each key must be in PruneSettings, each value of its type. `model` (written by `prune`) is
    ignored.

    Raises: FileNotFoundError; ValueError, naming the file, for anything that is not such a file.
    """
    if not path.is_file():
        raise FileNotFoundError(f"there is no configuration at {path}; give a YAML file such as the pydisp.yaml of a pruned folder.")
    if path.stat().st_size > _MOST_BYTES:
        raise ValueError(f"{path} has {path.stat().st_size:,} bytes; a file of settings has at most {_MOST_BYTES:,}.")
    settings = _parsed(path)
    if not isinstance(settings, dict):
        raise ValueError(f"{path} holds no settings; {_EXAMPLE}")
    settings.pop("model", None)
    _check(path, settings)
    return {key: value for key, value in settings.items() if value is not None}


def _parsed(path: Path):
    import yaml

    try:
        text = path.read_text(encoding="utf-8")
        _check_structure(path, text)
        _check_keys(path, yaml.compose(text, Loader=yaml.SafeLoader))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is not YAML ({str(error).splitlines()[0]}); {_EXAMPLE}") from None
    try:
        return yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, LookupError, AttributeError, OverflowError):  # whatever the value's type makes of its letters
        raise ValueError(
            f"{path} holds a value that cannot be read, such as a number of thousands of digits or a date that does not exist; {_EXAMPLE}"
        ) from None


def _check_structure(path: Path, text: str) -> None:
    """Refuse aliases, which may hold themselves, and deep nesting. A stream of events needs no recursion."""
    import yaml

    depth = 0
    for event in yaml.parse(text, Loader=yaml.SafeLoader):
        if isinstance(event, yaml.AliasEvent):
            raise ValueError(f"{path} has the alias *{event.anchor}; write the value itself.")
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > _DEEPEST:
            raise ValueError(f"{path} holds lists in lists, more than {_DEEPEST} deep; {_EXAMPLE}")


def _check_keys(path: Path, node) -> None:
    """Refuse a key that stands twice: yaml would take the last one."""
    import yaml

    keys = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode)] if isinstance(node, yaml.MappingNode) else []
    for key in keys:
        if keys.count(key) > 1:
            raise ValueError(f"{path} gives {_short(key)} twice; leave one out.")


def _check(path: Path, settings: dict) -> None:
    from pydantic import TypeAdapter, ValidationError

    from pydisp.pruning import PruneSettings

    fields = PruneSettings.__dataclass_fields__
    for key in settings:
        if key not in fields:
            raise ValueError(f"{path} has the unknown setting {_short(key)}; known: {', '.join(sorted(fields))}.")
    try:
        # As JSON, because in strict mode pydantic makes a dataclass from nothing else.
        TypeAdapter(PruneSettings).validate_json(json.dumps({"keep_ratio": 0.5, **settings}, default=str, skipkeys=True))
    except ValidationError as error:
        first = error.errors()[0]
        words = first["msg"].removeprefix("Value error, ").rstrip(".")
        key = ".".join(map(str, first["loc"]))
        place = f"{path}: {key} is {_short(first['input'])}" if key else path  # a fault of the whole already names the setting
        raise ValueError(f"{place}: {words}.") from None


def _short(value) -> str:
    words = repr(value)
    return words if len(words) <= _MOST_LETTERS else f"{words[:_MOST_LETTERS]}…"
