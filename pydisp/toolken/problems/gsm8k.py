"""GSM8K: word problems whose solutions mark each calculation, as in "He ran 3*60=<<3*60=180>>180 meters."

    {"question": "...", "answer": "...<<3*60=180>>180 meters.\\n#### 180"}

The marks are dropped. One of two numbers and one operation becomes a call whose result stands behind it; other calculations are left as plain text and
counted. Thousands are written without commas, for no argument of a call has any. A result stands behind "=" with a space, as decoding puts it in.
Source: https://arxiv.org/abs/2110.14168; the records' fields are those of its published files (MIT).
"""

import os
import re
from collections import Counter
from decimal import Decimal
from pathlib import Path

from pydisp.toolken.problems.problem import QUESTION, GoldCall, Problem, ProblemError
from pydisp.toolken.problems.problem_set import ProblemSet, field, read_records

OPERATIONS = {"+": "add", "-": "subtract", "*": "multiply", "/": "divide"}
_NUMBER = r"\d*\.?\d+|\d+\."
_MARK = re.compile(r"<<(.*?)>>")
_BINARY = re.compile(rf"\s*({_NUMBER})\s*([-+*/])\s*({_NUMBER})\s*=\s*({_NUMBER})\s*")
_RESULT = re.compile(r"\d+(\.\d+)?")
_THOUSANDS = re.compile(r"(?<=\d),(?=\d{3}(?!\d))")


def read_gsm8k(path: str | os.PathLike) -> ProblemSet:
    """The problems of a JSONL file, or of all in a folder, that have a calculation which one built-in tool can do.

    Raises: ProblemError for files of another kind.
    """
    from pydisp.toolken.tools.builtin import BUILTIN

    path = Path(path)
    files = sorted(path.glob("*.jsonl")) if path.is_dir() else [path]
    if not files:
        raise ProblemError(f"{path} has no .jsonl file; give a file of GSM8K or the folder that has train.jsonl or test.jsonl.")
    problems, reasons = [], Counter()
    for file in files:
        for number, record in enumerate(read_records(file), 1):
            place = f"{file}, record {number}"
            name = f"gsm8k-{file.stem}-{number}"
            problem = _problem(name, field(record, "question", place), field(record, "answer", place), place, reasons)
            if problem.calls:
                problems.append(problem)
            else:
                reasons["problems have no calculation of two numbers and one operation; they are left out"] += 1
    return ProblemSet("gsm8k", tuple(problems), BUILTIN, tuple(f"{count} {reason}." for reason, count in sorted(reasons.items())))


def _problem(name: str, question: str, answer: str, place: str, reasons: Counter) -> Problem:
    body, mark, final = answer.rpartition("\n####")
    if not mark:
        raise ProblemError(f"{place} has an answer without a last line '#### NUMBER'; give records of GSM8K.")
    body, final = _without_commas(body), _without_commas(final.strip())
    solution, calls, last = " ", [], 0
    for found in _MARK.finditer(body):
        solution += body[last : found.start()]
        last = found.end()
        binary = _BINARY.fullmatch(found[1])
        if binary is None:
            reasons["calculations are not of two numbers and one operation; they stay plain text"] += 1
            continue
        result = _RESULT.match(body, last)
        if result is None or Decimal(result[0]) != Decimal(binary[4]):
            reasons["calculations are not followed by their result; they stay plain text"] += 1
            continue
        arguments = f"{_written(binary[1])}, {_written(binary[3])}"
        calls.append(GoldCall(OPERATIONS[binary[2]], arguments, len(solution), len(solution) + len(result[0])))
    solution += f"{body[last:]}\n#### {final}"
    return Problem(name, QUESTION.format(question=_without_commas(question)), solution, tuple(calls), final, "gsm8k", "", "arithmetic")


def _without_commas(text: str) -> str:
    return _THOUSANDS.sub("", text)


def _written(number: str) -> str:
    """As an argument: ".5" as "0.5", "05" as "5", "7." as "7"."""
    whole, _, decimals = number.partition(".")
    return (whole.lstrip("0") or "0") + (f".{decimals}" if decimals else "")
