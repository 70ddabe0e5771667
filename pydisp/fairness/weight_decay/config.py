"""The configuration of a sweep: YAML, or a mapping, read so that any mistake ends in one sentence.

name: who pays for weight decay
train: [reviews.jsonl.gz]             # sources of text as pydisp.text takes them, relative to the file
held_out: [other_reviews.jsonl.gz]
vocabulary_size: 4096
train_tokens: 200_000                 # a setting of `ArmSettings` stands at the top for all arms, or under one arm
epochs: 2
weight_decay: [0, 0.5, 2]
arms:
  held_out: {}
  memorising: {train_tokens: 20_000, epochs: 40, weight_decay: [0, 1], seeds: [0, 1]}
"""

import json
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path

from pydisp.arguments import plain
from pydisp.fairness.weight_decay.settings import ArmSettings, SweepSettings, is_named
from pydisp.given_file import read_text
from pydisp.given_value import check_depth, short, yaml_value
from pydisp.report.values import slug

_MOST_BYTES = 1 << 16
_ARM_KEYS = tuple(f.name for f in fields(ArmSettings))
_REQUIRED = ("train", "held_out", "vocabulary_size")
_KEYS = ("name", *_REQUIRED, "arms", *_ARM_KEYS)


def read_config(config: Mapping | str | os.PathLike) -> SweepSettings:
    """The settings of a mapping (its paths are relative to the current folder) or of a YAML file (relative to its own).

    Raises: FileNotFoundError; ValueError, with one sentence, for an unknown or missing setting, or a value that cannot be used.
    """
    if isinstance(config, Mapping):
        check_depth(config, "the sweep's settings", "give settings such as {'epochs': 2}.")
        return _of(dict(config), Path(), "the sweep's settings", "sweep")
    path = Path(config)
    return _of(_parsed(path), path.parent, str(path), path.stem)


def _of(values: dict, folder: Path, place: str, name: str) -> SweepSettings:
    _refuse_unknown(values, _KEYS, place)
    for key in _REQUIRED:
        if values.get(key) is None:
            raise ValueError(f"{place}: {key} is missing; it needs {', '.join(_REQUIRED)}.")
    shared = {key: values[key] for key in _ARM_KEYS if key in values}
    arms = values.get("arms")
    arms = {"sweep": {}} if arms is None else arms
    if not isinstance(arms, Mapping) or not arms:
        raise ValueError(f"{place}: arms is {short(arms)}; it must hold a name with settings of its own for each arm.")
    checked = {}
    for arm, own in arms.items():
        if not isinstance(arm, str) or not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_]{0,39}", arm):
            raise ValueError(
                f"{place}: an arm is called {short(arm)}; its name must consist of at most 40 letters, digits and '_', no '_' first."
            )
        like = next((other for other in checked if slug(other) == slug(arm)), None)  # files and addresses on the page are named by it
        if like is not None:
            raise ValueError(f"{place}: the arms {like} and {arm} differ in capitals or '_' only; give one another name.")
        if not isinstance(own, Mapping | None):
            raise ValueError(f"{place}: the arm {arm} is {short(own)}; it must hold settings such as 'epochs: 2'.")
        _refuse_unknown(own or {}, _ARM_KEYS, f"{place}, arm {arm}")
        checked[arm] = _arm({**_without(shared, own or {}), **(own or {})}, f"{place}, arm {arm}")
    whole = {"name": values.get("name") or name, **{key: values[key] for key in _REQUIRED}}
    for key, kind, example in (("name", str, "a text"), ("vocabulary_size", int, "a whole number")):
        if not isinstance(whole[key], kind) or isinstance(whole[key], bool):
            raise ValueError(f"{place}: {key} is {short(whole[key])}; it must be {example}.")
    for key in ("train", "held_out"):
        whole[key] = _sources(whole[key], folder, f"{place}: {key}")
    try:
        return SweepSettings(**whole, arms=checked)
    except ValueError as error:
        raise ValueError(f"{place}: {error}") from None


def _without(shared: dict, own: Mapping) -> dict:
    """The settings for all arms without those that an arm's own stand against: epochs and steps say the same thing."""
    against = {"epochs", "steps"} if {"epochs", "steps"} & own.keys() else set()
    return {key: value for key, value in shared.items() if key not in against}


def _arm(values: dict, place: str) -> ArmSettings:
    from pydantic import TypeAdapter, ValidationError

    for key in ("weight_decay", "train_tokens"):
        if values.get(key) is None:
            raise ValueError(f"{place}: {key} is missing; give it for this arm, or at the top for all.")
    try:
        # as JSON, because in strict mode pydantic makes a dataclass from nothing else
        return TypeAdapter(ArmSettings).validate_json(json.dumps({key: plain(value) for key, value in values.items()}, default=str))
    except TypeError as error:  # a key that JSON does not have
        raise ValueError(f"{place}: a setting cannot be written as JSON ({error}); give numbers, texts and lists.") from None
    except ValidationError as error:
        first = error.errors()[0]
        words = first["msg"].removeprefix("Value error, ").rstrip(".")
        key = ".".join(map(str, first["loc"]))
        raise ValueError(f"{place}: {_as_found(key, first['input'])}{words}.") from None


def _as_found(key: str, value) -> str:
    """Which value is wrong; empty where the sentence already says it. YAML's own trap is named."""
    if not key:
        return ""
    hint = ", which YAML reads as text (write 1.0e-3)" if isinstance(value, str) and re.fullmatch(r"[-+]?\d+[eE][-+]?\d+", value) else ""
    return f"{key} is {short(value)}{hint}: "


def _sources(value, folder: Path, place: str) -> tuple[str, ...]:
    found = [value] if isinstance(value, str) else value
    if not isinstance(found, Sequence) or not all(isinstance(v, str) for v in found):
        raise ValueError(f"{place} is {short(value)}; it must be a list of files, folders, 'pythondoc' or 'hub:NAME'.")
    return tuple(source if not source or is_named(source) else str(folder / source) for source in found)


def _refuse_unknown(values: Mapping, known: Sequence[str], place: str) -> None:
    for key in values:
        if key not in known:
            raise ValueError(f"{place}: unknown setting {short(key)}; known: {', '.join(known)}.")


def _parsed(path: Path) -> dict:
    needed = "write lines such as 'epochs: 2'."
    text = read_text(path, "give a YAML file with train, held_out and weight_decay.", most_bytes=_MOST_BYTES)
    values = yaml_value(text, str(path), needed)
    if not isinstance(values, dict):
        raise ValueError(f"{path} holds no settings; {needed}")
    return values
