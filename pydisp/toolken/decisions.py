"""Decisions: what to do at one position, from the scores of words and tools; decoding and evaluation share this one definition.

    toolkengpt  the next token is drawn from words and tools; if a tool is on top, it is called (ToolkenGPT, https://arxiv.org/abs/2305.11554)
    rerank      if a tool is on top, the documentation of the top k is read, and the best of these by the second rows is called
    reject      the same with REJ among them; if it is best, the plain model's token follows (Toolken+, https://arxiv.org/abs/2410.12004)
    calibrated  as reject, but the best tool is called if its probability, at the validation's temperature, reaches the validation's threshold
    none        no tools
    no_docs, shuffled_docs   controls of reject: names without sentences, and each tool under the documentation of another

The documentation comes after the prefix here, so that what was read of the prefix can be used again.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from pydisp.arguments import ABOVE_ZERO, ZERO_OR_MORE, check_fields, one_of, whole

MODES = ("none", "toolkengpt", "rerank", "reject", "calibrated")
CONTROLS = ("no_docs", "shuffled_docs")


@dataclass(frozen=True)
class Policy:
    """How decisions are made.

    Args:
        mode: one of MODES or CONTROLS. k: how many tools are reranked.
        temperature: divides the second scores. threshold: the least probability of a tool that `calibrated` calls.
    Raises: ValueError.
    """

    mode: str = "calibrated"
    k: int = 3
    temperature: float = 1.0
    threshold: float = 0.5

    def __post_init__(self):
        check_fields(self, mode=one_of(MODES + CONTROLS), k=whole(1), temperature=ABOVE_ZERO, threshold=ZERO_OR_MORE)

    @property
    def uses_tools(self) -> bool:
        return self.mode != "none"

    @property
    def reads_documentation(self) -> bool:
        """Whether a second forward follows where a tool is on top."""
        return self.mode not in ("none", "toolkengpt")

    @property
    def documentation(self) -> str:
        """Which documentation it reads: "own", "none" or "shuffled"."""
        return {"no_docs": "none", "shuffled_docs": "shuffled"}.get(self.mode, "own")


def fires(word_logits: Tensor, tool_logits: Tensor) -> Tensor:
    """(N,) bool: whether a tool is above every word (a tie is the word's), from (N, V) and (N, T) logits of one softmax."""
    return tool_logits.amax(-1) > word_logits.amax(-1)


def candidates(tool_logits: Tensor, k: int) -> Tensor:
    """(N, k) int64: the k tools with the largest logits of (N, T), best first; of equal ones the earlier tool first.

    Raises: ValueError if there are fewer than k tools.
    """
    if k > tool_logits.shape[-1]:
        raise ValueError(f"k is {k}, but there are {tool_logits.shape[-1]} tools; choose a k of 1 to {tool_logits.shape[-1]}.")
    return tool_logits.sort(dim=-1, descending=True, stable=True).indices[..., :k]


@dataclass(frozen=True)
class Choice:
    """What a policy makes of one position at which a tool is on top.

    Args:
        tool: place in the tools; None if it was rejected. candidates: places, best of the first scores first.
        probabilities: of the candidates, then of REJ where the mode has it; () where nothing was reranked.
        confidence: probability of the best tool, that of the first softmax among tools for `toolkengpt`.
        best: the best tool, called or not.
    """

    tool: int | None
    best: int
    candidates: tuple[int, ...]
    probabilities: tuple[float, ...]
    confidence: float


def choice(policy: Policy, tool_logits: Tensor, places: Tensor, second: Tensor | None) -> Choice:
    """The choice at one position where a tool is on top.

    Args:
        tool_logits: (T,) first scores. places: (k,) from `candidates`.
        second: (k + 1,) second scores of these, REJ last; None for modes that do not read documentation.
    """
    if not policy.reads_documentation:
        shares = torch.softmax(tool_logits.double(), -1)
        best = int(places[0])
        return Choice(best, best, tuple(places.tolist()), (), float(shares[best]))
    scores = second.double() / (policy.temperature if policy.mode == "calibrated" else 1.0)
    probabilities = torch.softmax(scores if policy.mode != "rerank" else scores[:-1], -1)
    best = int(probabilities[: len(places)].argmax())
    confidence = float(probabilities[best])
    if policy.mode == "rerank":
        is_called = True
    elif policy.mode == "calibrated":
        is_called = confidence >= policy.threshold
    else:
        is_called = bool(probabilities[best] > probabilities[-1])
    tool = int(places[best])
    return Choice(tool if is_called else None, tool, tuple(places.tolist()), tuple(probabilities.tolist()), confidence)
