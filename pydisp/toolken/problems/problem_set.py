"""ProblemSet: problems with the tools that they ask for, and what of a source was not used; and records read from a user's files."""

import gzip
import json
import os
from dataclasses import dataclass
from pathlib import Path

from pydisp.toolken.problems.joining import joined
from pydisp.toolken.problems.problem import Problem, ProblemError
from pydisp.toolken.tools.tools import Tools


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
    """The text of a file; of its .gz where the name ends so.

    Raises: ProblemError if it cannot be read.
    """
    path = Path(path)
    try:
        data = path.read_bytes()
        return (gzip.decompress(data) if path.suffix == ".gz" else data).decode("utf-8")
    except (OSError, EOFError, UnicodeDecodeError) as error:
        raise ProblemError(f"{path} cannot be read ({error}); give the path of a UTF-8 file of this kind.") from None


def read_json(path: str | os.PathLike):
    """The value of a JSON file.

    Raises: ProblemError.
    """
    try:
        return json.loads(read_text(path))
    except json.JSONDecodeError as error:
        raise ProblemError(f"{path} is no JSON ({error}); copy the file again.") from None


def read_records(path: str | os.PathLike) -> list[dict]:
    """The objects of a JSON list or of JSON lines.

    Raises: ProblemError, with the line where there is one.
    """
    text = read_text(path)
    if text.lstrip().startswith("["):
        records = read_json(path)
    else:
        records = []
        for number, line in enumerate(text.split("\n"), 1):
            if line.strip():
                try:
                    records.append(json.loads(line))
                except json.JSONDecodeError as error:
                    raise ProblemError(f"{path}, line {number} is no JSON ({error}); copy the file again.") from None
    if not records or not all(isinstance(record, dict) for record in records):
        raise ProblemError(f"{path} has no list of records; give a JSON list of objects, or JSON lines.")
    return records


def field(record: dict, name: str, place: str, kind: type = str):
    """A field of a record.

    Raises: ProblemError if it is missing or of another kind.
    """
    if not isinstance(record.get(name), kind):
        raise ProblemError(f"{place} has no {name!r} that is a {kind.__name__}; give records with the fields of this data set.")
    return record[name]
