"""Records of a file, each with the line it stands on: JSONL, an object a line, or YAML, a list of records or a mapping {groups:, passages:}.

{"id": "…", "text": "…", "spans": [{"concept": "role", "phrase": "the reporting entity"}]}
{"groups": {"actions": ["permissible action", "prohibitory action"]}}
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import PurePath

import yaml

from pydisp.given_file import decoded
from pydisp.given_value import check_values, json_value, short, yaml_part, yaml_place, yaml_root
from pydisp.legal_probe.fields import ConceptsError, did_you_mean

SUFFIXES = (".jsonl", ".yaml", ".yml")
_A_LINE = "write one object a line, with id, text and spans."
_A_LIST = "write a list of passages, or a mapping with groups and passages."


@dataclass(frozen=True)
class Record:
    """What stands in one place of a file; nothing of it is checked.

    Args:
        value: a dict, if the file is right.
        place: "concepts.yaml, line 12", for messages.
        span_places: the place of each of its spans, where that is known.
    """

    value: object
    place: str
    span_places: tuple[str, ...] = ()

    def place_of_span(self, number: int) -> str:
        return self.span_places[number] if number < len(self.span_places) else self.place


def records_of(data: bytes, name: str) -> list[Record]:
    """The records of a file's bytes; the end of its name says how they are written.

    Raises: ConceptsError, naming the line, for another name, bytes that are not UTF-8, what is no JSON or YAML, a key that stands twice,
        NaN, and YAML with aliases.
    """
    suffix = PurePath(name).suffix.lower()
    if suffix not in SUFFIXES:
        raise ConceptsError(f"{name} is neither JSONL nor YAML by its name; end the name in {', '.join(SUFFIXES[:-1])} or {SUFFIXES[-1]}.")
    try:
        return list((_of_jsonl if suffix == ".jsonl" else _of_yaml)(decoded(data, name), name))
    except ValueError as error:
        raise ConceptsError(str(error)) from None


def _of_jsonl(text: str, name: str) -> Iterator[Record]:
    check_values(text, name, "split the file.")
    for number, line in enumerate(text.split("\n"), 1):  # not splitlines: a string of JSON may hold other ends of lines as they are
        if line.strip():
            place = f"{name}, line {number}"
            yield Record(json_value(line, place, _A_LINE, strictly=True), place)


def _of_yaml(text: str, name: str) -> Iterator[Record]:
    root = yaml_root(text, name, _A_LIST)
    if root is None:
        return
    parts = {"passages": root}
    if isinstance(root, yaml.MappingNode):
        parts = {key.value: value for key, value in root.value}
    for key in parts:
        if key not in ("groups", "passages"):
            raise ConceptsError(f"{name}: the file has the unknown key {short(key)}{did_you_mean(key, ('groups', 'passages'))}; {_A_LIST}")
    groups, passages = parts.get("groups"), parts.get("passages")
    if isinstance(groups, yaml.MappingNode):  # each has its own line
        for key, members in groups.value:
            yield Record({"groups": {_value(key, name): _value(members, name)}}, yaml_place(key, name))
    elif groups is not None:
        yield Record({"groups": _value(groups, name)}, yaml_place(groups, name))
    if passages is not None and not isinstance(passages, yaml.SequenceNode):
        raise ConceptsError(f"{yaml_place(passages, name)}: the passages are {short(_value(passages, name))}; {_A_LIST}")
    for node in passages.value if passages is not None else ():
        yield Record(_value(node, name), yaml_place(node, name), _span_places(node, name))


def _value(node: yaml.Node, name: str):
    return yaml_part(node, name, _A_LIST)


def _span_places(node: yaml.Node, name: str) -> tuple[str, ...]:
    fields = node.value if isinstance(node, yaml.MappingNode) else ()
    spans = next((value for key, value in fields if key.value == "spans"), None)
    return tuple(yaml_place(one, name) for one in spans.value) if isinstance(spans, yaml.SequenceNode) else ()
