"""MetaTool: which of 199 documented tools a query needs, and whether it needs one at all.

    plugin_des.json       {"calculator": "A calculator ...", ...}
    all_clean_data.csv    Query,Tool        queries that need one tool
    Task1.json            [{"query": "...", "label": "positive" | "negative", "tool": "..."}, ...]     needs a tool or not

The tools have documentation only: nothing can be called. A query with a tool is a problem whose call follows the prompt, without a result; one without
has a solution of a single word that only holds the label. Any of the files may be a .gz.
Source: https://arxiv.org/abs/2310.03128; fields are those of its published files (MIT).
"""

import os
import re
from collections import Counter, defaultdict
from pathlib import Path

from pydisp.given_value import csv_rows, short
from pydisp.toolken.problems.problem import QUESTION, GoldCall, Problem, ProblemError
from pydisp.toolken.problems.problem_set import ProblemSet, field, read_json, read_records, read_text
from pydisp.toolken.tools.tool import Tool
from pydisp.toolken.tools.tools import Tools

SINGLE, AWARE, NO_TOOL = "single tool", "needs a tool", "no tool"
_NO_TOOL_SOLUTION = " Here"


def read_metatool(path: str | os.PathLike) -> ProblemSet:
    """The queries of a folder with the three files.

    Raises: ProblemError for a folder without them.
    """
    folder = Path(path)
    described = read_json(_found(folder, "plugin_des.json"))
    if not isinstance(described, dict) or not all(isinstance(text, str) for text in described.values()):
        raise ProblemError(f"{folder} has no plugin_des.json with the description of each tool by its name; copy the file again.")
    names = {name: _name(name) for name in described}
    tools = Tools([Tool(names[name], text) for name, text in described.items() if text.strip()])
    renamed = [
        f"The tool {name!r} is here {new!r}: a name has letters, digits, '_', '.' and '-'." for name, new in names.items() if new != name
    ]
    reasons = Counter()
    rows = [*_single(folder), *_aware(folder)]
    needs = defaultdict(set)
    for kind, query, tool in rows:
        needs[query].add(None if kind == NO_TOOL else tool)
    problems, seen = [], set()
    for kind, query, tool in rows:
        if len(needs[query]) > 1:
            reasons["queries are left out, for the data names several answers to them"] += 1
        elif kind != NO_TOOL and names.get(tool) not in tools:
            reasons["queries are left out, for their tool has no description"] += 1
        elif (kind, query) in seen:
            reasons["queries are left out, for they stand there twice"] += 1
        else:
            seen.add((kind, query))
            solution, calls = (_NO_TOOL_SOLUTION, ()) if kind == NO_TOOL else ("", (GoldCall(names[tool], None, 0, 0),))
            name = f"metatool-{len(problems)}"
            problems.append(Problem(name, QUESTION.format(question=query), solution, calls, None, "metatool", "", kind, query))
    left_out = (*renamed, *(f"{count} {reason}." for reason, count in sorted(reasons.items())))
    return ProblemSet("metatool", tuple(problems), tools, left_out)


def _single(folder: Path) -> list[tuple[str, str, str]]:
    path = _found(folder, "all_clean_data.csv")
    try:
        rows = [cells for _, cells in csv_rows(read_text(path), str(path), "copy the file again.")]
    except ValueError as error:
        raise ProblemError(str(error)) from None
    columns = rows[0] if rows else []
    if not {"Query", "Tool"} <= set(columns):
        raise ProblemError(f"{path} has the columns {short(columns)}; it needs Query and Tool.")
    query, name = columns.index("Query"), columns.index("Tool")
    whole = (cells for cells in rows[1:] if len(cells) > max(query, name))
    return [(SINGLE, _clean(cells[query]), cells[name]) for cells in whole if cells[query] and cells[name]]


def _aware(folder: Path) -> list[tuple[str, str, str]]:
    path = _found(folder, "Task1.json")
    rows = []
    for number, record in enumerate(read_records(path), 1):
        place = f"{path}, record {number}"
        label = field(record, "label", place)
        if label not in ("positive", "negative"):
            raise ProblemError(f"{place} has the label {label!r}; it must be 'positive' or 'negative'.")
        tool = field(record, "tool", place) if label == "positive" else ""
        rows.append((AWARE if label == "positive" else NO_TOOL, _clean(field(record, "query", place)), tool))
    return rows


def _found(folder: Path, name: str) -> Path:
    for path in (folder / name, folder / f"{name}.gz"):
        if path.is_file():
            return path
    raise ProblemError(
        f"{folder} has no {name} or {name}.gz; give the folder with plugin_des.json, all_clean_data.csv and Task1.json of MetaTool."
    )


def _name(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9_.\-]", "_", name)


def _clean(text: str) -> str:
    return " ".join(text.split())
