"""A passage as the tokens of one tokenizer: its spans as runs of tokens, and which tokens do not count.

tokens = tokenize_passage(passage, tokenizer, Exclusion())
print("\\n".join(check_lines(tokens)))               # role: 3 tokens, 2 of them count: | reporting| entity|(,)|
"""

# T tokens

from dataclasses import dataclass

import numpy as np

from pydisp.given_value import short
from pydisp.legal_probe.exclusion import Exclusion, special_ids
from pydisp.legal_probe.fields import ConceptsError
from pydisp.legal_probe.passages import Passage, Span

_SPACE = "▁"  # how SentencePiece writes a space


@dataclass(frozen=True)
class TokenSpan:
    """Tokens first to stop (not included) that stand for a span of a concept."""

    concept: str
    first: int
    stop: int


@dataclass(frozen=True, eq=False)
class PassageTokens:
    """The tokens of a passage.

    Args:
        passage: it.
        ids: (T,) int64, the tokenizer's own special tokens included.
        starts, ends: (T,) int64, the characters of the text that each token stands for, the end not included. Some tokenizers count the space
            before a word to it; tokens of bytes may share a character.
        is_excluded: (T,) bool, whether a token does not count.
        spans: those of the passage, in the same order. Two may share a token, even of one concept (spans inside one token).
    """

    passage: Passage
    ids: np.ndarray
    starts: np.ndarray
    ends: np.ndarray
    is_excluded: np.ndarray
    spans: tuple[TokenSpan, ...]

    def counted(self, span: TokenSpan) -> int:
        """How many tokens of a span count."""
        return int(np.count_nonzero(~self.is_excluded[span.first : span.stop]))

    def text_of(self, number: int) -> str:
        """The characters a token stands for."""
        return self.passage.text[self.starts[number] : self.ends[number]]


def tokenize_passage(passage: Passage, tokenizer, exclusion: Exclusion) -> PassageTokens:
    """Tokenize a passage as the model reads it, with the special tokens that its tokenizer puts around a text.

    A token belongs to a span if it stands for a character of it. A token that stands for no character belongs to none.

    Args:
        tokenizer: a fast tokenizer of transformers.
    Raises: ValueError for a tokenizer without offsets; ConceptsError, naming the passage's place, if there is no token, or for a span with a
        special token in it, without a token, or of which no token counts.
    """
    if not getattr(tokenizer, "is_fast", False):
        raise ValueError(
            f"{type(tokenizer).__name__} does not tell the characters of a token; the probe needs a fast tokenizer (one with a tokenizer.json)."
        )
    encoded = tokenizer(passage.text, return_offsets_mapping=True, add_special_tokens=True, verbose=False)
    ids, offsets = encoded["input_ids"], encoded["offset_mapping"]
    if not ids:
        raise ConceptsError(f"{_place(passage)}: the tokenizer makes no token of the text; give the model's own tokenizer.")
    names, special = tokenizer.convert_ids_to_tokens(ids), special_ids(tokenizer)
    texts = [passage.text[start:end] for start, end in offsets]
    # Llama 2 and its like put a space in front of a text; where it is a token, it has the first character of the text, which is no space
    texts = ["" if not name.strip(_SPACE) and text.strip() else text for name, text in zip(names, texts, strict=True)]
    starts = np.array([start for start, _ in offsets], dtype=np.int64)
    ends = starts + np.array([len(text) for text in texts], dtype=np.int64)
    reasons = [exclusion.reason(place, text, one in special) for place, (one, text) in enumerate(zip(ids, texts, strict=True))]
    # by name, because the special token for an unknown word stands for words like any other
    is_written = np.array([one in special and name == text.strip() for one, name, text in zip(ids, names, texts, strict=True)])
    spans = []
    for span in passage.spans:
        inside = np.flatnonzero((starts < span.end) & (ends > span.start) & (ends > starts))
        _check_inside(passage, span, [names[n] for n in inside if is_written[n]], [reasons[n] for n in inside])
        spans.append(TokenSpan(span.concept, int(inside[0]), int(inside[-1]) + 1))
    is_excluded = np.array([reason is not None for reason in reasons])
    return PassageTokens(passage, np.array(ids, dtype=np.int64), starts, ends, is_excluded, tuple(spans))


def _check_inside(passage: Passage, span: Span, written: list[str], reasons: list[str | None]) -> None:
    """Refuse a span by the special tokens that are written in it, and by the reasons for which its tokens are excluded."""
    place, what = _place(passage), f"the span {short(passage.text[span.start : span.end])} of {span.concept!r}"
    if written:
        raise ConceptsError(f"{place}: {what} holds {written[0]!r}, a special token of this tokenizer; mark words without it.")
    if not reasons:
        raise ConceptsError(f"{place}: this tokenizer makes no token of {what}; mark other words or leave the passage out.")
    if None not in reasons:
        rules = ", ".join(dict.fromkeys(reasons))
        raise ConceptsError(f"{place}: no token of {what} counts (excluded: {rules}); mark a longer span or exclude less.")


def _place(passage: Passage) -> str:
    return f"{passage.place}, passage {passage.id!r}" if passage.place else f"passage {passage.id!r}"


def check_lines(tokens: PassageTokens) -> list[str]:
    """A line for each span: its concept, how many tokens it has, and what they stand for, in parentheses where a token does not count."""
    return [_line(tokens, span) for span in tokens.spans]


def _line(tokens: PassageTokens, span: TokenSpan) -> str:
    count, counted = span.stop - span.first, tokens.counted(span)
    words = f"{count} token{'s' * (count > 1)}" + (f", {counted} of them count" if counted < count else "")
    shown = [
        f"({text})" if tokens.is_excluded[n] else text
        for n, text in ((n, _on_one_line(tokens.text_of(n))) for n in range(span.first, span.stop))
    ]
    return f"{span.concept}: {words}: |{'|'.join(shown)}|"


def _on_one_line(text: str) -> str:
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
