"""Reading: what the tokens of each concept received in one model, passage by passage, and what null spans of the same passage received.

    reading = read_attention(model, tokenized, name="SMOLLM2")
    reading.share("definiendum")            # (P, G): passages x heads

The share of a concept is that of arXiv 2410.12001, a ratio of sums over counted keys: all that the concept's tokens received / all that the
counted tokens received. Its enrichment is the share over the share under uniform attention: in a causal text, early keys are seen by more queries.
Its percentile is its rank among null spans, each by what it received over what its places receive in this head (`place`).
"""

# G heads of all layers, L layers, T tokens, P passages, N null spans and the span itself

import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
from torch import nn

from pydisp.legal_probe.null_spans import MOST, null_spans
from pydisp.legal_probe.passage_tokens import PassageTokens, TokenSpan
from pydisp.legal_probe.place import Trend, design
from pydisp.legal_probe.received import BATCH_TOKENS, LayerFacts, Received, receive
from pydisp.legal_probe.uniform import uniform_received
from pydisp.progress import Bar, silence

_PURPOSE = 11  # of this file's random numbers, so that no other draw shares their stream


@dataclass(frozen=True, eq=False)
class SpanMass:
    """What a span of a concept received, and how it ranks among its null spans.

    Args:
        mass: (G,) received, by head. uniform: (L,) under uniform attention, by layer.
        percentile: (G,) the share of the span and its null spans that received less, for their place; half of those equal to it.
        of_nulls: (N,) the mean over heads of that percentile, for the span itself (first) and each null span.
        null_mass: (G,) mean of the null spans. null_enrichment: (G,) mean of their enrichment.
        first, stop: the span's tokens. match: how alike the null spans are, a number of `null_spans.MATCHES`.
    """

    mass: np.ndarray
    uniform: np.ndarray
    percentile: np.ndarray
    of_nulls: np.ndarray
    null_mass: np.ndarray
    null_enrichment: np.ndarray
    first: int
    stop: int
    match: int


@dataclass(frozen=True, eq=False)
class ConceptMass:
    """One concept in one passage: its spans, and over what their attention is a share.

    Args:
        counted: (G,) float64, what all counted tokens received. uniform: (L,), the same under uniform attention.
        sink, entropy: (G,) of the passage: share of all attention on its first token; mean entropy of a query, in nats.
    """

    spans: tuple[SpanMass, ...]
    counted: np.ndarray
    uniform: np.ndarray
    sink: np.ndarray
    entropy: np.ndarray


@dataclass(frozen=True, eq=False)
class PassageStrip:
    """What each token of a passage received, for pictures.

    Args:
        texts, is_excluded: of the tokens. spans: of the concepts.
        enrichment: (T,) mean over the heads of received / received under uniform attention.
    """

    passage: str
    texts: tuple[str, ...]
    is_excluded: np.ndarray
    spans: tuple[TokenSpan, ...]
    enrichment: np.ndarray


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
    _layer_of: np.ndarray = field(init=False, repr=False)

    def __post_init__(self):
        object.__setattr__(self, "_layer_of", np.repeat(np.arange(len(self.layers)), [one.heads for one in self.layers]))

    @property
    def heads(self) -> list[tuple[int, int]]:
        """(layer, head) of each of the G heads; layers by their number in the model."""
        return [(one.layer, head) for one in self.layers for head in range(one.heads)]

    @property
    def layer_of(self) -> np.ndarray:
        """(G,) the place of each head's layer in `layers`."""
        return self._layer_of

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


def observed(one: ConceptMass) -> tuple[np.ndarray, np.ndarray]:
    """(G,) what the concept's own spans received, and (L,) what they would receive under uniform attention."""
    return sum(span.mass.astype(np.float64) for span in one.spans), sum(span.uniform for span in one.spans)


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
    with Bar(len(windows), say, title=name, unit="passage") as bar:
        texts = [tokens.ids for _, _, tokens in windows]
        for number, received in receive(model, texts, padding_id=padding_id, batch_tokens=batch_tokens):
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


