"""Records of a file, each with the line it stands on: JSONL, an object a line, or YAML, a list of records or a mapping {groups:, passages:}.

{"id": "…", "text": "…", "spans": [{"concept": "role", "phrase": "the reporting entity"}]}
{"groups": {"actions": ["permissible action", "prohibitory action"]}}
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import PurePath

import yaml

from pydisp.legal_probe.fields import ConceptsError, did_you_mean, short

SUFFIXES = (".jsonl", ".yaml", ".yml")
_DEEPEST = 20  # yaml reads deeper parts by recursion, to the end of Python's stack; a span is 5 deep
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
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = 1 + data.count(b"\n", 0, error.start)
        raise ConceptsError(f"{name}, line {line}: this is not UTF-8; save the file as UTF-8.") from None
    return list((_of_jsonl if suffix == ".jsonl" else _of_yaml)(text, name))


def _of_jsonl(text: str, name: str) -> Iterator[Record]:
    for number, line in enumerate(text.split("\n"), 1):  # not splitlines: a string of JSON may hold other ends of lines as they are
        if line.strip():
            place = f"{name}, line {number}"
            yield Record(_json(line, place), place)


def _json(line: str, place: str):
    def once(pairs: list[tuple]) -> dict:
        keys = [key for key, _ in pairs]
        twice = next((key for key in keys if keys.count(key) > 1), None)
        if twice is not None:
            raise ConceptsError(f"{place}: the key {short(twice)} stands twice in one object; leave one out.")
        return dict(pairs)

    def refuse(constant: str):
        raise ConceptsError(f"{place}: {constant} is no value of JSON; {_A_LINE}")

    try:
        return json.loads(line, object_pairs_hook=once, parse_constant=refuse)
    except ConceptsError:
        raise
    except json.JSONDecodeError as error:
        raise ConceptsError(f"{place}: this is no JSON ({error.msg} at column {error.colno}); {_A_LINE}") from None
    except (ValueError, RecursionError):  # a number of thousands of digits, lists in lists to the end of the stack
        raise ConceptsError(f"{place}: this JSON holds a number or a nesting too large to be read; {_A_LINE}") from None


def _of_yaml(text: str, name: str) -> Iterator[Record]:
    try:
        _check_events(text, name)
        loader = yaml.SafeLoader(text)
        root = loader.get_single_node()
    except yaml.YAMLError as error:
        raise _no_yaml(error, text, name) from None
    if root is None:
        return
    _check_keys(root, name)
    parts = {"passages": root}
    if isinstance(root, yaml.MappingNode):
        parts = {key.value: value for key, value in root.value}
    for key in parts:
        if key not in ("groups", "passages"):
            raise ConceptsError(f"{name}: the file has the unknown key {short(key)}{did_you_mean(key, ('groups', 'passages'))}; {_A_LIST}")
    groups, passages = parts.get("groups"), parts.get("passages")
    if isinstance(groups, yaml.MappingNode):  # each has its own line
        for key, members in groups.value:
            yield Record({"groups": {_value(loader, key, text, name): _value(loader, members, text, name)}}, _place(key, name))
    elif groups is not None:
        yield Record({"groups": _value(loader, groups, text, name)}, _place(groups, name))
    if passages is not None and not isinstance(passages, yaml.SequenceNode):
        raise ConceptsError(f"{_place(passages, name)}: the passages are {short(_value(loader, passages, text, name))}; {_A_LIST}")
    for node in passages.value if passages is not None else ():
        yield Record(_value(loader, node, text, name), _place(node, name), _span_places(node, name))


def _place(node: yaml.Node, name: str) -> str:
    return f"{name}, line {node.start_mark.line + 1}"


def _span_places(node: yaml.Node, name: str) -> tuple[str, ...]:
    fields = node.value if isinstance(node, yaml.MappingNode) else ()
    spans = next((value for key, value in fields if key.value == "spans"), None)
    return tuple(_place(one, name) for one in spans.value) if isinstance(spans, yaml.SequenceNode) else ()


def _value(loader: yaml.SafeLoader, node: yaml.Node, text: str, name: str):
    try:
        return loader.construct_document(node)
    except yaml.YAMLError as error:
        raise _no_yaml(error, text, name) from None
    except (ValueError, LookupError, AttributeError, TypeError, OverflowError):  # whatever a value's type makes of its letters
        raise ConceptsError(
            f"{_place(node, name)}: a value here cannot be read, such as a date that does not exist; put it in quotes."
        ) from None


def _no_yaml(error: yaml.YAMLError, text: str, name: str) -> ConceptsError:
    if isinstance(error, yaml.reader.ReaderError):
        line, words = text.count("\n", 0, error.position), f"the character {chr(error.character)!r} is not allowed"
    else:
        mark = error.problem_mark or error.context_mark
        line, words = mark.line, error.problem or error.context
    return ConceptsError(f"{name}, line {line + 1}: this is no YAML ({words}); {_A_LIST}")


def _check_events(text: str, name: str) -> None:
    """Refuse aliases, which may hold themselves, and deep nesting. A stream of events needs no recursion."""
    depth = 0
    for event in yaml.parse(text, Loader=yaml.SafeLoader):
        place = f"{name}, line {event.start_mark.line + 1}"
        if isinstance(event, yaml.AliasEvent):
            raise ConceptsError(f"{place}: there is the alias *{event.anchor}; write the value itself.")
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > _DEEPEST:
            raise ConceptsError(f"{place}: there are lists in lists, more than {_DEEPEST} deep; {_A_LIST}")


def _check_keys(node: yaml.Node, name: str) -> None:
    """Refuse a key that is no word, and one that stands twice in a mapping: yaml would take the last one."""
    if isinstance(node, yaml.SequenceNode):
        for one in node.value:
            _check_keys(one, name)
    elif isinstance(node, yaml.MappingNode):
        seen = set()
        for key, value in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise ConceptsError(f"{_place(key, name)}: a list or a mapping stands for a key; write a word.")
            if key.value in seen:
                raise ConceptsError(f"{_place(key, name)}: the key {short(key.value)} stands twice in one mapping; leave one out.")
            seen.add(key.value)
            _check_keys(value, name)
