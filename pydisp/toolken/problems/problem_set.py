"""ProblemSet: problems with the tools that they ask for, and what of a source was not used; and records read from a user's files."""

import json
import os
import re
from dataclasses import dataclass

from pydisp.given_file import read_text as read_given_text
from pydisp.given_value import check_values, json_value
from pydisp.toolken.problems.joining import joined
from pydisp.toolken.problems.problem import Problem, ProblemError
from pydisp.toolken.tools.tools import Tools

_RECORDS = "give a JSON list of objects, or JSON lines"
_MOST_BYTES = 1 << 28  # a thousand times what problems with calls have
_HALF = re.compile("[\ud800-\udfff]")  # a surrogate: JSON can write one alone, no tokenizer and no file can take it
_MAY_BE_HALF = re.compile(r"\\u[dD][89a-fA-F]")


@dataclass(frozen=True)
class ProblemSet:
    """Problems from one source.

    Args:
        problems: kept with their results joined to the text as decoding puts them in (`joining.joined`).
        tools: among them every tool of the problems' calls. left_out: sentences, with counts, of what was not used and why.
    """

    name: str
    problems: tuple[Problem, ...]
    tools: Tools
    left_out: tuple[str, ...] = ()

    def __post_init__(self):
        object.__setattr__(self, "problems", tuple(map(joined, self.problems)))


def read_text(path: str | os.PathLike) -> str:
    """The text of a file, without a byte order mark; of its .gz where the name ends so.

    Raises: ProblemError if it cannot be read.
    """
    try:
        return read_given_text(path, "give the path of a UTF-8 file of this kind.", most_bytes=_MOST_BYTES)
    except (OSError, ValueError) as error:
        raise ProblemError(str(error)) from None


def read_json(path: str | os.PathLike):
    """The value of a JSON file.

    Raises: ProblemError.
    """
    text = read_text(path)
    if not text.strip():
        raise ProblemError(f"{path} is empty; give a JSON file of this kind.")
    try:
        value = _loaded(text, path)
    except json.JSONDecodeError as error:
        raise _no_json(path, error) from None
    if isinstance(value, dict) and _MAY_BE_HALF.search(text):
        _check_halves(value, path)
    return value


def read_records(path: str | os.PathLike) -> list[dict]:
    """The objects of a JSON list or of JSON lines.

    Raises: ProblemError, with the line or the record where there is one.
    """
    text = read_text(path)
    if not text.strip():
        raise ProblemError(f"{path} is empty; {_RECORDS}.")
    records = _of_list(text, path) if text.lstrip().startswith("[") else _of_lines(text, path)
    if _MAY_BE_HALF.search(text):  # else no record has to be looked at
        for number, record in enumerate(records, 1):
            _check_halves(record, f"{path}, record {number}")
    return records


def _of_list(text: str, path) -> list[dict]:
    try:
        records = _loaded(text, path)
    except json.JSONDecodeError as error:
        if error.msg == "Extra data":  # the list ends, and is one of the lines
            return _of_lines(text, path)
        raise _no_json(path, error) from None
    if not records:
        raise ProblemError(f"{path} is an empty list; {_RECORDS}.")
    for number, record in enumerate(records, 1):
        _check_object(record, f"{path}, record {number}", "record")
    return records


def _of_lines(text: str, path) -> list[dict]:
    try:
        check_values(text, str(path), "split the file.")
    except ValueError as error:
        raise ProblemError(str(error)) from None
    records = []
    lines = text.rstrip().split("\n")
    for number, line in enumerate(lines, 1):
        if line.strip():
            place = f"{path}, line {number}"
            try:
                records.append(_loaded(line, place))
            except json.JSONDecodeError as error:
                found = f"{place} is no JSON ({_message(error)} at column {error.colno})"
                if number == len(lines) and _is_cut_off(error):
                    raise ProblemError(f"{found}: the file is cut off; copy it again.") from None
                raise ProblemError(f"{found}; each line is one JSON object: correct it.") from None
            _check_object(records[-1], place, "line")
    return records


def _no_json(path, error: json.JSONDecodeError) -> ProblemError:
    found = f"{path} is no JSON ({_message(error)} at line {error.lineno}, column {error.colno})"
    return ProblemError(f"{found}: the file is cut off; copy it again." if _is_cut_off(error) else f"{found}; correct it there.")


def _message(error: json.JSONDecodeError) -> str:
    """What is wrong, without the "at" with which some messages end."""
    return error.msg.removesuffix(" at")


def _loaded(text: str, place):
    """Raises: json.JSONDecodeError; ProblemError for what is JSON and more than Python reads."""
    try:
        return json_value(text, str(place), "a record is an object of texts, numbers and short lists: correct it.")
    except ValueError as error:
        if isinstance(error.__cause__, json.JSONDecodeError):
            raise error.__cause__ from None
        raise ProblemError(str(error)) from None


def _is_cut_off(error: json.JSONDecodeError) -> bool:
    """Whether the text ends where more was to come."""
    return error.pos >= len(error.doc.rstrip()) or error.msg.startswith("Unterminated string")


def _check_object(value, place: str, noun: str) -> None:
    if not isinstance(value, dict):
        shown = json.dumps(value) if value is None or isinstance(value, bool) else None
        shown = shown or {list: "a list", str: f"the text {value!r:.60}"}.get(type(value)) or f"the number {value!r:.60}"
        raise ProblemError(f"{place} is {shown}; each {noun} is one JSON object: correct it.")


def _check_halves(record: dict, place) -> None:
    """Raises: ProblemError for a text of the record that has half of a character."""
    for name, value in record.items():
        found = _HALF.search(json.dumps({name: value}, ensure_ascii=False))
        if found:
            half = f"\\u{ord(found[0]):04x}"
            raise ProblemError(f"{place}: {name!r} has half of a character ({half}), which is no text; write both halves, or leave it out.")


def field(record: dict, name: str, place: str, kind: type = str):
    """A field of a record.

    Raises: ProblemError if it is missing or of another kind.
    """
    if not isinstance(record.get(name), kind):
        raise ProblemError(f"{place} has no {name!r} that is a {kind.__name__}; give records with the fields of this data set.")
    return record[name]
