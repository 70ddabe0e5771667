"""Token bytes: where tokens end inside a character, which of its bytes are there.

A decoder shows U+FFFD for such a character, whatever its bytes are, even where no character begins with them. The bytes are known from the
tokens' own names: of byte-level tokenizers (GPT-2), a letter for each byte; of those that spell unknown characters by bytes, "<0xC3>".
"""

import codecs
import re
from collections.abc import Sequence

_FILLED = [byte * count for byte in (b"\x80", b"\xbf") for count in (1, 2, 3)]  # the smallest and the largest that can be missing
HALF = "\ufffd"  # what a decoder writes for a character of which some bytes are missing
_BYTE = re.compile(r"<0x([0-9A-F]{2})>")
# GPT-2's letters: bytes that are visible in Latin-1 stand for themselves, the others for letters from 256 on, in their order.
_VISIBLE = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
_HIDDEN = [byte for byte in range(256) if byte not in _VISIBLE]
_LETTERS = {**{chr(byte): byte for byte in _VISIBLE}, **{chr(256 + place): byte for place, byte in enumerate(_HIDDEN)}}


def unfinished_bytes(tokenizer, tokens: Sequence[int]) -> bytes | None:
    """The bytes of the character that the tokens end in, b"" where they end with a whole one, None where no text begins like this.

    Args:
        tokens: from the beginning of a character on; tokens that are no bytes, of whatever kind of tokenizer, give None.
    """
    found = _bytes(tokenizer.convert_ids_to_tokens(list(tokens)))
    if found is None:
        return None
    decoder = codecs.getincrementaldecoder("utf-8")()
    try:
        decoder.decode(found)
    except UnicodeDecodeError:
        return None
    begun = decoder.getstate()[0]
    return begun if not begun or any(_is_character(begun + filled) for filled in _FILLED) else None


def _is_character(found: bytes) -> bool:
    try:
        return len(found.decode()) == 1
    except UnicodeDecodeError:  # half of a pair of surrogates begins like a character
        return False


def _bytes(names: Sequence[str | None]) -> bytes | None:
    if None in names:
        return None
    spelt = []
    for name in reversed(names):  # what is spelt by bytes at the end; words stand before it
        if (one := _BYTE.fullmatch(name)) is None:
            break
        spelt.insert(0, int(one[1], 16))
    if spelt:
        return bytes(spelt)
    letters = "".join(names)
    return bytes(_LETTERS[one] for one in letters) if all(one in _LETTERS for one in letters) else None