@dataclass(frozen=True, eq=False)
class _Span:
    """A span and its null spans before they are ranked: (N, G) float32 mass and (N, L) uniform, the span itself first."""

    mass: np.ndarray
    uniform: np.ndarray
    first: np.ndarray
    stop: np.ndarray
    match: int


@dataclass(frozen=True, eq=False)
class WindowMass:
    """One text that was read: its concepts before their spans are ranked.

    Args:
        spans: by concept. counted: (G,), of all counted tokens. uniform: (L, T) under uniform attention. counts: (T,) bool.
        missed: (concept, reason) of spans that could not be measured.
    """

    spans: dict[str, list[_Span]]
    counted: np.ndarray
    uniform: np.ndarray
    counts: np.ndarray
    heads: tuple[slice, ...]
    sink: np.ndarray
    entropy: np.ndarray
    strip: PassageStrip
    missed: tuple[tuple[str, str], ...]

    def ranked(self, coefficients: np.ndarray) -> dict[str, ConceptMass]:
        """Its concepts, every span ranked among its null spans by what it received over what its places receive."""
        from scipy.stats import rankdata

        everything = [span for spans in self.spans.values() for span in spans]
        ranks = [np.empty(span.mass.shape, dtype=np.float32) for span in everything]
        places = design(len(self.counts))
        for layer, heads in enumerate(self.heads):
            log_expected = places @ coefficients[:, heads]  # (T, H)
            expected = np.where(self.counts, self.uniform[layer], 0)[:, None] * np.exp(log_expected - log_expected.max(0))
            before = _prefix(expected.T)  # (H, T + 1)
            for span, rank in zip(everything, ranks, strict=True):
                ratio = span.mass[:, heads] / (before[:, span.stop] - before[:, span.first]).T
                rank[:, heads] = rankdata(ratio, axis=0)  # equal rows share the mean of their ranks; halves are exact in float32
        counted_uniform = np.where(self.counts, self.uniform, 0).sum(1)
        layer_of = np.repeat(np.arange(len(self.heads)), [one.stop - one.start for one in self.heads])
        placed = iter(ranks)
        concepts = {}
        for concept, spans in self.spans.items():
            read = []
            for span in spans:
                percentile = (next(placed).astype(np.float64) - 0.5) / len(span.first)
                nulls = slice(1, None) if len(span.first) > 1 else slice(0, 1)
                with np.errstate(divide="ignore", invalid="ignore"):
                    enrichment = (span.mass[nulls] / self.counted) / (span.uniform[nulls] / counted_uniform)[:, layer_of]
                read.append(
                    SpanMass(
                        span.mass[0], span.uniform[0], percentile[0], percentile.mean(1), span.mass[nulls].mean(0), enrichment.mean(0),
                        int(span.first[0]), int(span.stop[0]), span.match,
                    )
                )  # fmt: skip
            concepts[concept] = ConceptMass(tuple(read), self.counted, counted_uniform, self.sink, self.entropy)
        return concepts


