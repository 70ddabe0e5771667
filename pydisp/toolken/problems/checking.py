"""Checking: gold calls are executed again; a problem with a result that is not what the tool returns is listed, not trained on.

with Caller(tools) as caller:
    right, wrong = executed(problems, caller)
    right, wrong = checked(problems, caller)      # the same, refused if none is right
    in_words(wrong)                               # a sentence
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation

from pydisp.progress import Bar, silence
from pydisp.report.words import counted
from pydisp.toolken.problems.problem import GoldCall, Problem, ProblemError

_ADVICE = "correct the problems, or give the tools that they are for."
WITHIN = Decimal("0.001")  # of the gold result: data sets round


@dataclass(frozen=True)
class Wrong:
    """A problem whose gold call does not give its result; `found` is what the tool returned, or why it returned nothing."""

    problem: Problem
    call: GoldCall
    found: str

    def __str__(self) -> str:
        gold = self.problem.solution[self.call.start : self.call.end]
        return f"{self.problem.id}: {self.call.tool}({self.call.arguments}) gives {self.found}, the problem says {gold}"


def checked(problems: Sequence[Problem], caller, say: Callable[[str], None] = silence) -> tuple[list[Problem], list[Wrong]]:
    """As `executed`, of problems to train on; `say` receives progress lines.

    Raises: ProblemError if no problem with a call is right although some have one; ToolError as `executed`.
    """
    with Bar(len(problems), say, title="checking the gold calls", unit="problem", is_brief=True) as bar:
        right, wrong = executed(problems, caller, told=lambda: bar.advance(1))
    if wrong and not right:
        raise ProblemError(
            f"no problem is left of {len(wrong):,}, for each has a gold call that gives another result (the first: {wrong[0]}); {_ADVICE}"
        )
    if wrong and not any(problem.calls for problem in right):
        raise ProblemError(
            f"no problem that calls a tool is left of {len(wrong):,}, for each has a gold call that gives another result (the first: {wrong[0]}); {_ADVICE}"
        )
    return right, wrong


def in_words(wrong: Sequence[Wrong]) -> str:
    """One sentence, which names the first three."""
    rest = f"; and {len(wrong) - 3:,} more" if len(wrong) > 3 else ""
    first = "; ".join(map(str, wrong[:3]))
    return f"{counted(len(wrong), 'problem')} with a gold call that gives another result, not trained on: {first}{rest}."


def executed(problems: Sequence[Problem], caller, told: Callable[[], None] = lambda: None) -> tuple[list[Problem], list[Wrong]]:
    """Execute every gold call that has arguments and a result. A call that the data only names, or of a tool without a function, counts as right.

    Args:
        caller: `tools`, and `call(tool, arguments_text)`, which returns something with `text` (None if it failed) and `error`.
        told: is called after each problem.
    Raises: ToolError for a call of a tool that is not there.
    Returns: the problems that are right, in their order, and the others with the first call that is wrong.
    """
    right, wrong = [], []
    known: dict[tuple[str, str], object] = {}  # paraphrases ask for the same
    for problem in problems:
        mistake = None
        for call in problem.calls:
            if call.arguments is None or call.start == call.end or caller.tools[call.tool].function is None:
                continue
            key = call.tool, call.arguments
            if key not in known:
                known[key] = caller.call(*key)
            result = known[key]
            if result.text is None or not is_same(result.text, problem.solution[call.start : call.end]):
                mistake = Wrong(problem, call, result.text if result.text is not None else f"an error ({result.error})")
                break
        if mistake is None:
            right.append(problem)
        else:
            wrong.append(mistake)
        told()
    return right, wrong


def is_same(found: str, gold: str) -> bool:
    """Whether two results are equal, white space around them apart; numbers within 0.1 % of the gold one."""
    try:
        first, second = Decimal(found.strip()), Decimal(gold.strip().replace(",", ""))
    except InvalidOperation:
        return found.strip() == gold.strip()
    return first == second or (first.is_finite() and second.is_finite() and abs(first - second) <= WITHIN * abs(second))
