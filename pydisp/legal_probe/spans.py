"""Spans: the characters of a text that speak of a concept, found by a phrase, a regex, or offsets.

{"concept": "role", "phrase": "the reporting entity"}                  # occurs once
{"concept": "role", "regex": "(?i)banks?\\b", "occurrence": "all"}      # or 1, 2, …: counted from 1
{"concept": "role", "start": 40, "end": 60}                            # characters, the end not included
"""

import re
from dataclasses import dataclass

from pydisp.arguments import NAME, check_fields, whole
from pydisp.given_value import short
from pydisp.legal_probe.fields import ConceptsError, check_object, checked_name, checked_number, checked_string
from pydisp.legal_probe.regex_search import MOST_SECONDS, RegexSearch

_KEYS = ("concept", "phrase", "regex", "start", "end", "occurrence")


@dataclass(frozen=True)
class Span:
    """Characters start to end (not included) of a passage's text; there is no white space at its ends."""

    concept: str
    start: int
    end: int

    def __post_init__(self):
        check_fields(self, "Span: ", concept=NAME, start=whole(0), end=whole(1))
        if self.end <= self.start:
            raise ValueError(f"Span: it runs from {self.start} to {self.end}; the end, which is not included, comes after the start.")


def spans_of(value, text: str, passage: str, place: str, search: RegexSearch) -> list[Span]:
    """The spans that one entry of a record's "spans" means, in the order of the text: one, or several for "occurrence": "all".

    Occurrences are counted from left to right and do not overlap.

    Args:
        value: the entry.
        text, passage: the text and the id of the passage.
        place: for messages.
        search: for a regex.
    Raises: ConceptsError; a regex that is still searched for after MOST_SECONDS raises it too.
    """
    check_object(value, _KEYS, ("concept",), f"a span of passage {passage!r}", place)
    concept = checked_name(value["concept"], f"the concept of a span of passage {passage!r}", place)
    ways = [key for key in ("phrase", "regex") if key in value] + ["start and end"] * ("start" in value or "end" in value)
    if len(ways) != 1:
        has = f"both {' and '.join(ways)}" if ways else "no place in the text"
        raise ConceptsError(
            f"{place}: a span of {concept!r} in passage {passage!r} has {has}; give one of a phrase, a regex, or start and end."
        )
    if ways[0] == "start and end":
        found, what = [_offsets(value, text, f"{concept!r} in passage {passage!r}", place)], f"a span of {concept!r}"
    else:
        what = f"the {ways[0]} {short(value[ways[0]])}"
        if ways[0] == "phrase":
            matches = _of_phrase(value["phrase"], text, passage, place)
        else:
            matches = _of_regex(value["regex"], text, passage, place, search)
        found = _chosen(matches, value, what, passage, place)
    stripped = [_stripped(start, end, text) for start, end in found]
    if any(start >= end for start, end in stripped):
        raise ConceptsError(f"{place}: {what} stands for white space only in the text of passage {passage!r}; give it a word.")
    return [Span(concept, start, end) for start, end in stripped]


def _offsets(value: dict, text: str, what: str, place: str) -> tuple[int, int]:
    if "occurrence" in value:
        raise ConceptsError(f"{place}: a span of {what} has start and end and an occurrence; leave the occurrence out.")
    for key in ("start", "end"):
        if key not in value:
            raise ConceptsError(f"{place}: a span of {what} has no {key}; give both start and end.")
        checked_number(value[key], f"the {key} of a span of {what}", place)
    start, end = value["start"], value["end"]
    if not 0 <= start < end <= len(text):
        raise ConceptsError(
            f"{place}: a span of {what} runs from {short(start)} to {short(end)}, its text has {len(text)} characters; "
            f"give 0 <= start < end <= {len(text)}."
        )
    return start, end


def _of_phrase(phrase, text: str, passage: str, place: str) -> list[tuple[int, int]]:
    checked_string(phrase, "a phrase", place)
    if not phrase.strip():
        raise ConceptsError(f"{place}: a phrase of passage {passage!r} is empty; copy it exactly from the text.")
    found = [match.span() for match in re.finditer(re.escape(phrase), text)]
    if not found:
        raise ConceptsError(
            f"{place}: the phrase {short(phrase)} does not occur in the text of passage {passage!r}; copy it exactly from the text."
        )
    return found


def _of_regex(regex, text: str, passage: str, place: str, search: RegexSearch) -> list[tuple[int, int]]:
    checked_string(regex, "a regex", place)
    try:
        found = search.spans(regex, text)
    except TimeoutError:
        raise ConceptsError(
            f"{place}: the search for the regex {short(regex)} in the text of passage {passage!r} did not end within {MOST_SECONDS} s; "
            "write one without a repeat of a repeat, as (a+)+ is, or give a phrase."
        ) from None
    except ValueError as error:
        raise ConceptsError(f"{place}: the regex {short(regex)} is no regular expression of Python ({error}); correct it.") from None
    if any(start == end for start, end in found):
        raise ConceptsError(f"{place}: the regex {short(regex)} matches the empty string; write one that matches a word or more.")
    if not found:
        raise ConceptsError(f"{place}: the regex {short(regex)} does not occur in the text of passage {passage!r}; correct it.")
    return found


def _chosen(found: list[tuple[int, int]], value: dict, what: str, passage: str, place: str) -> list[tuple[int, int]]:
    """The matches that "occurrence" names."""
    count = len(found)
    occurs = f"{what} occurs {count} time{'s' * (count > 1)} in the text of passage {passage!r}"
    if "occurrence" not in value:
        if count > 1:
            raise ConceptsError(f'{place}: {occurs}; give an occurrence from 1 to {count}, or "all".')
        return found
    occurrence = value["occurrence"]
    if occurrence == "all":
        return found
    if isinstance(occurrence, bool) or not isinstance(occurrence, int):
        raise ConceptsError(f'{place}: the occurrence of {what} is {short(occurrence)}; it must be a number from 1, or "all".')
    if not 1 <= occurrence <= count:
        raise ConceptsError(f'{place}: {occurs}, the occurrence is {short(occurrence)}; give one from 1 to {count}, or "all".')
    return [found[occurrence - 1]]


def _stripped(start: int, end: int, text: str) -> tuple[int, int]:
    part = text[start:end]
    return start + len(part) - len(part.lstrip()), end - len(part) + len(part.rstrip())
