"""Random passages with random attention, without a model: what tests of the statistics read."""

import re

import numpy as np

from pydisp.legal_probe.passage_tokens import PassageTokens, TokenSpan
from pydisp.legal_probe.passages import Passage, Span
from pydisp.legal_probe.place import Trend
from pydisp.legal_probe.reading import Reading, ranked
from pydisp.legal_probe.received import LayerFacts, Received
from pydisp.legal_probe.window_mass import read_window

WINDOW = 40


def tokens_of(length: int, spans, excluded=(0,), name: str = "p", concept: str = "c") -> PassageTokens:
    """A token a character; spans are (first, stop) or (concept, first, stop)."""
    is_excluded = np.zeros(length, dtype=bool)
    is_excluded[list(excluded)] = True
    places = np.arange(length)
    named = tuple(TokenSpan(*(span if len(span) == 3 else (concept, *span))) for span in spans)
    return PassageTokens(Passage(name, "a" * length, ()), places, places, places + 1, is_excluded, named)


def causal_weights(logits: np.ndarray, window: int | None = None) -> np.ndarray:
    """(H, T, T) softmax over the keys that each query sees."""
    query, key = np.indices(logits.shape[-2:])
    seen = (key <= query) & (key > query - (window or logits.shape[-1]))
    weights = np.exp(np.where(seen, logits - logits.max(-1, keepdims=True, where=seen, initial=-np.inf), -np.inf))
    return weights / weights.sum(-1, keepdims=True)


def random_received(generator: np.random.Generator, length: int, heads: int = 4, boost=None) -> Received:
    """Heavy-tailed attention on keys, a sink, and every second head local; half of the heads have a window.

    boost: (T,) added to the logits of the keys in head 0.
    """
    key = generator.standard_t(2.5, size=(heads, 1, length)) * 0.8
    logits = key + generator.normal(size=(heads, length, length)) * 0.5
    distance = np.arange(length)[:, None] - np.arange(length)
    logits[1::2] -= 0.3 * np.maximum(distance, 0)
    logits[:, :, 0] += 3
    if boost is not None:
        logits[0] += boost
    half = heads // 2
    weights = np.concatenate([causal_weights(logits[:half]), causal_weights(logits[half:], WINDOW)])
    layers = (LayerFacts(0, half, 1, "full", None), LayerFacts(1, heads - half, 1, "sliding window", WINDOW))
    entropy = -np.where(weights > 0, weights * np.log(np.where(weights > 0, weights, 1)), 0).sum(-1).mean(-1)
    return Received(weights.sum(1), np.diagonal(weights, axis1=1, axis2=2), entropy, layers)


def random_spans(generator: np.random.Generator, length: int, count: int) -> list[tuple[int, int]]:
    """Spans of 1 to 14 tokens at random places that do not overlap."""
    while True:
        sizes = generator.integers(1, 15, size=count)
        firsts = [int(generator.integers(1, length - size + 1)) for size in sizes]
        spans = sorted((first, first + int(size)) for first, size in zip(firsts, sizes, strict=True))
        if all(one[1] <= other[0] for one, other in zip(spans, spans[1:], strict=False)):
            return spans


def shuffled(passage: Passage, generator: np.random.Generator) -> Passage:
    """The passage with its words in random order, and its spans on as many words at the same places: no concept is left."""
    places = [match.span() for match in re.finditer(r"\S+", passage.text)]
    words = [passage.text[start:end] for start, end in places]
    words = [words[number] for number in generator.permutation(len(words))]
    starts = np.cumsum([0, *(len(word) + 1 for word in words[:-1])])
    spans = []
    for span in passage.spans:
        inside = [number for number, (start, end) in enumerate(places) if start < span.end and end > span.start]
        spans.append(Span(span.concept, int(starts[inside[0]]), int(starts[inside[-1]]) + len(words[inside[-1]])))
    return Passage(passage.id, " ".join(words), tuple(spans))


def reading_of(passages, later: bool = False, seed: int = 0, groups=None, most: int = 200) -> Reading:
    """The reading of (tokens, received) pairs."""
    return ranked("random", passages[0][1].layers, *windows_of(passages, later, seed, groups, most))


def windows_of(passages, later: bool = False, seed: int = 0, groups=None, most: int = 200):
    """What `ranked` makes a reading of: each window by its number, and the trend over places."""
    trend = Trend(len(passages[0][1].entropy))
    found = {
        (n, 0): read_window(tokens, received, trend, groups or {}, later, most, (seed, 0)) for n, (tokens, received) in enumerate(passages)
    }
    return found, trend


def random_reading(
    generator: np.random.Generator, passages: int, boost: float = 0.0, heads: int = 4, seed: int = 0, later=False
) -> Reading:
    """Spans of a concept at random places of random passages; `boost` is what head 0 adds to their logits."""
    return reading_of(random_passages(generator, passages, boost, heads), later, seed)


def random_passages(
    generator: np.random.Generator, passages: int, boost: float = 0.0, heads: int = 4
) -> list[tuple[PassageTokens, Received]]:
    """The (tokens, received) pairs of `random_reading`."""
    read = []
    for number in range(passages):
        length = int(generator.integers(50, 200))
        spans = random_spans(generator, length, int(generator.integers(1, 3)))
        excluded = {0, *np.flatnonzero(generator.random(length) < 0.12).tolist()}
        excluded -= {first for first, _ in spans}
        tokens = tokens_of(length, spans, sorted(excluded | {0}), str(number))
        of_keys = np.zeros(length)
        for first, stop in spans:
            of_keys[first:stop] = boost
        read.append((tokens, random_received(generator, length, heads, of_keys)))
    return read
