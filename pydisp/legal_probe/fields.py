"""Fields of an object that people write: strings, names and numbers, and one sentence for what is none."""

import difflib
from collections.abc import Iterable

from pydisp.given_value import short

_MOST_LETTERS = 60  # of a word that is compared


class ConceptsError(ValueError):
    """Annotated passages that cannot be used; the message is one sentence that begins with the file and the line."""


def did_you_mean(word, known: Iterable[str]) -> str:
    """` (did you mean 'spans'?)`, or nothing if no known word is close."""
    close = difflib.get_close_matches(str(word)[:_MOST_LETTERS], list(known), n=1)
    return f" (did you mean {close[0]!r}?)" if close else ""


def check_object(value, known: tuple[str, ...], needed: tuple[str, ...], what: str, place: str) -> None:
    """Raises: ConceptsError if `value` is no dict, has a key that is not known, or lacks one that is needed."""
    if not isinstance(value, dict):
        raise ConceptsError(f"{place}: {what} is {short(value)}; it must be an object with {', '.join(needed or known)}.")
    for key in value:
        if key not in known:
            raise ConceptsError(f"{place}: {what} has the unknown key {short(key)}{did_you_mean(key, known)}; known: {', '.join(known)}.")
    for key in needed:
        if key not in value:
            raise ConceptsError(f"{place}: {what} has no {key}; give it one.")


def checked_string(value, what: str, place: str) -> str:
    """Raises: ConceptsError if `value` is no string, or one that cannot be written as UTF-8."""
    if not isinstance(value, str):
        raise ConceptsError(f"{place}: {what} is {short(value)}; it must be a string, in quotes.")
    if any("\ud800" <= character <= "\udfff" for character in value):
        raise ConceptsError(f"{place}: {what} is {short(value)}, with half of a surrogate pair; write the whole character.")
    return value


def checked_name(value, what: str, place: str) -> str:
    """Raises: ConceptsError if `value` is no name that fits on a line of a report."""
    checked_string(value, what, place)
    if not value.strip():
        raise ConceptsError(f"{place}: {what} is empty; give it a name.")
    if value != value.strip() or not value.isprintable():
        raise ConceptsError(f"{place}: {what} is {short(value)}; it must have no white space at its ends and no control characters.")
    return value


def checked_number(value, what: str, place: str) -> int:
    """Raises: ConceptsError if `value` is no int; a bool is none."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise ConceptsError(f"{place}: {what} is {short(value)}; it must be a whole number.")
    return value
