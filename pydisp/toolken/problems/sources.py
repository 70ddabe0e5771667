"""Sources: problems by a name, as commands take them.

read_problems("builtin", seed=0, count=2000)     read_problems("gsm8k:data/train.jsonl", seed=0, count=500)     read_problems("mine.jsonl", seed=0)

builtin, builtin:a    generated, of the family that trains and tests
builtin:b             generated, of the family that is held out
gsm8k:PATH metatool:PATH funcqa:PATH kamel:PATH gsm8k_xl:PATH virtualhome:PATH
FILE.jsonl            problems as `problem_file` writes them, for the built-in tools or those given
"""

import os
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from importlib import import_module
from itertools import islice

from pydisp.arguments import optional, takes, whole
from pydisp.draws import Draws
from pydisp.given_file import check_kind
from pydisp.loading import displayed_name
from pydisp.report.words import counted
from pydisp.toolken.problems.generator import FAMILIES, MOST_PROBLEMS, generate
from pydisp.toolken.problems.problem import Problem, ProblemError
from pydisp.toolken.problems.problem_file import read_problem_file
from pydisp.toolken.problems.problem_set import ProblemSet
from pydisp.toolken.tools.tools import Tools

READERS = ("gsm8k", "metatool", "funcqa", "kamel", "gsm8k_xl", "virtualhome")
GENERATED = 2000  # problems, where no count is given


@takes(count=optional(whole(1, MOST_PROBLEMS)))
def read_problems(
    source: str, *, seed: int, count: int | None = None, tools: Tools | None = None, is_unseen: Callable[[Problem], bool] | None = None
) -> ProblemSet:
    """The problems of one source.

    Args:
        count: at most so many, drawn by the seed as in `drawn`; None for all.
        tools: those of a problem file; the built-in ones by default. Other sources have their own.
        is_unseen: whether a problem may be used, such as whether no training has read it; asked before the draw, so that `count` of the others
            are found where there are so many. How many were not used is said in `left_out`.
    Raises: ProblemError for an unknown source, one that has nothing or nothing unseen, and a problem file that calls a tool which is not there.
    """
    name, colon, rest = source.partition(":")
    is_unseen = is_unseen or _any
    if name == "builtin":
        return _generated(source, rest or "a", seed, count or GENERATED, is_unseen)
    if rest and name in READERS:
        found = _reader(name)(rest)
    elif colon and name in READERS:
        raise ProblemError(f"{source!r} names no file; give {name}:PATH, where PATH is the file or the folder of this data set.")
    elif os.path.isdir(source):
        raise ProblemError(
            f"{source!r} is a folder; give a JSONL file of problems, or a data set as {READERS[0]}:PATH (readers: {', '.join(READERS)})."
        )
    elif os.path.exists(source):
        check_kind(source, "give a JSONL file of problems.")
        found = _file(source, tools)
    else:
        known = ", ".join(["builtin", *(f"builtin:{family}" for family in FAMILIES), *(f"{one}:PATH" for one in READERS)])
        raise ProblemError(f"there are no problems {source!r}; give {known}, or a JSONL file of problems.")
    if not found.problems:
        raise ProblemError(f"{source} has no problem that can be used: {' '.join(found.left_out) or 'it is empty.'}")
    unseen = [problem for problem in found.problems if is_unseen(problem)]
    left_out = (*found.left_out, *_seen(source, len(found.problems), len(unseen)))
    shown = f"{name}:{displayed_name(rest)}" if rest and name in READERS else displayed_name(source)  # no path of a machine in a report
    return ProblemSet(shown, tuple(drawn(unseen, seed, count)), found.tools, left_out)


def drawn(problems: Sequence[Problem], seed: int, count: int | None) -> list[Problem]:
    """At most `count` of the problems in their order: each kind as often as the others while it lasts, and within a kind each tool.

    The tool of a problem is that of its first call. So no tool is left out by a count of at least as many problems of a kind as it has tools.
    """
    if count is None or count >= len(problems):
        return list(problems)
    places = defaultdict(lambda: defaultdict(list))
    for place, problem in enumerate(problems):
        places[problem.kind][problem.calls[0].tool if problem.calls else ""].append(place)
    queues = [_in_turn(places[kind], Draws(seed, "toolken problems of", kind)) for kind in sorted(places)]
    return [problems[place] for place in sorted(islice(_one_of_each(queues), count))]


def _in_turn(by_tool: dict[str, list[int]], draws: Draws) -> Iterator[int]:
    """The places of one kind: one of each tool, then another of each, in an order that is drawn anew for each tool."""
    names = draws.shuffled(sorted(by_tool))
    return _one_of_each([iter(draws.child(name).shuffled(by_tool[name])) for name in names])


def _one_of_each(queues: Sequence[Iterator[int]]) -> Iterator[int]:
    left = list(queues)
    while left:
        still = []
        for queue in left:
            place = next(queue, None)
            if place is not None:
                yield place
                still.append(queue)
        left = still


def _any(_problem: Problem) -> bool:
    return True


def _seen(source: str, count: int, unseen: int) -> list[str]:
    if not unseen:
        what = "the one problem" if count == 1 else f"all {count:,} problems"
        raise ProblemError(f"{what} of {source} {'was' if count == 1 else 'were'} seen in training; give other problems.")
    return [] if unseen == count else [f"{count - unseen:,} of {count:,} problems are left out, because they were seen in training."]


def _generated(source: str, family: str, seed: int, count: int, is_unseen: Callable[[Problem], bool]) -> ProblemSet:
    """The first that are unseen: a larger number has the same problems first."""
    from pydisp.toolken.tools.builtin import BUILTIN

    problems = unseen = []
    for factor in (1, 2, 4, 8, 16):  # a source that goes on for ever, of which nearly all was seen, ends somewhere
        problems = generate(family, factor * count, seed)
        unseen = [problem for problem in problems if is_unseen(problem)]
        if len(unseen) >= count:
            break
    kept = unseen[:count]
    if not kept:
        raise ProblemError(
            f"{counted(count, 'problem')} of {source} {'was' if count == 1 else 'were'} asked for, and all of the first {len(problems):,} "
            f"that seed {seed} generates were seen in training; give another seed, or other problems."
        )
    read = next(number for number, one in enumerate(problems, 1) if one is kept[-1]) if len(kept) == count else len(problems)
    if read == len(kept):
        return ProblemSet(source, tuple(kept), BUILTIN)
    left_out = (
        f"{read - len(kept):,} of the first {read:,} problems that seed {seed} generates are left out, because they were seen in training"
    )
    fewer = "" if len(kept) == count else f"; {len(kept):,} {'is' if len(kept) == 1 else 'are'} there instead of {count:,}"
    return ProblemSet(source, tuple(kept), BUILTIN, (f"{left_out}{fewer}.",))


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
