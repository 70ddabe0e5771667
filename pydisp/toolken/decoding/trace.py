"""Trace: every decision made while one text was written, as plain values.

    trace.counts                       # {"called": 2, "rejected": 1, "failed": 0, "repeated": 0, "beyond": 0}
    trace.steps[0].as_dict()           # {"place": 4, "fired": "divide", "outcome": "called", "arguments": "48, 2", "result": "24", ...}

There is one step for each position at which a tool was above every word:

    called     the call ran, and its result stands in the text
    rejected   no tool was called, because REJ or the threshold decided so, or no documentation fitted (then `error` says so)
    failed     a call was tried: its arguments were broken or refused, or it raised, took too long or too much memory. Never an abstention
    repeated   the call before, with nothing but its own result between, or for the third time on end; or one that failed in this text before, or one
               of a tool that is not tried again in this text, because it has no function or failed so twice. It did not run, and the plain
               token follows
    beyond     as many calls as a text may have were made before; or the result is longer than the text may become, which ends before it
"""

from collections.abc import Iterable
from dataclasses import asdict, dataclass

from pydisp.toolken.decisions import Choice
from pydisp.toolken.tools.tools import Tools

OUTCOMES = ("called", "rejected", "failed", "repeated", "beyond")


@dataclass(frozen=True)
class Step:
    """One decision.

    Args:
        place: tokens written before it, results included. fired: the tool with the largest first score.
        outcome: one of OUTCOMES. tool: the best tool after reranking, called or not; `fired` where nothing was reranked.
        candidates: names of the reranked tools, best of the first scores first. probabilities: theirs, then REJ's where the mode has it.
        confidence: probability of `tool`; None where it was not computed.
        arguments: what was written between the brackets; None if nothing was.
        result: what the call returned. error: why it failed, or what a repeated one failed with. kind: of the call's end, as the caller names it.
        needed: tokens of a result for which the text had no room; None for others.
        start, end: characters of the written text that were put in, a space before the result included; equal where nothing was.
    """

    place: int
    fired: str
    outcome: str
    tool: str
    candidates: tuple[str, ...] = ()
    probabilities: tuple[float, ...] = ()
    confidence: float | None = None
    arguments: str | None = None
    result: str | None = None
    error: str | None = None
    kind: str | None = None
    needed: int | None = None
    start: int = 0
    end: int = 0

    @classmethod
    def of(cls, place: int, choice: Choice, tools: Tools, outcome: str, start: int, **values) -> "Step":
        """The step of a choice, before anything is put in at character `start`."""
        names = tools.names
        return cls(
            place, names[choice.candidates[0]], outcome, names[choice.best], tuple(names[one] for one in choice.candidates),
            choice.probabilities, **{"confidence": choice.confidence, "start": start, "end": start, **values},
        )  # fmt: skip

    def as_dict(self) -> dict:
        """Plain values for JSON."""
        return {**asdict(self), "candidates": list(self.candidates), "probabilities": list(self.probabilities)}


class Trace:
    """The steps of one text, in their order."""

    def __init__(self, steps: Iterable[Step] = ()):
        self.steps = list(steps)

    def __repr__(self) -> str:
        """`Trace(3 steps: 2 called, 1 rejected)`."""
        found = ", ".join(f"{count} {outcome}" for outcome, count in self.counts.items() if count)
        return f"Trace({len(self.steps)} {'step' if len(self.steps) == 1 else 'steps'}{': ' * bool(found)}{found})"

    def add(self, step: Step) -> None:
        """Change the trace: one more step."""
        self.steps.append(step)

    @property
    def counts(self) -> dict[str, int]:
        """How many steps had each outcome."""
        return {outcome: sum(step.outcome == outcome for step in self.steps) for outcome in OUTCOMES}

    @property
    def calls_made(self) -> int:
        """Calls that ran or failed, and those that were written and broken off: what counts against the most calls of a text."""
        return sum(step.outcome in ("called", "failed") or step.outcome == "repeated" and step.arguments is not None for step in self.steps)

    def as_dict(self) -> dict:
        """Plain values for JSON."""
        return {"counts": self.counts, "steps": [step.as_dict() for step in self.steps]}
