"""FrequencyProbe: the loss by frequency of a held-out text, measured again and again while a model is trained.

    probe = FrequencyProbe(tokenizer, ["heldout.txt"], counts_text=["train.txt"])
    probe(model)        # {"loss": 4.1, "balanced_loss": 6.3, "loss_head": 2.2, ..., "loss_count_9_to_26": 7.0}

For transformers' Trainer there is `pydisp.fairness.callback`.
"""

import os
from collections.abc import Sequence

import numpy as np
from torch import nn

from pydisp.arguments import PATH, SOURCES, TOKENIZER, Kind, optional, takes, whole
from pydisp.evaluation import SIZES, check_context, check_most
from pydisp.fairness.counts import Counts
from pydisp.fairness.documents import read_tokens
from pydisp.fairness.frequency import bin_limits
from pydisp.fairness.frequency_loss import by_frequency, scored
from pydisp.fairness.token_stats import TokenStats
from pydisp.text import read_text

COUNTS = Kind("give a file of counts by id, or Counts", lambda value: isinstance(value, Counts) or PATH.is_right(value))


class FrequencyProbe:
    """Scores the same windows of a text at each call.

    Args:
        tokenizer: a fast tokenizer, the model's own.
        text: held-out text, as `pydisp.text.read_text` takes it.
        counts: a file of counts by id of the training text, or `Counts`; counts_text: the training text itself, which is then counted.
            Without both, the held-out text is counted, which is biased.
        context_tokens: tokens a window. most_tokens: at most so many are scored, evenly over the text.
        batch_size: windows a forward.
    A model whose loss is not finite gives NaN, for a training to go on.
    Raises: as `pydisp.fairness.audit`; at the first call for a context longer than the model's, or another vocabulary.
    """

    @takes(
        tokenizer=TOKENIZER, text=SOURCES, counts=optional(COUNTS), counts_text=optional(SOURCES), context_tokens=whole(2), most_tokens=whole(2),
        batch_size=SIZES["batch_size"],
    )  # fmt: skip
    def __init__(
        self,
        tokenizer,
        text: Sequence[str] | str,
        *,
        counts: str | os.PathLike | Counts | None = None,
        counts_text: Sequence[str] | str | None = None,
        context_tokens: int = 128,
        most_tokens: int = 8192,
        batch_size: int | None = None,
    ):
        if counts is not None and counts_text is not None:
            raise ValueError("counts and a text to count exclude each other; give one of them.")
        check_most(most_tokens, context_tokens)
        source = read_text(text)
        self.windows = read_tokens(source, tokenizer).tokens.windows(context_tokens, most_tokens)
        self.batch_size = batch_size
        if isinstance(counts, Counts):
            if counts.unit != "token":
                raise ValueError(f"{counts.source} has counts by word, a probe is by id; give counts by id.")
            self.counts = counts
        elif counts is not None:
            self.counts = Counts.read(counts, "token")
        elif counts_text is not None:
            self.counts = Counts.of_text(read_text(counts_text), "token", tokenizer)
        else:
            self.counts = Counts.of_text(source, "token", tokenizer, is_biased=True)
        keys = np.unique(self.windows[:, 1:].numpy())
        vocabulary = max(tokenizer.get_vocab().values()) + 1
        self.counts.check(keys, vocabulary)
        self._counts = self.counts.of(np.arange(vocabulary))

    def stats(self, model: nn.Module) -> TokenStats:
        """The sums by id of the model as it is now; its modes and torch's random state stay as they are."""
        check_context(self.windows.shape[1], model.config)
        rows = model.get_input_embeddings().weight.shape[0]
        if int(self.windows.max()) >= rows:
            raise ValueError(
                f"the text has token id {int(self.windows.max())}, the model has {rows}; give the probe the model's own tokenizer."
            )
        return scored(model, self.windows, batch_size=self.batch_size)

    def __call__(self, model: nn.Module) -> dict[str, float]:
        """Nats a token: of all, balanced over types, of head, torso and tail, and of each bin of the count that the text has."""
        found = by_frequency(self.stats(model), self._counts)
        values = {"loss": found["average_nats"], "balanced_loss": found["balanced_nats"]}
        values |= {f"loss_{name}": part["average_nats"] for name, part in found["parts"].items()}
        for number, figures in found["bins"].items():
            low, high = bin_limits(int(number))
            values[f"loss_count_{low}_to_{high}"] = figures["average_nats"]
        return values
