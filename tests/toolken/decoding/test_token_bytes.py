"""The bytes of characters of which tokens are missing, for tokenizers that name bytes by letters and for those that name them by numbers."""

import pytest
from tiny_text import tiny_tokenizer

from pydisp.toolken.decoding.token_bytes import unfinished_bytes


class Names:
    """A tokenizer whose tokens are named by a list."""

    def __init__(self, *names):
        self.names = names

    def convert_ids_to_tokens(self, ids):
        return [self.names[one] if one < len(self.names) else None for one in ids]


@pytest.mark.parametrize("text", ["aö", "€", "😀", "\u00a0\u00ad\x7f"])
def test_every_part_of_a_character_is_known_by_a_byte_level_tokenizer(text):
    tokenizer = tiny_tokenizer()
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    whole = text.encode()
    for end in range(len(ids) + 1):
        found = unfinished_bytes(tokenizer, ids[:end])
        begun = whole[:end].decode(errors="ignore").encode()
        assert found == whole[len(begun) : end]


def test_bytes_that_begin_no_character_are_none():
    assert unfinished_bytes(Names("Ã", "¶"), [1]) is None and unfinished_bytes(Names("Ã", "¶"), [0, 0]) is None
    assert unfinished_bytes(Names("í", "ł"), [0]) == b"\xed" and unfinished_bytes(Names("í", "ł"), [0, 1]) is None  # a surrogate


def test_bytes_by_number_count_from_the_last_word_on():
    names = Names("▁caf", "<0xE2>", "<0x82>", "<0xAC>", "é")
    assert unfinished_bytes(names, [0, 1, 2]) == b"\xe2\x82" and unfinished_bytes(names, [0, 1, 2, 3]) == b""
    assert unfinished_bytes(names, [0, 2]) is None and unfinished_bytes(names, [4, 1]) == b"\xe2"


def test_words_of_other_tokenizers_and_ids_without_a_name_are_no_bytes():
    assert unfinished_bytes(Names("▁a", "日"), [0, 1]) is None and unfinished_bytes(Names("a"), [5]) is None
