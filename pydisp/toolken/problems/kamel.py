"""KAMEL: facts of 234 relations of a knowledge base, each relation a tool, from files that the user has.

    {"question": "Who is the father of Ada?", "answer": "Bo", "api": "P22"}         or with "text": "Q: ...\\nA: ..." in place of the question

The tools can be known by their documentation only. It is taken from a file `documentation.json` beside the records, {"P22": "father of a person", ...};
without it, a relation is documented by its name.
Source: ToolkenGPT, https://arxiv.org/abs/2305.11554 (no licence is stated, so that nothing of it is here).
"""

import os
from collections import Counter
from pathlib import Path

from pydisp.toolken.problems.annotated_text import question_and_answer, tool_name
from pydisp.toolken.problems.problem import QUESTION, GoldCall, Problem, ProblemError
from pydisp.toolken.problems.problem_set import ProblemSet, field, read_json, read_records
from pydisp.toolken.tools.tool import Tool
from pydisp.toolken.tools.tools import Tools


def read_kamel(path: str | os.PathLike) -> ProblemSet:
    """The problems of one file: a JSON list or JSON lines. The call follows the prompt, without a result.

    Raises: ProblemError; ToolError for a relation whose name no tool can have.
    """
    problems, reasons = [], Counter()
    for number, record in enumerate(read_records(path), 1):
        relation = tool_name(field(record, "api", f"{path}, record {number}"))
        question, answer = record.get("question"), record.get("answer")
        if not isinstance(question, str):
            question, answer = question_and_answer(str(record.get("text", ""))) or (None, None)
        if question is None:
            reasons["records are left out, for they have no question"] += 1
            continue
        if isinstance(answer, list):
            answer = ", ".join(map(str, answer))
        call = GoldCall(relation, None, 0, 0)
        problems.append(
            Problem(f"kamel-{number}", QUESTION.format(question=question), "", (call,), None if answer is None else str(answer), "kamel")
        )
    if not problems:
        raise ProblemError(f"{path} has no record with a question and a relation; give records with 'question' or 'text', and 'api'.")
    relations = sorted({problem.calls[0].tool for problem in problems})
    documented = _documentation(Path(path).with_name("documentation.json"))
    bare = sum(name not in documented for name in relations)
    if bare:
        reasons["relations have no documentation but their names; a file documentation.json beside the records can give it"] = bare
    tools = Tools([Tool(name, documented.get(name, f"The relation {name}.")) for name in relations])
    return ProblemSet("kamel", tuple(problems), tools, tuple(f"{count} {reason}." for reason, count in sorted(reasons.items())))


def _documentation(path: Path) -> dict[str, str]:
    if not path.is_file():
        return {}
    texts = read_json(path)
    if not isinstance(texts, dict) or not all(isinstance(text, str) and text.strip() for text in texts.values()):
        raise ProblemError(f"{path} is not the documentation of relations by their names; give {{name: text}}.")
    return {tool_name(name): text for name, text in texts.items()}
