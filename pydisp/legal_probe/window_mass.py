"""Window mass: one text that was read, with its spans and null spans before they are ranked, which needs the trend over all texts."""

# G heads of all layers, H heads of one layer, L layers, T tokens, N null spans and the span itself

import zlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pydisp.legal_probe.concept_mass import ConceptMass, PassageStrip, SpanMass
from pydisp.legal_probe.null_spans import null_spans
from pydisp.legal_probe.passage_tokens import PassageTokens, TokenSpan
from pydisp.legal_probe.place import Trend, design
from pydisp.legal_probe.received import Received
from pydisp.legal_probe.uniform import uniform_received

_FEWEST_FOR_A_LINE = 12  # spans
_SHOWN_DRAWS = 200  # of null spans in place of several spans, for their mean enrichment
_PURPOSE = 11  # of this file's random numbers, so that no other draw shares their stream


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
        everything = [span for spans in self.spans.values() for span in spans]
        ranks = [np.empty(span.mass.shape, dtype=np.float32) for span in everything]
        places = design(len(self.counts))
        for layer, heads in enumerate(self.heads):
            log_expected = places @ coefficients[:, heads]  # (T, H)
            expected = np.where(self.counts, self.uniform[layer], 0)[:, None] * np.exp(log_expected - log_expected.max(0))
            before = _prefix(expected.T)  # (H, T + 1)
            for span, rank in zip(everything, ranks, strict=True):
                ratio = span.mass[:, heads] / (before[:, span.stop] - before[:, span.first]).T
                rank[:, heads] = _ranks(ratio, span)
        counted_uniform = np.where(self.counts, self.uniform, 0).sum(1)
        layer_of = np.repeat(np.arange(len(self.heads)), [one.stop - one.start for one in self.heads])
        placed = iter(ranks)
        concepts = {}
        for concept, spans in self.spans.items():
            read = []
            for span in spans:
                percentile = (next(placed).astype(np.float64) - 0.5) / len(span.first)
                read.append(
                    SpanMass(
                        span.mass[0], span.uniform[0], percentile[0], percentile.mean(1), span.mass[_nulls(span)].mean(0),
                        int(span.first[0]), int(span.stop[0]), span.match,
                    )
                )  # fmt: skip
            by_chance = self._null_enrichment(spans, counted_uniform, layer_of)
            concepts[concept] = ConceptMass(tuple(read), self.counted, counted_uniform, by_chance, self.sink, self.entropy)
        return concepts

    def _null_enrichment(self, spans: "list[_Span]", counted_uniform: np.ndarray, layer_of: np.ndarray) -> np.ndarray:
        """(G,): mean enrichment of the concept if each of its spans is one of its null spans: a ratio of sums, like that of the concept."""
        generator = np.random.default_rng([_PURPOSE, zlib.crc32(self.strip.passage.encode()), spans[0].first[0], 2])
        draws = max(len(span.first) for span in spans) - 1 if len(spans) == 1 else _SHOWN_DRAWS
        mass = uniform = 0
        for span in spans:
            rows = np.arange(len(span.first))[_nulls(span)]
            drawn = rows if len(spans) == 1 else generator.choice(rows, draws)
            mass, uniform = mass + span.mass[drawn].astype(np.float64), uniform + span.uniform[drawn]
        with np.errstate(divide="ignore", invalid="ignore"):
            return ((mass / self.counted) / (uniform / counted_uniform)[:, layer_of]).mean(0)


def _nulls(span: "_Span") -> slice:
    """The rows of the null spans; the span itself where there is none."""
    return slice(1, None) if len(span.first) > 1 else slice(0, 1)


def _ranks(ratio: np.ndarray, span: _Span) -> np.ndarray:
    """(N, H) ranks from 1 of a span and its null spans; equal ones share the mean of theirs.

    What of the ranks still follows the middle of the spans, in a straight line, is taken out: the trend is that of the mean text, and the ends of
    one text may differ.
    """
    from scipy.stats import rankdata

    ranks = rankdata(ratio, axis=0)
    if len(ranks) < _FEWEST_FOR_A_LINE:
        return ranks
    middle = (span.first + span.stop) / 2
    middle = middle - middle.mean()
    squares = float(middle @ middle)
    if squares == 0:
        return ranks
    left = ranks - np.outer(middle, middle @ ranks / squares)
    return rankdata(np.round(left, 9), axis=0)  # rounded: equal ranks stay equal


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
