"""Questions of a user: a file of questions with their SQL, and what is wrong with those that cannot be asked.

    questions, problems = read_questions("questions.json", database)

A JSON list, or JSONL, of {"question": "How many …?", "sql": "SELECT …"}; "query" is read for "sql". With "db_id" in any row, only the
rows of this database's name are read. "class" is one of items.CLASSES; without it the SQL's shape decides.
"""

import json
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

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
    try:
        return json.loads(text)
    except (json.JSONDecodeError, RecursionError) as error:
        raise QuestionFileError(f"{path} is no JSON ({_reason(error)}); write a list of objects, or one object a line.") from None


def _lines(path: Path, text: str) -> Iterator[tuple[int, object]]:
    for number, line in enumerate(text.split("\n"), 1):  # not splitlines, which also cuts at characters that JSON may hold
        if line.strip():
            try:
                yield number, json.loads(line)
            except (json.JSONDecodeError, RecursionError) as error:
                raise QuestionFileError(
                    f"line {number} of {path} is no JSON ({_reason(error)}); write one object a line, or a list."
                ) from None


def _reason(error: Exception) -> str:
    return "too many brackets within each other" if isinstance(error, RecursionError) else str(error)


def _text(path: Path) -> str:
    try:
        # Not blocking, because opening a pipe would wait for somebody to write into it.
        with open(os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0)), "rb") as stream:
            if not stat.S_ISREG(os.fstat(stream.fileno()).st_mode):
                raise QuestionFileError(f"{path} is no plain file; give a JSON or JSONL file.")
            content = stream.read(MAX_BYTES + 1)
    except (OSError, ValueError) as error:
        if isinstance(error, QuestionFileError):
            raise
        raise QuestionFileError(
            f"{path} cannot be read ({getattr(error, 'strerror', None) or error}); give a JSON or JSONL file."
        ) from None
    if len(content) > MAX_BYTES:
        raise QuestionFileError(f"{path} has more than {MAX_BYTES:,} bytes; give a smaller file of questions.")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise QuestionFileError(f"{path} is no text in UTF-8; save it as UTF-8.") from None
