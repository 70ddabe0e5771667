"""Results: exact numbers, one line, and never a special token, whatever the tokenizer."""

import datetime
import os
import string
import time
from decimal import Decimal, localcontext
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_text import tiny_tokenizer
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from pydisp.toolken.tools.limits import LimitError, Limits
from pydisp.toolken.tools.results import ResultError, TooLargeError, escaped, result_text, visible

D = Decimal


@pytest.mark.parametrize(
    "value, text",
    [(7, "7"), (-0, "0"), (10**100, "1" + "0" * 100), (True, "true"), (D("0.30"), "0.3"), (D("18.45"), "18.45"), (D("5.00"), "5"), (D("-0.0"), "0"),
     (D(1) / D(3), "0.333333333333"), (D(2) / D(3), "0.666666666667"), (D("123456789012.25"), "123456789012.25"), (D("1e20"), "1" + "0" * 20),
     (D("0.0000000001"), "0.0000000001"), (D("1.5e-11"), "1.5e-11"), (D("-1.2345678901234e-20"), "-1.2345678901234e-20"), (D("99999999999.95"), "99999999999.95"),
     (0.1 + 0.2, "0.3"), (2.0, "2"), (1e22, "1" + "0" * 22), (0.1, "0.1"), (Fraction(1, 8), "0.125"), (Fraction(4, 2), "2"), (np.int64(5), "5"),
     (np.float64(0.25), "0.25"), ("a\n b\t\u2028c ", "a b c"), ([1, D("0.50"), "x"], "1, 0.5, x"), ((1, [2, 3]), "1, [2, 3]"), ({"a": 1, "b": [2]}, "a: 1, b: [2]"),
     (datetime.date(2024, 2, 29), "2024-02-29"), ("\x1b[31mred\u202e\u200b\x00", "\\u001b[31mred\\u202e\\u200b\\u0000"), ("日本語 é😀", "日本語 é😀")],
)  # fmt: skip
def test_texts_of_values_written_out(value, text):
    assert result_text(value) == text


@pytest.mark.parametrize(
    "value, text",
    [(D("1234567890123.46"), "1234567890123.46"), (D("4999999999999.5"), "4999999999999.5"), (D("123456789012.6"), "123456789012.6"),
     (D("0.123456789012345678901234567"), "0.123456789012345678901234567"), (D("0.1234567890123456789012345678"), "0.123456789012"),
     (D("0." + "9" * 28), "0." + "9" * 28), (D("7." + "0" * 30 + "12"), "7." + "0" * 30 + "1"), (D("-" + "9" * 30 + "." + "9" * 30), "-" + "9" * 30 + "." + "9" * 30),
     (D("1" + "0" * 50 + "." + "0" * 49 + "1"), "1" + "0" * 50 + "." + "0" * 49 + "1"), (D("3" * 40 + "." + "3" * 28), "3" * 40 + ".33"),
     (D("1.5000000000000000000000000000"), "1.5"), (Fraction(10**40, 3), "3" * 40 + ".33"), (Fraction(-(10**20), 7), "-14285714285714285714.29"), (Fraction(1, 3), "0.333333333333"),
     (123456789012.6, "123456789012.6"), (2251799813685249.5, "2251799813685249.5"), (1234567890.1000001, "1234567890.1"), (3 * 1.1, "3.3"), (1.0000000000000002, "1"),
     (1e-7 / 3, "0.0000000333333333333")],
)  # fmt: skip
def test_digits_in_front_of_the_point_are_kept_and_no_decimal_is_shown_as_whole(value, text):
    assert result_text(value) == text


@given(st.decimals(allow_nan=False, allow_infinity=False, min_value=D("-1e40"), max_value=D("1e40"), places=30))
def test_a_shortened_number_is_whole_only_if_it_is(value):
    with localcontext(prec=200):
        text = D(result_text(value))
        assert (text == text.to_integral_value()) == (value == value.to_integral_value())
        assert abs(text - value) <= D("0.005") and abs(text - value) <= abs(value) * D("1e-11")


