"""Passages: texts in which people marked what speaks of a concept. They are data: read from a file, from Python, or the ones pydisp ships.

concepts = read_concepts("concepts.jsonl")     # or .yaml; a line is a record
{"id": "pmla-7", "text": "The reporting entity shall …", "spans": [{"concept": "role", "phrase": "reporting entity"}], "source": "…"}
{"groups": {"actions": ["permissible action", "prohibitory action"]}}
"""

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass, replace
from importlib import resources
from pathlib import Path

from pydisp.arguments import NAME, PATH, TEXT, Kind, check_fields, instance_of, iterable_of, list_of, takes
from pydisp.given_file import read_bytes
from pydisp.given_value import short
from pydisp.legal_probe.fields import ConceptsError, check_object, checked_name, checked_string, did_you_mean
from pydisp.legal_probe.records import Record, records_of
from pydisp.legal_probe.regex_search import RegexSearch
from pydisp.legal_probe.spans import Span, spans_of

__all__ = ["ConceptSet", "ConceptsError", "Passage", "Span", "concept_set", "read_concepts", "shipped"]

NAMES = Kind(
    "give the name of a concept or of a group, or a list of names",
    lambda value: isinstance(value, str) or iterable_of("names").is_right(value),
    lambda value: (value,) if isinstance(value, str) else tuple(value),
)
_KEYS = ("id", "text", "spans", "source")
_A_FILE = "give a .jsonl or .yaml file of passages."
_MOST_BYTES = 1 << 26  # of passages that people annotated


@dataclass(frozen=True)
class Passage:
    """A text and its spans.

    Args:
        id: its name, for people.
        text: as it is tokenized.
        spans: in the order they were given; those of one concept do not overlap.
        source: where the text is from, for people.
        place: "concepts.jsonl, line 12", for messages.
    """

    id: str
    text: str
    spans: tuple[Span, ...]
    source: str = ""
    place: str = ""

    def __post_init__(self):
        check_fields(
            self, "Passage: ", id=NAME, text=NAME, spans=list_of(instance_of(Span, "give a Span"), "Span"), source=TEXT, place=TEXT
        )  # fmt: skip
        for span in self.spans:
            if span.end > len(self.text):
                raise ValueError(
                    f"Passage: a span of {short(span.concept)} ends at {span.end}, the text has {len(self.text)} characters; mark it anew."
                )


@dataclass(frozen=True)
class ConceptSet:
    """Passages and the groups of their concepts.

    Args:
        name: of the file; never a path.
        passages: one or more, each with a span or more.
        groups: name of a union of concepts to these concepts.
        sha256: of the file; of passages from Python, that of their JSON with spans as characters.
    """

    name: str
    passages: tuple[Passage, ...]
    groups: dict[str, tuple[str, ...]]
    sha256: str

    def __post_init__(self):
        check_fields(
            self, "ConceptSet: ", name=TEXT, passages=list_of(instance_of(Passage, "give a Passage"), "Passage, one or more", least=1),
            groups=instance_of(dict, "give a dict from the name of a group to concepts"), sha256=TEXT,
        )  # fmt: skip

    @property
    def concepts(self) -> tuple[str, ...]:
        """Their names, in the order in which they first appear."""
        return tuple(dict.fromkeys(span.concept for passage in self.passages for span in passage.spans))

    @takes(names=NAMES)
    def selected(self, names: Iterable[str]) -> "ConceptSet":
        """Only some concepts: their spans, the passages that have one, and the groups that are whole.

        Args:
            names: concepts or groups; a group stands for its concepts.
        Raises: ConceptsError for no name, or for one that no span and no group has.
        """
        known = (*self.concepts, *self.groups)
        for one in names:
            if not isinstance(one, str) or one not in known:
                raise ConceptsError(f"{self.name} has no concept {short(one)}{did_you_mean(one, known)}; known: {', '.join(known)}.")
        if not names:
            raise ConceptsError(f"{self.name}: no concept is selected; known: {', '.join(known)}.")
        kept = {concept for one in names for concept in self.groups.get(one, (one,))}
        passages = (replace(one, spans=tuple(span for span in one.spans if span.concept in kept)) for one in self.passages)
        groups = {group: members for group, members in self.groups.items() if kept.issuperset(members)}
        return replace(self, passages=tuple(one for one in passages if one.spans), groups=groups)


@takes(path=PATH)
def read_concepts(path: str | Path) -> ConceptSet:
    """Passages from a file: JSONL (.jsonl), a record a line, or YAML (.yaml, .yml), a list of records or a mapping {groups:, passages:}.

    A record has an id, a text, spans and perhaps a source. A span has a concept and a phrase, a regex, or start and end (characters, the
    end not included). A phrase or regex must occur exactly once, or the span has an occurrence: a number from 1, or "all".

    Raises: ConceptsError, naming the file and the line, for anything else.
    """
    path = Path(path)
    try:
        data = read_bytes(path, _A_FILE, most_bytes=_MOST_BYTES)
    except (OSError, ValueError) as error:
        raise ConceptsError(str(error)) from None
    return _of_bytes(data, path.name)


