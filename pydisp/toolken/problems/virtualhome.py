"""VirtualHome: plans of actions and objects in a house, each action and each object a tool, from files that the user has.

    {"text": "Goal: drink water\\nPlan:\\n[WALK] <kitchen>\\n[GRAB] <glass>"}

The tools do nothing: the result of a call is the word of the plan itself. Everything before the first word is the prompt.
Source: ToolkenGPT, https://arxiv.org/abs/2305.11554 (no licence is stated, so that nothing of it is here).
"""

import os
import re
from collections import Counter

from pydisp.toolken.problems.annotated_text import tool_name
from pydisp.toolken.problems.problem import GoldCall, Problem, ProblemError
from pydisp.toolken.problems.problem_set import ProblemSet, field, read_records
from pydisp.toolken.tools.tool import Tool
from pydisp.toolken.tools.tools import Tools

_WORD = re.compile(r"\[[A-Za-z]\w*\]|<[A-Za-z]\w*>")


def read_virtualhome(path: str | os.PathLike) -> ProblemSet:
    """The plans of one file: a JSON list or JSON lines.

    Raises: ProblemError.
    """
    problems, reasons, documentation = [], Counter(), {}
    for number, record in enumerate(read_records(path), 1):
        text = field(record, "text", f"{path}, record {number}").replace("\\n", "\n")
        words = list(_WORD.finditer(text))
        prompt = text[: words[0].start()].rstrip(" ") if words else ""
        if not prompt.strip():
            reasons["texts are left out, for they have no plan of [ACTIONS] and <objects> behind a goal"] += 1
            continue
        first = len(prompt)
        calls = tuple(GoldCall(tool_name(word[0]), "", word.start() - first, word.end() - first) for word in words)
        for word in words:
            what = "action" if word[0].startswith("[") else "object"
            documentation.setdefault(tool_name(word[0]), f"The {what} {tool_name(word[0]).replace('_', ' ').lower()} in a house.")
        answer = " ".join(word[0] for word in words)
        problems.append(Problem(f"virtualhome-{number}", prompt, text[first:], calls, answer, "virtualhome"))
    if not problems:
        raise ProblemError(f"{path} has no plan; give records with a 'text' that has [ACTIONS] and <objects>.")
    tools = Tools([Tool(name, documentation[name]) for name in sorted(documentation)])
    return ProblemSet("virtualhome", tuple(problems), tools, tuple(f"{count} {reason}." for reason, count in sorted(reasons.items())))