def test_a_whole_number_at_the_limit_is_shown():
    assert result_text(10**1000 - 1) == "9" * 1000
    with pytest.raises(TooLargeError):
        result_text(-(10**1000) + 1)
    with pytest.raises(TooLargeError):
        result_text(Fraction(10**1001, 3))


@given(st.integers(-(10**30), 10**30))
def test_whole_numbers_are_exact_in_every_type(value):
    assert result_text(value) == result_text(D(value)) == str(value)


@given(st.decimals(D("-1e9"), D("1e9"), allow_nan=False))
def test_other_numbers_are_right_to_twelve_digits(value):
    text = result_text(value)
    assert abs(D(text) - value) <= abs(value) * D("1e-11") and not (text.endswith("0") and "." in text and "e" not in text)


@pytest.mark.parametrize(
    "value", [None, object(), b"x", {1, 2}, 1j, float("nan"), float("inf"), D("NaN"), D("-Infinity"), "", " \n", [], {}, [None]]
)
def test_values_without_a_text_are_refused(value):
    with pytest.raises(ResultError):
        result_text(value)


@pytest.mark.parametrize(
    "value",
    [10**1000, D("1e999999"), 10**100_000, "x" * 1001, "\x00" * 200, [[[[[1]]]]], list(range(1001)), ["x" * 600] * 2],
    ids=lambda value: type(value).__name__,
)
def test_values_over_the_limit_are_refused_and_not_cut(value):
    start = time.process_time()
    with pytest.raises(TooLargeError):
        result_text(value)
    assert time.process_time() - start < 1, "a number is measured before its digits are written"
    assert issubclass(TooLargeError, LimitError)


def test_a_text_at_the_limit_is_whole():
    assert result_text("x" * 20, Limits(result_length=20)) == "x" * 20
    assert result_text(10**19, Limits(result_length=20)) == "1" + "0" * 19


SAMPLES = [
    "12.5 apples",
    "héllo 日本",
    "Question: What?\nAnswer: <|im_end|>",
    "<s>[INST]</s><unk><pad>",
    "a<0x0A>b <0xC2><0x85>",
    "[UNK] [MASK] [CLS]",
]


def trained(
    model, trainer, pre_tokenizer, decoder, special: list[str], normalizer=None, added: list[AddedToken] = ()
) -> PreTrainedTokenizerFast:
    tokenizer = Tokenizer(model)
    tokenizer.pre_tokenizer, tokenizer.decoder = pre_tokenizer, decoder
    if normalizer is not None:
        tokenizer.normalizer = normalizer
    tokenizer.train_from_iterator([*SAMPLES, "the cat sat on the mat 0123456789 " * 3, *string.printable[:94]], trainer)
    tokenizer.add_tokens(list(added))
    tokenizer.add_special_tokens(special)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token=special[0], eos_token=special[1], unk_token=special[2])


def word_piece():
    special = ["[CLS]", "[SEP]", "[UNK]"]
    return trained(
        models.WordPiece(unk_token="[UNK]"), trainers.WordPieceTrainer(vocab_size=120, special_tokens=special), pre_tokenizers.BertPreTokenizer(),
        decoders.WordPiece(), special, normalizers.BertNormalizer(),
    )  # fmt: skip


def unigram():
    """As SentencePiece makes it: the bytes are ordinary entries of the vocabulary, which a text can spell."""
    special = ["<s>", "</s>", "<unk>"]
    bytes_ = [(f"<0x{n:02X}>", -1.0) for n in range(256)]
    letters = [(one, -9.0) for one in "\u2581" + string.printable[:94]]
    tokenizer = Tokenizer(models.Unigram([*((one, 0.0) for one in special), *bytes_, *letters], unk_id=2, byte_fallback=True))
    tokenizer.pre_tokenizer, tokenizer.normalizer = pre_tokenizers.Metaspace(), normalizers.NFKC()
    tokenizer.decoder = decoders.Sequence([decoders.ByteFallback(), decoders.Fuse(), decoders.Metaspace()])
    tokenizer.add_special_tokens(special)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token=special[0], eos_token=special[1], unk_token=special[2])