@takes(records=iterable_of("records"), name=TEXT)
def concept_set(records: Iterable[dict], name: str = "passages") -> ConceptSet:
    """Passages from Python: the same records as in a file, `{"groups": …}` among them or not.

    Raises: ConceptsError, naming the number of the record ("passage 3", counted from 1), for anything that is no record.
    """
    passages, groups = _checked([Record(value, f"passage {number}") for number, value in enumerate(records, 1)], name)
    written = [[one.id, one.text, one.source, [[span.concept, span.start, span.end] for span in one.spans]] for one in passages]
    content = json.dumps([written, groups], ensure_ascii=False).encode()
    return ConceptSet(name, passages, groups, hashlib.sha256(content).hexdigest())


def shipped() -> ConceptSet:
    """The passages that pydisp ships."""
    file = resources.files("pydisp.legal_probe") / "data" / "passages.jsonl"
    return _of_bytes(file.read_bytes(), file.name)


def _of_bytes(data: bytes, file: str) -> ConceptSet:
    return ConceptSet(file, *_checked(records_of(data, file), file), hashlib.sha256(data).hexdigest())


def _checked(records: list[Record], source: str) -> tuple[tuple[Passage, ...], dict[str, tuple[str, ...]]]:
    """The passages and the groups of all records."""
    passages: dict[str, Passage] = {}
    groups: dict[str, tuple[tuple[str, ...], str]] = {}  # with their place
    with RegexSearch() as search:
        for record in records:
            if isinstance(record.value, dict) and "groups" in record.value:
                for group, members in _groups(record).items():
                    if group in groups:
                        raise ConceptsError(f"{record.place}: the group {group!r} is in {groups[group][1]} too; leave one out.")
                    groups[group] = members, record.place
                continue
            passage = _passage(record, search)
            if passage.id in passages:
                raise ConceptsError(
                    f"{record.place}: the id {passage.id!r} is that of {passages[passage.id].place} too; give each passage its own."
                )
            passages[passage.id] = passage
    if not passages:
        raise ConceptsError(f"{source}: there is no passage; give objects with id, text and spans.")
    concepts = {span.concept for passage in passages.values() for span in passage.spans}
    for group, (members, place) in groups.items():
        if group in concepts:
            raise ConceptsError(f"{place}: the group {group!r} has the name of a concept; give it another.")
        for member in members:
            if member not in concepts:
                raise ConceptsError(
                    f"{place}: the group {group!r} holds {member!r}{did_you_mean(member, concepts)}, of which no passage has a span; "
                    "leave it out or annotate it."
                )
    return tuple(passages.values()), {group: members for group, (members, _) in groups.items()}


def _groups(record: Record) -> dict[str, tuple[str, ...]]:
    place = record.place
    check_object(record.value, ("groups",), ("groups",), "an object with groups", place)
    given = record.value["groups"]
    if not isinstance(given, dict):
        raise ConceptsError(f"{place}: groups is {short(given)}; it must be an object from the name of a group to a list of concepts.")
    for group, members in given.items():
        checked_name(group, "the name of a group", place)
        if not isinstance(members, list | tuple) or not members:
            raise ConceptsError(f"{place}: the group {group!r} is {short(members)}; it must be a list of one concept or more.")
        for member in members:
            checked_name(member, f"a concept of the group {group!r}", place)
        if len(set(members)) < len(members):
            raise ConceptsError(f"{place}: the group {group!r} names a concept twice; leave one out.")
    return {group: tuple(members) for group, members in given.items()}


def _passage(record: Record, search: RegexSearch) -> Passage:
    fields, place = record.value, record.place
    check_object(fields, _KEYS, _KEYS[:3], "a passage", place)
    ident = checked_name(fields["id"], "the id", place)
    text = checked_string(fields["text"], f"the text of passage {ident!r}", place)
    if not text.strip():
        raise ConceptsError(f"{place}: the text of passage {ident!r} is empty; give it its words.")
    source = checked_string(fields.get("source", ""), f"the source of passage {ident!r}", place)
    given = fields["spans"]
    if not isinstance(given, list | tuple):
        raise ConceptsError(f"{place}: the spans of passage {ident!r} are {short(given)}; they must be a list.")
    if not given:
        raise ConceptsError(f"{place}: passage {ident!r} has no span; annotate a concept in it or leave it out.")
    places = [record.place_of_span(number) for number in range(len(given))]
    placed = [(span, at) for one, at in zip(given, places, strict=True) for span in spans_of(one, text, ident, at, search)]
    _check_apart(placed, text, ident)
    return Passage(ident, text, tuple(span for span, _ in placed), source, place)


def _check_apart(placed: list[tuple[Span, str]], text: str, ident: str) -> None:
    """Refuse spans of one concept that overlap: their tokens would count twice."""
    ordered = sorted(enumerate(placed), key=lambda one: (one[1][0].concept, one[1][0].start, one[1][0].end))
    for (number, (first, place)), (other, (second, its_place)) in zip(ordered, ordered[1:], strict=False):
        if first.concept == second.concept and second.start < first.end:
            words, its_words = short(text[first.start : first.end]), short(text[second.start : second.end])
            raise ConceptsError(
                f"{place if number > other else its_place}: the spans {words} and {its_words} of {first.concept!r} overlap in passage "
                f"{ident!r}; make them one."
            )
