"""Reading: what the tokens of each concept received in one model, passage by passage, and what null spans of the same passage received.

    reading = read_attention(model, tokenized, name="SMOLLM2")
    reading.share("definiendum")            # (P, G): passages x heads

The share of a concept is that of arXiv 2410.12001, a ratio of sums over counted keys: all that the concept's tokens received / all that the
counted tokens received. Its enrichment is the share over the share under uniform attention: in a causal text, early keys are seen by more queries.
Its percentile is its rank among null spans, each by what it received over what its places receive in this head (`place`).
"""

# G heads of all layers, L layers, T tokens, P passages, N null spans and the span itself

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from torch import nn

from pydisp.legal_probe.concept_mass import ConceptMass, PassageStrip, observed
from pydisp.legal_probe.null_spans import MOST
from pydisp.legal_probe.passage_tokens import PassageTokens
from pydisp.legal_probe.place import Trend
from pydisp.legal_probe.received import BATCH_TOKENS, LayerFacts, receive
from pydisp.legal_probe.window_mass import WindowMass, read_window
from pydisp.progress import Bar, silence


@dataclass(frozen=True, eq=False)
class Reading:
    """All passages in one model.

    Args:
        model: its name. layers: those that have attention.
        passages: by concept the mass in each passage, by the passage's id, in the order of the set.
        strips: by passage.
        skipped: (passage, concept, reason) of spans that could not be measured.
    """

    model: str
    layers: tuple[LayerFacts, ...]
    passages: dict[str, dict[str, ConceptMass]]
    strips: dict[str, PassageStrip]
    skipped: tuple[tuple[str, str, str], ...] = ()

    @property
    def heads(self) -> list[tuple[int, int]]:
        """(layer, head) of each of the G heads; layers by their number in the model."""
        return [(one.layer, head) for one in self.layers for head in range(one.heads)]

    @property
    def layer_of(self) -> np.ndarray:
        """(G,) the place of each head's layer in `layers`."""
        return np.repeat(np.arange(len(self.layers)), [one.heads for one in self.layers])

    def share(self, concept: str) -> np.ndarray:
        """(P, G): the concept's share of the attention on counted keys; NaN where a head gave none to these."""
        return np.stack([self.ratios(one, *observed(one))[0] for one in self.passages[concept].values()])

    def enrichment(self, concept: str) -> np.ndarray:
        """(P, G): its share over the share under uniform attention."""
        return np.stack([self.ratios(one, *observed(one))[1] for one in self.passages[concept].values()])

    def percentile(self, concept: str) -> np.ndarray:
        """(P, G): the mean percentile of its spans among their null spans; NaN where a head gave nothing to counted keys."""
        found = [
            np.where(one.counted > 0, np.mean([span.percentile for span in one.spans], 0), np.nan)
            for one in self.passages[concept].values()
        ]
        return np.stack(found)

    def ratios(self, one: ConceptMass, mass: np.ndarray, uniform: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Share and enrichment, (..., G), of spans that received `mass` (..., G) and under uniform attention `uniform` (..., L)."""
        with np.errstate(divide="ignore", invalid="ignore"):
            share = mass / one.counted
            return share, share / (uniform / one.uniform)[..., self.layer_of]

    def by_layer(self, values: np.ndarray) -> np.ndarray:
        """(..., L): the mean over the heads of each layer of values (..., G)."""
        return np.stack([np.nanmean(values[..., self.layer_of == layer], -1) for layer in range(len(self.layers))], -1)


def read_attention(
    model: nn.Module,
    tokenized: Sequence[Sequence[PassageTokens]],
    *,
    name: str,
    groups: dict[str, tuple[str, ...]] | None = None,
    later: bool = False,
    null_most: int = MOST,
    seed: int = 0,
    padding_id: int = 0,
    batch_tokens: int = BATCH_TOKENS,
    say: Callable[[str], None] = silence,
) -> Reading:
    """Read all passages with one forward each.

    Args:
        tokenized: for each passage its windows, mostly one; none for a passage that is left out.
        groups: names for unions of concepts, which are read like concepts.
        later: without what a token's own query gave to it.
        null_most: null spans of each span. seed: of their draws; one seed draws the same for every model with one tokenizer.
    Raises: ValueError as `record_attention` does.
    """
    windows = [(passage, window, tokens) for passage, parts in enumerate(tokenized) for window, tokens in enumerate(parts)]
    found: dict[tuple[int, int], WindowMass] = {}
    trend: Trend | None = None
    layers: tuple[LayerFacts, ...] = ()
    with Bar(len(windows), say, title=f"attention of {name}", unit="passage") as bar:
        texts = [tokens.ids for _, _, tokens in windows]
        for number, received in receive(model, texts, padding_id=padding_id, batch_tokens=batch_tokens, name=name):
            passage, window, tokens = windows[number]
            layers = received.layers
            trend = trend or Trend(len(received.entropy))
            found[passage, window] = read_window(tokens, received, trend, groups or {}, later, null_most, (seed, window))
            bar(len(found))
    return ranked(name, layers, found, trend)


def ranked(name: str, layers: tuple[LayerFacts, ...], found: "dict[tuple[int, int], WindowMass]", trend: Trend) -> Reading:
    """The reading of all windows, when the trend of each head over places is known; by (passage, window), in order."""
    coefficients = trend.solved()
    passages: dict[str, dict[str, ConceptMass]] = {}
    strips, skipped = {}, []
    by_passage: dict[int, list[WindowMass]] = {}
    for (passage, _), window in sorted(found.items(), key=lambda item: item[0]):
        by_passage.setdefault(passage, []).append(window)
    for windows in by_passage.values():
        own_id = windows[0].strip.passage
        strips[own_id] = next((one.strip for one in windows if one.strip.spans), windows[0].strip)
        skipped += [(own_id, *missed) for one in windows for missed in one.missed]
        read = [one.ranked(coefficients) for one in windows]
        for concept in dict.fromkeys(concept for concepts in read for concept in concepts):
            passages.setdefault(concept, {})[own_id] = _joined([concepts[concept] for concepts in read if concept in concepts])
    return Reading(name, layers, passages, strips, tuple(skipped))


def _joined(parts: Sequence[ConceptMass]) -> ConceptMass:
    """The sums over the windows of a passage; windows without the concept, whose queries cannot see it, are not among them."""
    if len(parts) == 1:
        return parts[0]
    return ConceptMass(
        tuple(span for part in parts for span in part.spans),
        sum(part.counted for part in parts),
        sum(part.uniform for part in parts),
        np.mean([part.null_enrichment for part in parts], 0),
        np.mean([part.sink for part in parts], 0),
        np.mean([part.entropy for part in parts], 0),
    )
