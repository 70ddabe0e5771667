"""Where a space stands in front of what is put in, and how written text is decoded behind its prompt."""

import pytest
from tiny_text import tiny_tokenizer
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from pydisp.toolken.decoding.put_in import put_in, written_text


@pytest.mark.parametrize("before", ["", "a ", "a\n", "a\t", "a\u00a0", "(", "[", "{", '"', "'", "“", "„", "«", "$", "€", "£", "¥"])
def test_no_space_is_put_in(before):
    assert put_in(before, "12") == "12"


@pytest.mark.parametrize("before", ["a", "=", ":", ")", "5", ".", "%", "#", "ö", "]"])
def test_a_space_is_put_in(before):
    assert put_in(before, "12") == " 12"


def test_text_is_decoded_as_it_reads_behind_the_prompt():
    words = _with_word_marks({"▁one": 0, "▁two": 1, "▁three": 2, "</s>": 3})
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=words, eos_token="</s>")
    assert tokenizer.decode([1]) == "two"  # this tokenizer takes the first space away
    assert written_text(tokenizer, [0, 1, 2, 3], 1) == " two three"
    assert written_text(tokenizer, [0, 1], 0) == "one two"
    assert written_text(tokenizer, [0], 1) == ""


def test_half_a_character_at_the_end_of_the_prompt_is_no_trouble():
    tokenizer = tiny_tokenizer()
    ids = tokenizer("aö b")["input_ids"]
    assert written_text(tokenizer, ids, 2) == "\ufffd b"


def _with_word_marks(table):
    tokenizer = Tokenizer(models.WordLevel(table, unk_token="▁one"))
    tokenizer.pre_tokenizer, tokenizer.decoder = pre_tokenizers.Metaspace(), decoders.Metaspace()
    return tokenizer