def read_window(
    tokens: PassageTokens, received: Received, trend: Trend, groups, later: bool, null_most: int, seed: tuple[int, int]
) -> WindowMass:
    """The concepts of one text; adds its tokens to the trend. seed: of the draws, and the number of the window."""
    counts = ~tokens.is_excluded
    length = len(tokens.ids)
    by_window = {one.window: uniform_received(length, one.window, later=later) for one in received.layers}
    uniform = np.stack([by_window[one.window] for one in received.layers])  # (L, T)
    can_receive = counts & (uniform.min(0) > 0)
    spans, missed = _placed(tokens, can_receive, groups, later, null_most, seed)
    everything = [span for found in spans.values() for span in found]
    total = len(received.entropy)
    masses = [np.empty((len(first), total), dtype=np.float32) for first, _, _ in everything]
    counted, enrichment = np.empty(total), np.zeros(length)
    edges = np.cumsum([0, *(one.heads for one in received.layers)])
    heads = tuple(slice(int(start), int(stop)) for start, stop in zip(edges, edges[1:], strict=False))
    for layer, part in enumerate(heads):
        mass = received.mass[part].astype(np.float64)
        if later:
            mass = np.maximum(mass - received.own[part], 0)
        trend.add_(mass, uniform[layer], counts, part)
        before = _prefix(np.where(counts, mass, 0))
        counted[part] = before[:, -1]
        for (first, stop, _), into in zip(everything, masses, strict=True):
            into[:, part] = (before[:, stop] - before[:, first]).T
        enrichment += np.divide(mass, uniform[layer], out=np.zeros_like(mass), where=uniform[layer] > 0).sum(0) / total
    uniform_before = _prefix(np.where(counts, uniform, 0))
    placed = iter(
        _Span(mass, (uniform_before[:, stop] - uniform_before[:, first]).T, first, stop, match)
        for (first, stop, match), mass in zip(everything, masses, strict=True)
    )
    strip = PassageStrip(tokens.passage.id, tuple(map(tokens.text_of, range(length))), tokens.is_excluded, tokens.spans, enrichment)
    return WindowMass(
        {concept: [next(placed) for _ in found] for concept, found in spans.items()},
        counted, uniform, counts, heads, received.sink, received.entropy, strip, tuple(missed),
    )  # fmt: skip


def _placed(tokens, can_receive, groups, later, null_most, seed) -> tuple[dict[str, list[tuple]], list[tuple[str, str]]]:
    """By concept the (first, stop, match) of each span with its null spans, and (concept, reason) of spans that cannot be measured."""
    placed, missed = {}, []
    wanted = {one.concept: (one.concept,) for one in tokens.spans} | groups
    for concept, members in wanted.items():
        for span in merged([one for one in tokens.spans if one.concept in members], concept):
            inside = slice(span.first, span.stop)
            if not can_receive[inside].any():
                has_counted = later and not tokens.is_excluded[inside].all()
                missed.append((concept, "no later token sees it" if has_counted else "none of its tokens counts"))
                continue
            # One span has the same draws whatever other passages and concepts are read
            key = [_PURPOSE, *seed, zlib.crc32(tokens.passage.id.encode()), span.first, span.stop, 1]
            others = null_spans(tokens, span, can_receive, np.random.default_rng(key), null_most)
            first, stop = np.append(span.first, others.first), np.append(span.stop, others.stop)
            placed.setdefault(concept, []).append((first, stop, others.match))
    return placed, missed


def _prefix(values: np.ndarray) -> np.ndarray:
    """(R, T + 1): sums of the columns before each place."""
    return np.concatenate([np.zeros((len(values), 1)), np.cumsum(values, 1)], 1)


def merged(spans: Sequence[TokenSpan], concept: str) -> list[TokenSpan]:
    """Disjoint spans that hold the same tokens, so that none counts twice."""
    out: list[TokenSpan] = []
    for one in sorted(spans, key=lambda span: (span.first, span.stop)):
        if out and one.first < out[-1].stop:
            out[-1] = TokenSpan(concept, out[-1].first, max(out[-1].stop, one.stop))
        else:
            out.append(TokenSpan(concept, one.first, one.stop))
    return out


def _joined(parts: Sequence[ConceptMass]) -> ConceptMass:
    """The sums over the windows of a passage; windows without the concept, whose queries cannot see it, are not among them."""
    if len(parts) == 1:
        return parts[0]
    return ConceptMass(
        tuple(span for part in parts for span in part.spans),
        sum(part.counted for part in parts),
        sum(part.uniform for part in parts),
        np.mean([part.sink for part in parts], 0),
        np.mean([part.entropy for part in parts], 0),
    )
