"""Outcomes: what became of one problem under one mode and one seed of the training, end to end.

{"problem": "a-17", "group": "a-17", "mode": "reject", "seed": 0, "kind": "arithmetic", "family": "a", "gold_tools": ["multiply"],
 "gold": "84", "text": " 84", "answer": "84", "is_exact": true, "is_within": true, "steps": [{"outcome": "called", ...}]}

Counted apart: a call that ran, one that was tried and failed, one that was rejected, one that did not run because it repeats the one before
or one that failed in this text, one that was over the most calls of a text. A failed call is never an abstention: it counts as tried, and where no tool is needed as unneeded.
"""

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields

_TEXTS = ("problem", "group", "mode", "text", "answer", "kind", "family")
CALLED, REJECTED, FAILED, REPEATED = "called", "rejected", "failed", "repeated"


class OutcomeError(ValueError):
    """A record that is no outcome; the message is one sentence."""


@dataclass(frozen=True)
class Outcome:
    """One problem under one mode and seed.

    Args:
        problem, group, kind, family: of the problem. gold_tools: tools of its gold calls, in order; () where it needs none.
        mode: of `decisions`. seed: of the training; None for the mode "none", which has none.
        gold: the gold answer, None where the data has none. text: what was generated. answer: what was taken as the answer of it.
        is_exact, is_within: whether it is right; None without a gold answer.
        steps: the decisions of the trace as plain values, each with an "outcome".
    """

    problem: str
    group: str
    mode: str
    seed: int | None
    gold_tools: tuple[str, ...]
    text: str
    answer: str = ""
    gold: str | None = None
    is_exact: bool | None = None
    is_within: bool | None = None
    kind: str = ""
    family: str = ""
    steps: tuple[dict, ...] = ()

    @property
    def needs_tool(self) -> bool:
        return bool(self.gold_tools)

    def count(self, outcome: str) -> int:
        """Steps that ended so."""
        return sum(step["outcome"] == outcome for step in self.steps)

    @property
    def calls(self) -> int:
        """Calls that ran."""
        return self.count(CALLED)

    @property
    def tried(self) -> int:
        """Calls that ran or failed."""
        return self.calls + self.count(FAILED)

    @property
    def unneeded(self) -> int:
        """Calls that ran or failed where the gold has none."""
        return 0 if self.needs_tool else self.tried

    @property
    def is_missed(self) -> bool:
        """Whether a tool is needed and no call was tried."""
        return self.needs_tool and not self.tried

    def as_dict(self) -> dict:
        """Plain values for JSON."""
        return {**asdict(self), "gold_tools": list(self.gold_tools), "steps": list(self.steps)}

    @classmethod
    def from_dict(cls, values: dict) -> "Outcome":
        """The outcome that `as_dict` wrote.

        Raises: OutcomeError for anything else.
        """
        names = {one.name for one in fields(cls)}
        if not isinstance(values, dict) or set(values) != names:
            found = sorted(values) if isinstance(values, dict) else type(values).__name__
            raise OutcomeError(f"an outcome has {found}; it needs {sorted(names)}: write it again.")
        wrong = [name for name in _TEXTS if not isinstance(values[name], str)]
        if wrong:
            raise OutcomeError(f"{wrong[0]} of an outcome is {values[wrong[0]]!r:.60}, and it must be a text; write it again.")
        steps = tuple(values["steps"])
        if not all(isinstance(step, dict) and isinstance(step.get("outcome"), str) for step in steps):
            raise OutcomeError(f"a step of problem {values['problem']!r} has no outcome; write it again.")
        return cls(**{**values, "gold_tools": tuple(values["gold_tools"]), "steps": steps})


def json_lines(outcomes: Iterable[Outcome]) -> str:
    """One line each, in their order."""
    return "".join(json.dumps(one.as_dict(), ensure_ascii=False, sort_keys=True, allow_nan=False) + "\n" for one in outcomes)


def from_json_lines(text: str) -> list[Outcome]:
    """What `json_lines` wrote.

    Raises: OutcomeError that names the line.
    """
    found = []
    for number, line in enumerate(text.split("\n"), 1):  # not splitlines: a text may hold other ends of lines
        if line:
            try:
                found.append(Outcome.from_dict(json.loads(line)))
            except (ValueError, TypeError) as error:
                raise OutcomeError(f"line {number} is no outcome ({error}); write the file again.") from None
    return found
