"""Template: the wording of one sort of problem; `{a}` and other names stand for what is drawn.

Template("{name} has {a} marbles and wins {b} more. How many marbles does {name} have now?", "marbles", counts=True)
Several("What are the sum and the difference of {a} and {b}?", (("add", "{a}, {b}"), ("subtract", "{a}, {b}")), "{first} and {second}")
Plain("{name} has {a} marbles and {b} stamps. How many stamps does {name} have?", "{b}")
"""

import string
from dataclasses import dataclass


@dataclass(frozen=True)
class Template:
    """A question that one call answers.

    Args:
        after: words that may follow the result. before: what stands before it, such as "$".
        counts: whether its numbers count things, so that they and the result must be whole.
    """

    question: str
    after: str = ""
    before: str = ""
    counts: bool = False


@dataclass(frozen=True)
class Several:
    """A question that needs two calls.

    Args:
        calls: tools with their arguments; those of the second may have {first}, the result of the first.
        solution: with {first} and {second}, each once where its tool fires. A {first} that is only copied is {copied}.
    """

    question: str
    calls: tuple[tuple[str, str], ...]
    solution: str


@dataclass(frozen=True)
class Plain:
    """A question that needs no tool, and its solution; `after`: words that may follow."""

    question: str
    solution: str
    after: str = ""


@dataclass(frozen=True)
class Family:
    """Templates that share no wording with those of other families.

    Args:
        names: of people. one_call: by tool. several: of two calls. plain: by sort, without a tool.
        written: by tool, what a solution may write before the result, such as "{a} * {b} =".
    """

    names: tuple[str, ...]
    one_call: dict[str, tuple[Template, ...]]
    several: tuple[Several, ...]
    plain: dict[str, tuple[Plain, ...]]
    written: dict[str, str]


def slots(text: str) -> set[str]:
    """The names in braces."""
    return {name for _, name, _, _ in string.Formatter().parse(text) if name}
