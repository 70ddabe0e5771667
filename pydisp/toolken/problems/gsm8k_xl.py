"""GSM8K-XL: questions of GSM8K with larger numbers, from files that the user has.

    train   {"text": "Q: ...\\nA: ...", "tar_eq": ["<add>(48, 24)=72<eoe>"], "tar_number": ["72"], "start_token_idx": [...], "end_token_idx": [...]}
    test    {"question": "Natalia sold {v_1} clips and {v_2} more ...", "enhanced_v": [4800, 2400], "enhanced_result": 7200}

A test record names no calls: it asks for its answer only.
Source: ToolkenGPT, https://arxiv.org/abs/2305.11554 (no licence is stated, so that nothing of it is here).
"""

import os
import re
from collections import Counter

from pydisp.toolken.problems.annotated_text import annotated_problem
from pydisp.toolken.problems.problem import QUESTION, Problem, ProblemError
from pydisp.toolken.problems.problem_set import ProblemSet, field, read_records

ANSWER_ONLY = "answer only"  # the kind of problems whose calls are not known


def read_gsm8k_xl(path: str | os.PathLike) -> ProblemSet:
    """The problems of one file: a JSON list or JSON lines.

    Raises: ProblemError.
    """
    from pydisp.toolken.tools.builtin import BUILTIN

    problems, reasons = [], Counter()
    for number, record in enumerate(read_records(path), 1):
        name, place = f"gsm8k_xl-{number}", f"{path}, record {number}"
        if isinstance(record.get("text"), str):
            problem = annotated_problem(name, record, "gsm8k_xl", BUILTIN, reasons)
        else:
            problem = _enhanced(name, record, place)
        if problem is not None:
            problems.append(problem)
    if any(problem.kind == ANSWER_ONLY for problem in problems):
        reasons["problems have an answer and no calls: they test answers, and are no problems without a tool"] = sum(
            problem.kind == ANSWER_ONLY for problem in problems
        )
    return ProblemSet("gsm8k_xl", tuple(problems), BUILTIN, tuple(f"{count} {reason}." for reason, count in sorted(reasons.items())))


def _enhanced(name: str, record: dict, place: str) -> Problem:
    values = field(record, "enhanced_v", place, list)

    def value(found: re.Match) -> str:
        number = int(found[1])
        if not 1 <= number <= len(values):
            raise ProblemError(f"{place} asks for {{v_{number}}}, and enhanced_v has {len(values)} values; copy the file again.")
        return str(values[number - 1])

    question = re.sub(r"\{v_(\d+)\}", value, field(record, "question", place))
    answer = record.get("enhanced_result")
    return Problem(name, QUESTION.format(question=question), "", (), None if answer is None else str(answer), "gsm8k_xl", "", ANSWER_ONLY)
