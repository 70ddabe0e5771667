"""FuncQA: questions for 13 operations, from files that the user has.

    train      {"text": "Q: ...\\nA: ... <power>(2, 8)=256<eoe> ...", "start_token_idx": [...], "end_token_idx": [...], "tar_eq": [...], "tar_number": [...]}
    one hop    {"question": "...", "answer": 256, "func": "<power>(2, 8)=256"}
    many hops  {"question": "...", "answer": 12.5, "calculation": ["<power>(2, 8)=256", "<divide>(256, 20.48)=12.5"]}

A question without a text is a problem whose first call follows the prompt; only the answer is known of the rest.
Source: ToolkenGPT, https://arxiv.org/abs/2305.11554 (no licence is stated, so that nothing of it is here).
"""

import os
import re
from collections import Counter

from pydisp.toolken.problems.annotated_text import annotated_problem, arguments_text, tool_name
from pydisp.toolken.problems.problem import QUESTION, GoldCall, Problem
from pydisp.toolken.problems.problem_set import ProblemSet, field, read_records

_FUNCTION = re.compile(r"\s*<?(\w+)>?\s*(?:\(([^()]*)\))?.*", re.DOTALL)


def read_funcqa(path: str | os.PathLike) -> ProblemSet:
    """The problems of one file: a JSON list or JSON lines.

    Raises: ProblemError.
    """
    from pydisp.toolken.tools.builtin import BUILTIN

    problems, reasons = [], Counter()
    for number, record in enumerate(read_records(path), 1):
        name, place = f"funcqa-{number}", f"{path}, record {number}"
        if isinstance(record.get("text"), str):
            problem = annotated_problem(name, record, "funcqa", BUILTIN, reasons)
        else:
            problem = _asked(name, record, place, BUILTIN, reasons)
        if problem is not None:
            problems.append(problem)
    return ProblemSet("funcqa", tuple(problems), BUILTIN, tuple(f"{count} {reason}." for reason, count in sorted(reasons.items())))


def _asked(name: str, record: dict, place: str, known, reasons: Counter) -> Problem | None:
    question = field(record, "question", place)
    functions = record.get("func", record.get("calculation"))
    first = functions[0] if isinstance(functions, list) and functions else functions
    found = _FUNCTION.fullmatch(first) if isinstance(first, str) else None
    if found is None or tool_name(found[1]) not in known:
        reasons["questions are left out, for the tool that they need first cannot be told"] += 1
        return None
    call = GoldCall(tool_name(found[1]), None if found[2] is None else arguments_text(found[2]), 0, 0)
    answer = record.get("answer")
    return Problem(name, QUESTION.format(question=question), "", (call,), None if answer is None else str(answer), "funcqa")
