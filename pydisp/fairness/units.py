"""Units: what is counted. Token ids of one tokenizer, or words, which are the same for two tokenizers.

A word is a run of tokens between two places where a word begins and a token begins too. Its loss is the sum of its tokens' losses. So all
units together stand for every byte of the text once, whatever the tokenizer. A single space in front belongs to the word, other white space
is a unit of its own.

    "Don't use 3.11!\\n\\nSee https://x.org" -> "Don't", " use", " 3.11", "!", "\\n\\n", "See", " https://x.org"
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pydisp.fairness.documents import Documents, ReadTokens

CLASSES = ("word", "word start", "fragment", "number", "punctuation", "whitespace", "special", "URL", "non-ASCII")
_WORD, _START, _FRAGMENT, _NUMBER, _PUNCTUATION, _SPACE, _SPECIAL, _URL, _OTHER = range(len(CLASSES))
_ADDRESS = re.compile(r"(?:https?://|www\.)[^\s<>\"']+")
_CJK = r"\u3040-\u30ff\u3400-\u9fff"  # Chinese and Japanese are written without spaces: each character is a word
_PIECES = re.compile(
    r" ?(?:https?://|www\.)[^\s<>\"']+"  # an address
    rf"| ?[{_CJK}]"
    rf"| ?[^\W\d{_CJK}][^\W{_CJK}]*(?:['’][^\W{_CJK}]+)*"  # a word: letters, then letters, digits, underscores; an apostrophe inside
    rf"| ?\d+(?:[.,]\d+)*[^\W{_CJK}]*"  # a number, perhaps with a unit behind it
    r"| ?[^\w\s]+"  # punctuation
    r"|\s+(?= \S)|\s+"  # white space, but for one space before a word
)


@dataclass(frozen=True, eq=False)
class Units:
    """The units of a text, in its order.

    Args:
        unit: "token" or "word".
        keys: (V,) the types: ids (int64) or texts, sorted.
        type: (U,) the place in `keys` of each unit.
        document: (U,) its document.
        bytes: (U,) the UTF-8 bytes that it stands for.
        kind: (U,) its class, a place in CLASSES.
        of_token: (T,) the unit of each token; -1 for the beginning-of-text token.
        tokens: (U,) how many tokens it has.
    """

    unit: str
    keys: np.ndarray
    type: np.ndarray
    document: np.ndarray
    bytes: np.ndarray
    kind: np.ndarray
    of_token: np.ndarray
    tokens: np.ndarray

    def __len__(self) -> int:
        return len(self.type)


def word_starts(joined: str) -> np.ndarray:
    """Sorted characters at which a word, a number, punctuation, an address or white space begins."""
    return np.fromiter((match.start() for match in _PIECES.finditer(joined)), dtype=np.int64)


def word_texts(joined: str) -> list[str]:
    """The words of a text as types: without the space in front."""
    return [piece.strip() or piece for piece in _PIECES.findall(joined)]


def token_units(documents: Documents, read: ReadTokens, special_ids: Sequence[int]) -> Units:
    """Every token but the beginning-of-text token is a unit; its type is its id.

    Args:
        special_ids: ids of the class "special".
    """
    first = int(read.tokens.has_bos)
    ids = read.tokens.ids.numpy()
    keys, types = np.unique(ids[first:], return_inverse=True)
    joined = documents.text.joined
    begins, ends = read.begins[first:], read.ends[first:]
    kinds = _token_classes(joined, begins, ends)
    kinds[np.isin(ids[first:], np.asarray(special_ids, dtype=np.int64))] = _SPECIAL
    of_token = np.concatenate([np.full(first, -1), np.arange(len(types))])
    return Units(
        "token", keys, types, documents.holding(read.last_characters[first:]), _bytes_between(joined, begins, ends), kinds, of_token,
        np.ones(len(types), dtype=np.int64),
    )  # fmt: skip


def word_units(documents: Documents, read: Sequence[ReadTokens], special_texts: Sequence[str] = ()) -> list[Units]:
    """The words of the text, for each of several tokenizers; they differ in `of_token` and `tokens` only.

    Args:
        special_texts: texts of the class "special".
    """
    joined = documents.text.joined
    cuts = word_starts(joined)
    for one in read:
        cuts = np.intersect1d(cuts, one.begins[int(one.tokens.has_bos) :][one.is_apart[int(one.tokens.has_bos) :]], assume_unique=False)
    cuts = np.union1d(cuts, [0]).astype(np.int64)
    ends = np.append(cuts[1:], len(joined))
    texts = [joined[start:end] for start, end in zip(cuts.tolist(), ends.tolist(), strict=True)]
    keys, types = sorted_types([text.strip() or text for text in texts])
    special = set(special_texts)
    by_type = np.array([_SPECIAL if key in special else _class_of(key) for key in keys.tolist()], dtype=np.int8)
    shared = ("word", keys, types, documents.holding(ends - 1), _bytes_between(joined, cuts, ends), by_type[types])
    return [Units(*shared, *_tokens_of(one, cuts)) for one in read]


def sorted_types(texts: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """The different texts, sorted (an array of objects: one of fixed width would need that of the longest), and the place of each text."""
    keys = sorted(set(texts))
    place = {key: number for number, key in enumerate(keys)}
    return np.array(keys, dtype=object), np.fromiter((place[text] for text in texts), dtype=np.int64, count=len(texts))


def _tokens_of(read: ReadTokens, cuts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The unit of each token, and how many tokens each unit has."""
    first = int(read.tokens.has_bos)
    # by its first character; an empty token (a shared character's second half) stands before `ends`, with the token in front of it
    places = np.where(read.ends > read.begins, read.begins, np.maximum(read.begins - 1, 0))
    unit = np.searchsorted(cuts, places, side="right") - 1
    unit[:first] = -1
    return unit, np.bincount(unit[first:], minlength=len(cuts))


