"""Example traces: problems of four kinds for the readers of a report: right, wrong, rejected and failed."""

from collections.abc import Mapping, Sequence

from pydisp.report import Table
from pydisp.toolken.decoding.marked_text import shown
from pydisp.toolken.evaluating.outcomes import CALLED, FAILED, REJECTED, REPEATED, Outcome

MOST = 3  # of each kind
_LETTERS = 150  # of a text in a table
COLUMNS = ["problem", "right answer", "written", "decisions"]


def example_tables(outcomes: Sequence[Outcome], prompts: Mapping[str, str]) -> list[Table]:
    """A table for each kind that there is; of each kind of problem one example, then more.

    Args:
        outcomes: of one mode and seed. prompts: by the id of the problem.
    """
    choices = {
        "Right, with a call": lambda one: one.is_exact and one.calls and one.needs_tool,
        "Wrong, with a call": lambda one: one.is_exact is False and one.calls,
        "A tool was on top and was rejected": lambda one: one.count(REJECTED),
        "A call was tried and failed": lambda one: one.count(FAILED),
    }
    tables = []
    for title, fits in choices.items():
        found = _varied([one for one in outcomes if fits(one)])
        if found:
            tables.append(Table(title, COLUMNS, [row(one, prompts.get(one.problem, one.problem)) for one in found]))
    return tables


def row(one: Outcome, prompt: str) -> list[str]:
    """Problem, gold answer, written text and decisions, as cells of a table."""
    question = prompt.strip().removeprefix("Question:").removesuffix("Answer:").strip()
    return [cell(question), cell(one.gold or "none"), cell(one.text), "; ".join(step_words(step) for step in one.steps) or "no tool on top"]


def step_words(step: Mapping) -> str:
    """`multiply(12, 7) -> 84`, `add rejected (0.31)`, `divide(1, 0) failed: ...`, `add(1, 2) repeated`, `power(2, 99) has no room: 30 tokens`."""
    name, call = step.get("tool", "?"), f"{step.get('tool', '?')}({step.get('arguments') or ''})"
    confidence = step.get("confidence")
    sure = "" if confidence is None else f" ({confidence:.2f})"
    if step["outcome"] == CALLED:
        return cell(f"{call} -> {step.get('result')}{sure}")
    if step["outcome"] == FAILED:
        return cell(f"{call} failed: {step.get('error')}")
    if step["outcome"] == REPEATED:
        return cell(f"{call} repeated, broken off")
    if step["outcome"] == REJECTED:
        return cell(f"{name} rejected{sure}{': ' + step['error'] if step.get('error') else ''}")
    if step.get("needed") is not None:
        return cell(f"{call} has no room: {step['needed']} tokens")
    return cell(f"{name}: {step['outcome']} the most calls of a text")


def cell(text: str) -> str:
    """A text for a cell: its lines as one, its middle left out if it is long, control characters escaped."""
    text = shown(" ⏎ ".join(line.strip() for line in text.strip().splitlines() if line.strip()))
    half = _LETTERS // 2
    return text if len(text) <= _LETTERS else f"{text[:half].rstrip()} … {text[-half:].lstrip()}"


def _varied(outcomes: list[Outcome]) -> list[Outcome]:
    """The first of each kind of problem, then the others."""
    first: dict[str, Outcome] = {}
    for one in outcomes:
        first.setdefault(one.kind, one)
    others = [one for one in outcomes if first[one.kind] is not one]
    return [*first.values(), *others][:MOST]
