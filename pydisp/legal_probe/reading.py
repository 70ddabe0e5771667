"""Reading: what the tokens of each concept received in one model, passage by passage, and what null spans of the same passage received.

    reading = read_attention(model, tokenized, name="SMOLLM2")
    reading.share("definiendum")            # (P, G): passages x heads

The share of a concept is that of arXiv 2410.12001, a ratio of sums over counted keys: all that the concept's tokens received / all that the
counted tokens received. Its enrichment is the share over the share under uniform attention, which takes the place of the tokens into account:
in a causal text, early keys are seen by more queries.
"""

# G heads of all layers, L layers, T tokens, P passages, N null spans and the span itself

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
from torch import nn

from pydisp.legal_probe.null_spans import MOST, null_spans
from pydisp.legal_probe.passage_tokens import PassageTokens, TokenSpan
from pydisp.legal_probe.received import BATCH_TOKENS, LayerFacts, receive
from pydisp.legal_probe.uniform import uniform_received
from pydisp.progress import Bar, silence


@dataclass(frozen=True, eq=False)
class SpanMass:
    """What a span of a concept received, and its null spans.

    Args:
        mass: (N, G) float32, by head; row 0 is the span itself. uniform: (N, L) float64, under uniform attention, by layer.
        first, stop: (N,) the tokens. match: how alike the null spans are, a number of `null_spans.MATCHES`.
        window: number of the window that it is in, for a passage that is cut into windows.
    """

    mass: np.ndarray
    uniform: np.ndarray
    first: np.ndarray
    stop: np.ndarray
    match: int
    window: int


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
    return sum(span.mass[0].astype(np.float64) for span in one.spans), sum(span.uniform[0] for span in one.spans)


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
        tokenized: for each passage its windows, mostly one.
        groups: names for unions of concepts, which are read like concepts.
        later: without what a token's own query gave to it.
        null_most: null spans of each span. seed: of their draws; one seed draws the same for every model with one tokenizer.
    Raises: ValueError as `record_attention` does.
    """
    windows = [(passage, window, tokens) for passage, parts in enumerate(tokenized) for window, tokens in enumerate(parts)]
    found: dict[tuple[int, int], tuple] = {}
    layers: tuple[LayerFacts, ...] = ()
    texts = [tokens.ids for _, _, tokens in windows]
    with Bar(len(windows), say, title=name, unit="passage") as bar:
        for number, received in receive(model, texts, padding_id=padding_id, batch_tokens=batch_tokens):
            passage, window, tokens = windows[number]
            layers = received.layers
            found[passage, window] = read_window(
                tokens, received, groups or {}, later, null_most, np.random.default_rng([seed, passage, window])
            )
            bar(len(found))
    passages: dict[str, dict[str, ConceptMass]] = {}
    strips, skipped = {}, []
    for passage, parts in enumerate(tokenized):
        read = [found[passage, window] for window in range(len(parts))]
        own_id = parts[0].passage.id
        strips[own_id] = next((strip for _, strip, _ in read if strip.spans), read[0][1])
        skipped += [(own_id, *one) for _, _, missed in read for one in missed]
        for concept in dict.fromkeys(concept for concepts, _, _ in read for concept in concepts):
            having = [concepts[concept] for concepts, _, _ in read if concept in concepts]
            passages.setdefault(concept, {})[own_id] = _joined(having)
    return Reading(name, layers, passages, strips, tuple(skipped))


def read_window(tokens: PassageTokens, received, groups, later, null_most, generator) -> tuple[dict[str, ConceptMass], PassageStrip, list]:
    """The concepts of one window, its strip, and the spans that could not be measured with the reason."""
    counts = ~tokens.is_excluded
    length = len(tokens.ids)
    by_window = {one.window: uniform_received(length, one.window, later=later) for one in received.layers}
    uniform = np.stack([by_window[one.window] for one in received.layers])  # (L, T)
    mass = received.mass - received.own if later else received.mass
    can_receive = counts & (uniform.min(0) > 0)
    mass_before, uniform_before = (_prefix(np.where(counts, values, 0)) for values in (mass, uniform))
    concepts, missed = {}, []
    wanted = {one.concept: (one.concept,) for one in tokens.spans} | groups
    for concept, members in wanted.items():
        spans = merged([one for one in tokens.spans if one.concept in members], concept)
        usable = [one for one in spans if can_receive[one.first : one.stop].any()]
        if len(usable) < len(spans):
            missed.append((concept, "no later token sees it" if later else "none of its tokens counts"))
        if not usable:
            continue
        read = []
        for span in usable:
            others = null_spans(tokens, span, can_receive, generator, null_most)
            first, stop = np.concatenate([[span.first], others.first]), np.concatenate([[span.stop], others.stop])
            of_spans = (mass_before[:, stop] - mass_before[:, first]).T.astype(np.float32)
            read.append(SpanMass(of_spans, (uniform_before[:, stop] - uniform_before[:, first]).T, first, stop, others.match, 0))
        concepts[concept] = ConceptMass(tuple(read), mass_before[:, -1], uniform_before[:, -1], received.sink, received.entropy)
    heads = np.repeat(np.arange(len(received.layers)), [one.heads for one in received.layers])
    ratio = np.divide(mass, uniform[heads], out=np.zeros_like(mass), where=uniform[heads] > 0)
    strip = PassageStrip(
        tokens.passage.id, tuple(map(tokens.text_of, range(length))), tokens.is_excluded, tokens.spans, np.nanmean(ratio, 0)
    )
    return concepts, strip, missed


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
    spans = tuple(
        SpanMass(span.mass, span.uniform, span.first, span.stop, span.match, window)
        for window, part in enumerate(parts)
        for span in part.spans
    )
    return ConceptMass(
        spans,
        sum(part.counted for part in parts),
        sum(part.uniform for part in parts),
        np.mean([part.sink for part in parts], 0),
        np.mean([part.entropy for part in parts], 0),
    )