def _bytes_between(text: str, begins: np.ndarray, ends: np.ndarray) -> np.ndarray:
    """(U,) UTF-8 bytes of text[begin:end]."""
    points = np.frombuffer(text.encode("utf-32-le"), dtype=np.uint32)
    sizes = 1 + (points >= 0x80).astype(np.int64) + (points >= 0x800) + (points >= 0x10000)
    before = np.concatenate([[0], np.cumsum(sizes)])
    return before[ends] - before[begins]


def _class_of(text: str) -> int:
    """The class of a text by itself."""
    bare = text.strip()
    if not bare:
        return _SPACE
    if _ADDRESS.match(bare):
        return _URL
    if not bare.isascii():
        return _OTHER
    if bare[0].isdigit():
        return _NUMBER
    return _WORD if any(c.isalnum() or c == "_" for c in bare) else _PUNCTUATION


def _token_classes(joined: str, begins: np.ndarray, ends: np.ndarray) -> np.ndarray:
    """(T,) the class of each token, by its text and by what stands around it."""
    of_text: dict[str, int] = {}
    kinds = np.empty(len(begins), dtype=np.int8)
    for number, (start, end) in enumerate(zip(begins.tolist(), ends.tolist(), strict=True)):
        text = joined[start:end]
        kind = of_text.get(text)
        if kind is None:
            # a token without a character is the rest of one that several tokens share, which ASCII ones never do
            kind = of_text[text] = _class_of(text) if text else _OTHER
        if kind == _WORD:
            before = joined[start - 1 : start] if text[0] == text.lstrip()[0] else ""
            goes_on, continues = _is_letter(joined[end : end + 1]) and _is_letter(text[-1]), _is_letter(before) and _is_letter(text[0])
            kind = _FRAGMENT if continues else _START if goes_on else _WORD
        kinds[number] = kind
    for match in _ADDRESS.finditer(joined):
        inside = slice(np.searchsorted(ends, match.start(), side="right"), np.searchsorted(begins, match.end()))
        kinds[inside] = _URL
    return kinds


def _is_letter(character: str) -> bool:
    return character.isalnum() or character == "_"
