"""Problem: a prompt, the text that solves it, and which characters of that text are results of tools.

    Problem(id="a-17", prompt="Question: What is 12 times 7?\\nAnswer:", solution=" 84",
            calls=(GoldCall("multiply", "12, 7", start=1, end=3),), answer="84", source="builtin", family="a", kind="arithmetic")

A model reads `prompt` and writes `solution`; a tool should fire where a call's characters begin (spaces before them belong to them), and the
characters of the call are what it returns. So texts hold results only, never the call itself, and no token of an answer stands before it.
"""

import hashlib
from dataclasses import dataclass, field

QUESTION = "Question: {question}\nAnswer:"  # every prompt of ours


class ProblemError(ValueError):
    """Problems that cannot be used; the message is one sentence."""


@dataclass(frozen=True)
class GoldCall:
    """A call that the solution needs.

    Args:
        tool: its name. arguments: as a model writes them between the brackets, "12, 7"; None where the data names the tool only.
        start, end: characters of the solution that are its result; equal (at the end of the solution) where no result is known.
    """

    tool: str
    arguments: str | None
    start: int
    end: int


@dataclass(frozen=True)
class Problem:
    """A problem; without calls it needs no tool.

    Args:
        answer: the final answer as text; None where the data has none. family: templates that it comes from, "" if from none.
        kind: what it is about, such as "arithmetic", "units", "dates", "table", "no tool".
        group: problems of one group are paraphrases of each other: they never stand on both sides of a split. By default the id.
    """

    id: str
    prompt: str
    solution: str
    calls: tuple[GoldCall, ...] = ()
    answer: str | None = None
    source: str = ""
    family: str = ""
    kind: str = ""
    group: str = field(default="")

    def __post_init__(self):
        if not self.group:
            object.__setattr__(self, "group", self.id)
        last = 0
        for call in self.calls:
            if not last <= call.start <= call.end <= len(self.solution):
                raise ProblemError(
                    f"problem {self.id!r}: a call of {call.tool!r} spans characters {call.start!r:.12} to {call.end!r:.12} of a solution of "
                    f"{len(self.solution)} characters after one that ends at {last}; spans lie inside the solution, in order, and apart."
                )
            last = call.end

    @property
    def needs_tool(self) -> bool:
        return bool(self.calls)

    @property
    def text(self) -> str:
        return self.prompt + self.solution

    @property
    def digests(self) -> tuple[str, ...]:
        """By which an evaluation knows a problem that was trained on: of the prompt, and of the group if it has paraphrases in its family."""
        texts = [" ".join(self.prompt.split())]
        if self.group != self.id:
            texts.append("\0".join((self.source, self.family, self.group)))
        return tuple(hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:12] for text in texts)
