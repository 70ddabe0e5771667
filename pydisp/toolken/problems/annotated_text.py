"""Texts with marked calls, in the form that ToolkenGPT's data sets share; the places of their tokens, which hold for one tokenizer only, are not used.

    {"text": "Q: How much is 3 times 4.5?\\nA: It is <multiply>(3, 4.5)=13.5<eoe>."}                                 the call stands in the text
    {"text": "Q: How much is 3 times 4.5?\\nA: It is = 13.5.", "tar_eq": ["<multiply>(3, 4.5)=13.5<eoe>"], "tar_number": ["13.5"], ...}   only its result

Source: ToolkenGPT, https://arxiv.org/abs/2305.11554; where its sheet leaves the form of a field open, both forms are read [ours].
"""

import re
from collections import Counter

from pydisp.toolken.problems.problem import QUESTION, GoldCall, Problem

TOOL_NAMES = {"permutate": "permute"}  # FuncQA's name of a built-in tool
_QUESTION = re.compile(r"(?:Q|Question):\s*(.*?)\s*\n\s*(?:A|Answer):[ \t]*(.*)", re.DOTALL)
_CALL = re.compile(r"<(\w+)>\s*\(([^()]*)\)\s*=\s*(.*?)\s*<eoe>")
_FINAL = re.compile(r"(?:####|answer is)[:\s$]*(-?[\d,]*\.?\d+)")


def question_and_answer(text: str) -> tuple[str, str] | None:
    """What stands behind "Q:" and "A:"; None for other texts. Line ends may be written as a backslash and an n."""
    found = _QUESTION.fullmatch(text.replace("\\n", "\n").strip())
    return None if found is None else (found[1], found[2])


def annotated_problem(name: str, record: dict, source: str, known, reasons: Counter) -> Problem | None:
    """The problem of one record; None, with its reason counted, where it cannot be used.

    Args:
        known: the names of the tools; `in` is asked of it.
    """
    parts = question_and_answer(record["text"])
    if parts is None:
        reasons["texts are left out, for they are not a question 'Q: ...' and an answer 'A: ...'"] += 1
        return None
    question, answer = parts
    if _CALL.search(answer):
        solution, calls = _from_marks(answer)
    else:
        solution, calls = _from_fields(answer, record)
    if calls is None:
        reasons["texts are left out, for the place of a result in them cannot be told"] += 1
        return None
    if not all(call.tool in known for call in calls):
        reasons["texts are left out, for they call a tool that is not there"] += 1
        return None
    final = _FINAL.findall(solution)
    return Problem(name, QUESTION.format(question=question), solution, tuple(calls), final[-1].replace(",", "") if final else None, source)


def marked_call(text: str) -> tuple[str, str, str] | None:
    """Tool, arguments and result of "<multiply>(3, 4.5)=13.5<eoe>"; the mark of the end may be missing."""
    found = _CALL.fullmatch(text.strip() if text.strip().endswith("<eoe>") else f"{text.strip()}<eoe>")
    return None if found is None else (tool_name(found[1]), arguments_text(found[2]), found[3])


def tool_name(mark: str) -> str:
    """The tool that "<multiply>", "[WALK]" or "multiply" stands for."""
    name = mark.strip().strip("<>[]")
    return TOOL_NAMES.get(name, name)


def arguments_text(text: str) -> str:
    """One space behind each comma."""
    return ", ".join(part.strip() for part in text.split(","))


def _from_marks(answer: str) -> tuple[str, list[GoldCall]]:
    solution, calls, last = " ", [], 0
    for found in _CALL.finditer(answer):
        solution += answer[last : found.start()]
        calls.append(GoldCall(tool_name(found[1]), arguments_text(found[2]), len(solution), len(solution) + len(found[3])))
        solution += found[3]
        last = found.end()
    return solution + answer[last:], calls


def _from_fields(answer: str, record: dict) -> tuple[str, list[GoldCall] | None]:
    """A result is the number behind the next "="; any other place might be where the number is only repeated."""
    solution, calls, last = f" {answer}", [], 0
    for mark in record.get("tar_eq", ()):
        parsed = marked_call(mark) if isinstance(mark, str) else None
        if parsed is None:
            return solution, None
        tool, arguments, result = parsed
        found = re.compile(rf"=\s*\$?\s*({re.escape(result)})(?!\.?\d)").search(solution, last)
        if found is None:
            return solution, None
        calls.append(GoldCall(tool, arguments, found.start(1), found.end(1)))
        last = found.end(1)
    return solution, calls
