"""The file of problems: JSON lines, one a problem, so that any problems can train and test.

    {"id": "a-0-17", "prompt": "Question: What is 12 times 7?\\nAnswer:", "solution": " 84", "answer": "84", "source": "builtin", "family": "a",
     "kind": "arithmetic", "group": "multiply(12, 7)", "calls": [{"tool": "multiply", "arguments": "12, 7", "start": 1, "end": 3}]}

Needed are "prompt" and "solution"; what is left out is empty, the id is then the number of the line.
"""

import json
import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict

from pydisp.toolken.problems.problem import GoldCall, Problem, ProblemError
from pydisp.toolken.problems.problem_set import read_records
from pydisp.workspace import write_whole

_TEXTS = ("id", "prompt", "solution", "source", "family", "kind", "group")


def write_problems(path: str | os.PathLike, problems: Sequence[Problem]) -> None:
    """Write a file of problems; it appears whole.

    Raises: ProblemError for no problems and for two of one id.
    """
    _check_ids(problems, path)
    write_whole(path, "".join(f"{json.dumps(asdict(one), ensure_ascii=False)}\n" for one in problems))


def read_problem_file(path: str | os.PathLike) -> list[Problem]:
    """The problems of a file, in their order.

    Raises: ProblemError with the record that is wrong.
    """
    problems = [_problem(record, number, f"{path}, record {number}") for number, record in enumerate(read_records(path), 1)]
    _check_ids(problems, path)
    return problems


def _problem(record: dict, number: int, place: str) -> Problem:
    unknown = sorted(record.keys() - {*_TEXTS, "calls", "answer"})
    if unknown:
        raise ProblemError(f"{place} has {unknown[0]!r}, which no problem has; known: {', '.join(_TEXTS)}, calls, answer.")
    for name in ("prompt", "solution"):
        if name not in record:
            raise ProblemError(f"{place} has no {name!r}; a problem has a prompt and a solution.")
    if record["prompt"] == record["solution"] == "":
        raise ProblemError(
            f"{place} has an empty prompt and an empty solution; a problem has text in one of them: write the problem, or take the record out."
        )
    texts = {"id": str(number), **{name: record[name] for name in _TEXTS if name in record}}
    for name, text in {**texts, "answer": record.get("answer") or ""}.items():
        if not isinstance(text, str):
            raise ProblemError(f"{place}: {name!r} is {text!r:.60}; it must be a text.")
    calls = record.get("calls", [])
    if not isinstance(calls, list):
        raise ProblemError(f"{place}: 'calls' is {calls!r:.60}; it must be a list.")
    made = tuple(_call(call, place) for call in calls)
    try:
        return Problem(**texts, calls=made, answer=record.get("answer"))
    except ProblemError as error:
        raise ProblemError(f"{place}: {error}") from None


def _call(record, place: str) -> GoldCall:
    """Types only; whether the spans fit the solution is the problem's own check."""
    kinds = {"tool": str, "arguments": str | None, "start": int, "end": int}
    if (
        not isinstance(record, dict)
        or record.keys() != kinds.keys()
        or not all(isinstance(record[name], kind) and not isinstance(record[name], bool) for name, kind in kinds.items())
    ):
        raise ProblemError(
            f"{place} has the call {record!r:.80}; a call has a tool, arguments (text or null), and start and end of its result in the solution."
        )
    return GoldCall(**record)


def _check_ids(problems: Sequence[Problem], path) -> None:
    if not problems:
        raise ProblemError(f"there are no problems for {path}; a file has one or more.")
    name, count = Counter(one.id for one in problems).most_common(1)[0]
    if count > 1:
        raise ProblemError(f"{path} has {count} problems with the id {name!r}; ids must differ.")
