"""Questions of a user: a file of questions with their SQL, and what is wrong with those that cannot be asked.

    questions, problems = read_questions("questions.json", database)

A JSON list, or JSONL, of {"question": "How many …?", "sql": "SELECT …"}; "query" is read for "sql". With "db_id" in any row, only the
rows of this database's name are read. "class" is one of items.CLASSES; without it the SQL's shape decides.
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pydisp.given_file import read_text
from pydisp.given_value import json_value
from pydisp.holobench.database.tables import Database
from pydisp.holobench.items import CLASSES
from pydisp.holobench.sql.gold import GoldError, Limits, Session, TooSlow, UnfitRows, tables_of
from pydisp.holobench.sql.sql_class import classify

MAX_BYTES = 20_000_000
LONGEST_QUESTION = 2_000  # characters
MAX_QUESTIONS = 10_000
_LIMITS = Limits(seconds=5, memory_mib=1024)  # a trial on all rows of the database


class QuestionFileError(ValueError):
    """A file that gives no question; the message is one sentence."""


@dataclass(frozen=True)
class UserQuestion:
    """A question that can be asked.

    Args:
        number: of its row, from 1; of its line in JSONL. kind: one of items.CLASSES. tables: the names of those that the SQL reads.
    """

    number: int
    question: str
    sql: str
    kind: str
    tables: tuple[str, ...]


def read_questions(path: str | os.PathLike, database: Database) -> tuple[list[UserQuestion], list[str]]:
    """The questions on a database that can be asked.

    Each is tried on all rows of the database. One that cannot be asked on any rows is left out. One that gives no gold answer on these
    rows, because of a tie, a missing value or many rows, is kept, for fewer rows may do.

    Returns: the questions, and a sentence on each row that is left out or kept with doubt.
    Raises: QuestionFileError if the file cannot be read or has no question that can be asked.
    """
    rows, problems = _of_database(_numbered(Path(path)), database, path)
    questions = []
    with Session(database.tables, _LIMITS) as session:
        for number, row in rows:
            try:
                question = _question(number, row, database)
                session.answer(question.sql)
            except TooSlow as error:
                problems.append(f"question {number} is left out: {error}")
                continue
            except UnfitRows as error:
                problems.append(f"question {number} is kept, but on all rows of {database.name} it has no gold answer: {error}")
            except GoldError as error:
                problems.append(f"question {number} is left out: {error}")
                continue
            questions.append(question)
    if not questions:
        first = f"; the first of {len(problems)}: {problems[0]}" if problems else "; it is empty."
        raise QuestionFileError(f"{path} has no question that can be asked of {database.name}{first}")
    return questions, problems


def _question(number: int, row, database: Database) -> UserQuestion:
    if not isinstance(row, dict):
        raise GoldError('it is no object; write {"question": "…", "sql": "SELECT …"}.')
    sql, text = row.get("sql", row.get("query")), row.get("question")
    for name, value in (("question", text), ("sql", sql)):
        if not isinstance(value, str) or not value.strip():
            raise GoldError(f"its {name!r} is {'missing' if value is None else 'no text or empty'}; write a text.")
    if any("\ud800" <= character <= "\udfff" for character in text):
        raise GoldError("its question holds half of a surrogate pair; remove it.")
    if len(text) > LONGEST_QUESTION:
        raise GoldError(f"its question has {len(text):,} characters; at most {LONGEST_QUESTION:,} are asked.")
    if any(ord(character) < 32 or 127 <= ord(character) < 160 for character in text.strip()):
        raise GoldError("its question holds a line break or another control character; write it on one line.")
    kind = row.get("class")
    if kind is not None and kind not in CLASSES:
        raise GoldError(f"its class is {kind!r}; it must be one of: {', '.join(CLASSES)}.")
    tables = tables_of(sql, database)
    if not tables:
        raise GoldError("its SQL reads no table; a question is about rows.")
    return UserQuestion(number, text.strip(), sql, kind or classify(sql), tables)


def _of_database(rows: list[tuple[int, object]], database: Database, path) -> tuple[list[tuple[int, object]], list[str]]:
    """The rows that are on this database, and a sentence on each that does not say which one it is on."""
    names = {number: row["db_id"] for number, row in rows if isinstance(row, dict) and "db_id" in row}
    if not names:
        return rows, []
    known = sorted({str(name) for name in names.values()})
    if database.name not in names.values():
        raise QuestionFileError(
            f"{path} has no row with the db_id {database.name!r}; it has: {', '.join(repr(name[:80]) for name in known[:20])}."
        )
    problems = [f"question {number} is left out: it has no db_id, as others have." for number, row in rows if number not in names]
    return [(number, row) for number, row in rows if names.get(number) == database.name], problems


def _numbered(path: Path) -> list[tuple[int, object]]:
    """The rows of the file with their numbers, or those of their lines."""
    text = _text(path)
    rows = list(enumerate(_list(path, text), 1) if text.lstrip().startswith("[") else _lines(path, text))
    if len(rows) > MAX_QUESTIONS:
        raise QuestionFileError(f"{path} has {len(rows):,} rows; at most {MAX_QUESTIONS:,} are read.")
    return rows


def _list(path: Path, text: str) -> list:
    return _value(text, str(path), "write a list of objects, or one object a line.")


def _lines(path: Path, text: str) -> Iterator[tuple[int, object]]:
    for number, line in enumerate(text.split("\n"), 1):  # not splitlines, which also cuts at characters that JSON may hold
        if line.strip():
            yield number, _value(line, f"line {number} of {path}", "write one object a line, or a list.")


def _value(text: str, place: str, needed: str):
    try:
        return json_value(text, place, needed)
    except ValueError as error:
        raise QuestionFileError(str(error)) from None


def _text(path: Path) -> str:
    try:
        return read_text(path, "give a JSON or JSONL file of questions.", most_bytes=MAX_BYTES)
    except (OSError, ValueError) as error:
        raise QuestionFileError(str(error)) from None
