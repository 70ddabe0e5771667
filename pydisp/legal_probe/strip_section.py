"""The section of a probe's report that shows a passage of each concept, its words in the colour of the attention they received."""

from typing import TYPE_CHECKING

import numpy as np

from pydisp.legal_probe.concept_mass import PassageStrip
from pydisp.legal_probe.probe_words import distinct, label
from pydisp.legal_probe.reading import Reading
from pydisp.legal_probe.token_strip import MOST_TOKENS, Token, token_strip, visible
from pydisp.legal_probe.uniform import uniform_received
from pydisp.report import Picture, Section

if TYPE_CHECKING:
    from pydisp.legal_probe.probing import Probe

_TOKENS = 80  # a passage near to so many is shown


def strip_section(probe: "Probe") -> list[Section]:
    """The section, in a list; no section if there is nothing to show."""
    chosen = {name: chosen_strip(probe.reading, name) for name in probe.figures if name not in probe.concepts.groups}
    chosen = {name: strip for name, strip in chosen.items() if strip is not None}
    if not chosen:
        return []
    titles = distinct([label(probe, name) for name in chosen])
    return [
        Section(
            "What the words received",
            [
                f"A passage of each concept as the tokens that {probe.model} reads. The colour of a token is what it received over what even "
                "attention would give it, mean over all heads, over the same figure of all counted tokens of the passage: 1 is as much as these "
                "have on the whole. Even attention gives little to the last tokens, which few others see, so what near tokens give them weighs "
                "more: percentiles take the place into account, colours do not. One passage is an example, not a finding.",
                *(_picture(probe, title, name, strip) for title, (name, strip) in zip(titles, chosen.items(), strict=True)),
            ],
        )
    ]


def chosen_strip(reading: Reading, concept: str) -> PassageStrip | None:
    """The strip of the passage whose number of tokens is nearest to 80, the first of several; None if no strip shows the concept."""
    strips = [reading.strips[passage] for passage in reading.passages[concept]]
    strips = [strip for strip in strips if any(span.concept == concept for span in strip.spans)]
    return min(strips, key=lambda strip: abs(len(strip.texts) - _TOKENS), default=None)


def relative(reading: Reading, strip: PassageStrip, *, later: bool) -> np.ndarray:
    """(T,): the enrichment of each token over that of all counted tokens together; NaN where a token does not count or nothing sees it."""
    length, heads = len(strip.texts), sum(layer.heads for layer in reading.layers)
    uniform = sum(layer.heads / heads * uniform_received(length, layer.window, later=later) for layer in reading.layers)
    counts = ~strip.is_excluded & (uniform > 0)
    received = float((strip.enrichment * uniform)[counts].sum())
    values = np.full(length, np.nan)
    if received > 0:
        values[counts] = strip.enrichment[counts] * uniform[counts].sum() / received
    return values


def _picture(probe: "Probe", title: str, concept: str, strip: PassageStrip) -> Picture:
    values = relative(probe.reading, strip, later=probe.queries == "later")
    spans = [span for span in strip.spans if span.concept == concept]
    start, stop = shown_part(len(strip.texts), spans[0].first, spans[0].stop)
    tokens = [
        Token(
            strip.texts[place],
            None if np.isnan(values[place]) else float(values[place]),
            any(span.first <= place < span.stop for span in spans),
        )
        for place in range(start, stop)
    ]
    whole = f"{len(strip.texts)} of a window" if strip.passage in probe.cut.get(probe.model, {}) else f"{len(strip.texts)}"
    part = "" if stop - start == len(strip.texts) else f", tokens {start + 1} to {stop} of {whole}"
    source = next((one.source for one in probe.concepts.passages if one.id == strip.passage), "")
    return Picture(
        title,
        f"Passage {strip.passage}{part}{f' ({visible(source)})' if source else ''}; underlined: {label(probe, concept)}."
        + (" A character that the tokenizer cuts into bytes stands once for each of them." if _has_bytes(tokens) else ""),
        token_strip(tokens, "attention received; 1: all counted tokens", is_cut=(start > 0, stop < len(strip.texts))),
    )


def shown_part(length: int, first: int, stop: int) -> tuple[int, int]:
    """At most 120 tokens around a span, its beginning if it is longer."""
    start = first if stop - first >= MOST_TOKENS else (first + stop - MOST_TOKENS) // 2
    start = max(0, min(start, length - MOST_TOKENS))
    return start, min(length, start + MOST_TOKENS)


def _has_bytes(tokens: list[Token]) -> bool:
    return any(one.text == two.text and len(one.text) == 1 and not one.text.isascii() for one, two in zip(tokens, tokens[1:], strict=False))
