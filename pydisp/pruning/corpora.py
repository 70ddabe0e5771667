"""Corpora: the three texts of a run as tokens: calibration text, held-out text of the same sources, and text of another kind."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from torch import nn

from pydisp.evaluation import TextLoss, check_token_ids, evaluate_text
from pydisp.progress import Bar, silence
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
    def read(cls, sources: Sequence[str] | None, tokenizer, vocabulary: int, say: Callable[[str], None] = silence) -> "Corpora":
        """Raises: as `calibration_and_heldout`; ValueError for a token id from `vocabulary` on, which has no embedding."""
        say("reading the texts")
        calibration, heldout = calibration_and_heldout(sources, say)
        # If the masks are calibrated on the help topics, these are no text of another kind.
        other = read_text(["pythondoc:heldout"]) if any(s == "pythondoc:topics" for s in sources or ()) else other_text()
        corpora = cls(*(tokenize(t, tokenizer, say) for t in (calibration, heldout, other)), calibration.sha256)
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

    def evaluated_windows(self, context_tokens: int, most_tokens: int | None = None) -> int:
        """How many windows `losses` scores with each of the two models."""
        return sum(len(t.windows(context_tokens, most_tokens)) for t in self._evaluated(context_tokens).values())

    def scored_tokens(self, context_tokens: int) -> list[int]:
        """The tokens of each text that `losses` scores without a limit."""
        return [len(t) for t in self._evaluated(context_tokens).values()]

    def losses(
        self, dense: nn.Module, pruned: nn.Module, context_tokens: int, say: Callable[[str], None], most_tokens: int | None = None
    ) -> dict[str, Losses]:
        """The losses of both models on the same windows of all three texts.

        Of the calibration text, only as many windows as the held-out text has. Of each text, at most `most_tokens` tokens, evenly over
        it (`Tokens.windows`); None: all.
        """
        texts, windows = self._evaluated(context_tokens), self.evaluated_windows(context_tokens, most_tokens)
        for kind, tokens in texts.items():
            say(f"{kind} text: {tokens.name}, {_scored_words(tokens, context_tokens, most_tokens)}")
        with Bar(2 * windows, say, title="evaluation", unit="window") as bar:
            options = dict(most_tokens=most_tokens, bar=bar)
            return {
                kind: Losses(tokens.name, *(evaluate_text(model, tokens, context_tokens, **options) for model in (dense, pruned)))
                for kind, tokens in texts.items()
            }

    def losses_before(
        self, pruned: nn.Module, context_tokens: int, say: Callable[[str], None], most_tokens: int | None = None
    ) -> dict[str, TextLoss]:
        """The losses of a pruned model before its recovery, on held-out text and on other text."""
        texts = {HELDOUT: self.heldout, OTHER: self.other}
        with Bar(self.windows_before(context_tokens, most_tokens), say, title="evaluation before the recovery", unit="window") as bar:
            return {kind: evaluate_text(pruned, tokens, context_tokens, most_tokens=most_tokens, bar=bar) for kind, tokens in texts.items()}

    def windows_before(self, context_tokens: int, most_tokens: int | None = None) -> int:
        """How many windows `losses_before` scores."""
        return sum(len(tokens.windows(context_tokens, most_tokens)) for tokens in (self.heldout, self.other))

    def _evaluated(self, context_tokens: int) -> dict[str, Tokens]:
        """The texts to score, by kind."""
        count = len(self.heldout.windows(context_tokens)) * context_tokens
        ids = self.calibration.ids[:count]
        # Bytes in proportion to tokens: where in the text these windows end is not known.
        part = replace(self.calibration, ids=ids, text_bytes=round(self.calibration.text_bytes * len(ids) / len(self.calibration)))
        return {HELDOUT: self.heldout, OTHER: self.other, CALIBRATION: part}


def _scored_words(tokens: Tokens, context_tokens: int, most_tokens: int | None) -> str:
    """`4,096 of 120,000 tokens`, or `120,000 tokens` where no limit leaves any out."""
    scored, whole = (len(tokens.windows(context_tokens, most)) * context_tokens for most in (most_tokens, None))
    return f"{len(tokens):,} tokens" if scored == whole else f"{scored:,} of {len(tokens):,} tokens"
