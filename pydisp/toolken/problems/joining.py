"""Joining: how a result, or the beginning of a call, follows what stands before it; one rule for gold texts and for decoding.

    put_in("It costs 3 *  4 =", "12")     # " 12"
    put_in("It costs (", "12")            # "12"
    joined(problem)                       # "3*4=12 cups" is then "3*4= 12 cups"

A model that learned "3*4=12" and is given "3*4= 12" would go on behind a text that it has not seen.
"""

import unicodedata
from dataclasses import replace

from pydisp.toolken.problems.problem import Problem

# What a text goes on behind without a space: brackets and quotation marks. Currency signs are a class of Unicode.
OPENING = frozenset("\"'`([{<«“‘„‚")


def put_in(before: str, text: str) -> str:
    """The text with one space in front, unless `before` is empty or ends in white space, an opening bracket, a quotation mark or a currency
    sign."""
    last = before[-1:]
    if not last or last.isspace() or last in OPENING or unicodedata.category(last) in ("Sc", "Ps", "Pi"):
        return text
    return f" {text}"


def joined(problem: Problem) -> Problem:
    """The problem with each result of its solution put in as decoding does it; what stands between results stays, but for spaces before one.

    The spaces before a result are not written by the model: a tool fires before them. So they are dropped and put in anew.
    """
    solution, calls, last = "", [], 0
    for call in problem.calls:
        before, result = problem.solution[last : call.start], problem.solution[call.start : call.end]
        solution += before.rstrip(" ") if result else before
        if result:
            solution += put_in(problem.prompt + solution, result)
        calls.append(replace(call, start=len(solution) - len(result), end=len(solution)))
        last = call.end
    solution += problem.solution[last:]
    return problem if solution == problem.solution else replace(problem, solution=solution, calls=tuple(calls))
