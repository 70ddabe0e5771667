"""Sources: problems by a name, as commands take them.

read_problems("builtin", seed=0, count=2000)     read_problems("gsm8k:data/train.jsonl", seed=0, count=500)     read_problems("mine.jsonl", seed=0)

builtin, builtin:a    generated, of the family that trains and tests
builtin:b             generated, of the family that is held out
gsm8k:PATH metatool:PATH funcqa:PATH kamel:PATH gsm8k_xl:PATH virtualhome:PATH
FILE.jsonl            problems as `problem_file` writes them, for the built-in tools or those given
"""

import os
from collections import defaultdict
from collections.abc import Callable
from importlib import import_module

from pydisp.draws import Draws
from pydisp.toolken.problems.generator import FAMILIES, generate
from pydisp.toolken.problems.problem import Problem, ProblemError
from pydisp.toolken.problems.problem_file import read_problem_file
from pydisp.toolken.problems.problem_set import ProblemSet
from pydisp.toolken.tools.tools import Tools

READERS = ("gsm8k", "metatool", "funcqa", "kamel", "gsm8k_xl", "virtualhome")
GENERATED = 2000  # problems, where no count is given


def read_problems(source: str, *, seed: int, count: int | None = None, tools: Tools | None = None) -> ProblemSet:
    """The problems of one source.

    Args:
        count: at most so many, drawn by the seed, each kind of problem as often as the others while it lasts; None for all.
        tools: those of a problem file; the built-in ones by default. Other sources have their own.
    Raises: ProblemError for an unknown source, one that has nothing, and a problem file that calls a tool which is not there.
    """
    if count is not None and (isinstance(count, bool) or not isinstance(count, int) or count < 1):
        raise ProblemError(f"the number of problems is {count!r}; it must be a whole number, 1 or more.")
    name, _, rest = source.partition(":")
    if name == "builtin":
        return _generated(source, rest or "a", seed, count)
    if rest and name in READERS:
        found = _reader(name)(rest)
    elif os.path.isfile(source):
        found = _file(source, tools)
    else:
        known = ", ".join(["builtin", *(f"builtin:{family}" for family in FAMILIES), *(f"{one}:PATH" for one in READERS)])
        raise ProblemError(f"there are no problems {source!r}; give {known}, or a JSONL file of problems.")
    if not found.problems:
        raise ProblemError(f"{source} has no problem that can be used: {' '.join(found.left_out) or 'it is empty.'}")
    return ProblemSet(source, tuple(drawn(found.problems, seed, count)), found.tools, found.left_out)


def drawn(problems: tuple[Problem, ...], seed: int, count: int | None) -> list[Problem]:
    """At most `count` of the problems in their order, each kind as often as the others while it lasts."""
    if count is None or count >= len(problems):
        return list(problems)
    places = defaultdict(list)
    for place, problem in enumerate(problems):
        places[problem.kind].append(place)
    queues = [Draws(seed, "toolken problems of", kind).shuffled(places[kind]) for kind in sorted(places)]
    chosen: list[int] = []
    while len(chosen) < count:
        for queue in queues:
            if queue and len(chosen) < count:
                chosen.append(queue.pop())
    return [problems[place] for place in sorted(chosen)]


def _generated(source: str, family: str, seed: int, count: int | None) -> ProblemSet:
    from pydisp.toolken.tools.builtin import BUILTIN

    return ProblemSet(source, tuple(generate(family, count or GENERATED, seed)), BUILTIN)


def _reader(name: str) -> Callable[[str], ProblemSet]:
    return getattr(import_module(f"pydisp.toolken.problems.{name}"), f"read_{name}")


def _file(path: str, tools: Tools | None) -> ProblemSet:
    from pydisp.toolken.tools.builtin import BUILTIN

    tools = BUILTIN if tools is None else tools
    problems = read_problem_file(path)
    for problem in problems:
        for call in problem.calls:
            if call.tool not in tools:
                raise ProblemError(
                    f"{path}: problem {problem.id!r} calls {call.tool!r}, which is not among the tools ({', '.join(tools.names[:12])}"
                    f"{', ...' if len(tools) > 12 else ''}); give the tools of this file, or correct the name."
                )
    return ProblemSet(path, tuple(problems), tools)