def byte_level():
    special = ["<|im_start|>", "<|im_end|>", "<|endoftext|>"]
    added = [
        AddedToken("  ", normalized=False),
        AddedToken("<b>", normalized=True),
        AddedToken("é", normalized=False),
        AddedToken("cat", single_word=True),
    ]
    return trained(
        models.BPE(), trainers.BpeTrainer(vocab_size=350, initial_alphabet=pre_tokenizers.ByteLevel.alphabet()), pre_tokenizers.ByteLevel(add_prefix_space=False),
        decoders.ByteLevel(), special, normalizers.NFKC(), added,
    )  # fmt: skip


TOKENIZERS = {"tiny": tiny_tokenizer, "word piece": word_piece, "unigram": unigram, "byte level": byte_level}
if folder := os.environ.get("PYDISP_TEST_TOKENIZER"):  # one of a real model
    TOKENIZERS["real"] = lambda: AutoTokenizer.from_pretrained(folder)
MADE = {name: make() for name, make in TOKENIZERS.items()}


def faults(text: str, tokenizer) -> list[str]:
    """Tokens of the text that are special or added, or stand for a control character."""
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    reserved = {*tokenizer.all_special_ids, *tokenizer.added_tokens_decoder}
    found = [tokenizer.convert_ids_to_tokens(one) for one in ids if one in reserved]
    return found + [one for one in tokenizer.decode(ids) if one != " " and visible(one) != one and one != "\ufffd"]


hostile = st.sampled_from(
    ["<|im_end|>", "<|endoftext|>", "<|im_start|>", "</s>", "<s>", "<unk>", "[UNK]", "[CLS]", "＜|im_end|＞", "<|im_", "end|>", "<0x0A>", "<0x", "0A>", "<b>",
     "é", "cat", "  ", " ", "\n", "\x00", "\u200b", "\u202e", "<", "|", ">", "\\", "😀", "日", "12.5", "\ue000", "\ufffe", "[MASK]", "x"]
)  # fmt: skip
hostile_texts = st.lists(hostile | st.characters(exclude_categories=["Cs"]), max_size=8).map("".join)


@pytest.mark.parametrize("name", MADE)
@settings(deadline=None, max_examples=60)
@given(text=hostile_texts)
def test_no_token_of_an_escaped_text_is_reserved(name, text):
    safe = escaped(text, MADE[name])
    assert not faults(safe, MADE[name]), (text, safe)
    assert escaped(safe, MADE[name]) == safe


@pytest.mark.parametrize("name", [name for name in MADE if name not in ("word piece", "unigram")])
@settings(deadline=None, max_examples=60)
@given(text=hostile_texts)
def test_what_is_read_back_is_what_was_escaped(name, text):
    safe = escaped(text, MADE[name])
    decoded = MADE[name].decode(MADE[name](safe, add_special_tokens=False)["input_ids"], clean_up_tokenization_spaces=False)
    assert decoded == (safe if name != "byte level" else normalizers.NFKC().normalize_str(safe))


@pytest.mark.parametrize("name", MADE)
def test_ordinary_results_stay_as_they_are(name):
    for text in ("84", " 12.5", "18.45 and 7", "-3, [2, 1]", "2024-02-29"):
        assert escaped(text, MADE[name]) == text


def test_escapes_written_out():
    assert escaped("a<|im_end|>b", MADE["byte level"]) == "a<\\|im_end|>b"
    assert escaped("a<|endoftext|>b", MADE["tiny"]) == "a<\\|endoftext|>b"
    assert escaped("é", MADE["byte level"]) == "\\u00e9", "one character cannot be broken"
    assert escaped("<0x0A>", MADE["unigram"]) != "<0x0A>"
    assert escaped("a\nb\u202e", MADE["tiny"]) == "a\\u000ab\\u202e"
    assert faults("a<|im_end|>b", MADE["byte level"]) == ["<|im_end|>"], "what the test looks for is there without escaping"
    assert "\n" in faults("<0x0A>", MADE["unigram"])


def test_a_tokenizer_without_offsets_is_refused():
    class Slow:
        is_fast = False

    with pytest.raises(ValueError, match="fast tokenizer"):
        escaped("x", Slow())
