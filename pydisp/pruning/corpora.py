"""Corpora: the three texts of a run as tokens: calibration text, held-out text of the same sources, and text of another kind."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from torch import nn

from pydisp.evaluation import check_token_ids, evaluate_text
from pydisp.pruning.outcome import CALIBRATION, HELDOUT, OTHER, Losses
from pydisp.text import Tokens, calibration_and_heldout, other_text, read_text, tokenize


@dataclass(frozen=True)
class Corpora:
    """The tokens of the three texts of a run, and a digest of the calibration text."""

    calibration: Tokens
    heldout: Tokens
    other: Tokens
    sha256: str

    @classmethod
    def read(cls, sources: Sequence[str] | None, tokenizer, vocabulary: int) -> "Corpora":
        """Raises: as `calibration_and_heldout`; ValueError for a token id from `vocabulary` on, which has no embedding."""
        calibration, heldout = calibration_and_heldout(sources)
        # If the masks are calibrated on the help topics, these are no text of another kind.
        other = read_text(["pythondoc:heldout"]) if any(s == "pythondoc:topics" for s in sources or ()) else other_text()
        corpora = cls(*(tokenize(t, tokenizer) for t in (calibration, heldout, other)), calibration.sha256)
        for tokens in (corpora.calibration, corpora.heldout, corpora.other):
            check_token_ids(tokens, vocabulary, tokenizer)
        return corpora

    @property
    def names(self) -> dict[str, str]:
        """The name of each text, such as `Python 3.11.7 docstrings (heldout)`."""
        return {"calibration": self.calibration.name, "heldout": self.heldout.name, "other": self.other.name}

    def check(self, context_tokens: int) -> None:
        """Raise ValueError, naming the text, if one is shorter than a window: before the search, not after it."""
        for tokens in (self.calibration, self.heldout, self.other):
            tokens.windows(context_tokens)

    def evaluated_windows(self, context_tokens: int) -> int:
        """How many windows `losses` scores with each of the two models."""
        calibration, heldout, other = (len(t.windows(context_tokens)) for t in (self.calibration, self.heldout, self.other))
        return min(calibration, heldout) + heldout + other

    def losses(self, dense: nn.Module, pruned: nn.Module, context_tokens: int, say: Callable[[str], None]) -> dict[str, Losses]:
        """The losses of both models on all three texts; of the calibration text, only as many windows as the held-out text has."""
        count = len(self.heldout.windows(context_tokens)) * context_tokens
        ids = self.calibration.ids[:count]
        # Bytes in proportion to tokens: where in the text these windows end is not known.
        part = replace(self.calibration, ids=ids, text_bytes=round(self.calibration.text_bytes * len(ids) / len(self.calibration)))
        losses = {}
        for kind, tokens in ((HELDOUT, self.heldout), (OTHER, self.other), (CALIBRATION, part)):
            say(f"evaluating on {kind} text: {tokens.name}, {len(tokens):,} tokens")
            losses[kind] = Losses(tokens.name, *(evaluate_text(m, tokens, context_tokens, say=say) for m in (dense, pruned)))
        return losses
