"""Units cut a text into words or tokens: every byte once, each in its document, whatever the tokenizer."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_text import tiny_tokenizer
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

from pydisp.fairness.documents import Documents, read_tokens
from pydisp.fairness.units import CLASSES, token_units, word_starts, word_texts, word_units
from pydisp.loading import load_tokenizer
from pydisp.text import Text

SAMPLE = "Don't use 3.11!\n\nSee https://x.org/a?b=1, naïve_name\t日本語  twice (twice)…"


def byte_level(trims: bool):
    """A BPE of a few merges; with `trims` its offsets leave out the space in front, as those of GPT-2 do."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.post_processor = processors.ByteLevel(trim_offsets=trims)
    trainer = trainers.BpeTrainer(vocab_size=330, initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()), show_progress=False)
    tokenizer.train_from_iterator([SAMPLE * 20, "the quick brown fox and the lazy dog " * 30], trainer)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token=None)


def sentencepiece_like():
    """Spaces become a letter, unknown characters bytes, as in Llama 2."""
    words = ["▁", "▁the", "t", "h", "e", "q", "u", "i", "c", "k", "▁use", "Don", "'", "s", "\n", *"abdfgjlmnoprvwxyz.,!?()0123456789"]
    vocabulary = {"<unk>": 0, "<s>": 1, "</s>": 2, **{f"<0x{n:02X}>": n + 3 for n in range(256)}}
    for word in words:
        vocabulary.setdefault(word, len(vocabulary))
    tokenizer = Tokenizer(models.BPE(vocabulary, [], unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    tokenizer.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>", unk_token="<unk>")


TOKENIZERS = {
    "bytes": tiny_tokenizer, "demo": lambda: load_tokenizer("demo"), "trimmed": lambda: byte_level(True),
    "untrimmed": lambda: byte_level(False), "sentencepiece": sentencepiece_like,
}  # fmt: skip
_MADE = {}


def tokenizer_of(name):
    return _MADE.setdefault(name, TOKENIZERS[name]())


def read(texts, name):
    text = Text("text", tuple(texts))
    tokens = read_tokens(text, tokenizer_of(name))
    return text, tokens, Documents.of(text, tokens, word_starts(text.joined))


def test_words_of_a_text():
    found = word_texts(SAMPLE)
    assert found == [
        "Don't", "use", "3.11", "!", "\n\n", "See", "https://x.org/a?b=1,", "naïve_name", "\t", "日", "本", "語", " ", "twice", "(", "twice", ")…",
    ]  # fmt: skip


_texts = st.lists(
    st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\0"), min_size=1).filter(str.strip), min_size=1, max_size=4
)


@pytest.mark.parametrize("name", TOKENIZERS)
@settings(max_examples=120, deadline=None, derandomize=True)
@given(texts=_texts)
def test_bytes_of_all_units_are_those_of_the_text(name, texts):
    text, tokens, documents = read(texts, name)
    ids = tokens.tokens.ids.tolist()
    assert ids[int(tokens.tokens.has_bos) :] == tokenizer_of(name)(text.joined, add_special_tokens=False)["input_ids"]
    for units in (token_units(documents, tokens, []), word_units(documents, [tokens])[0]):
        assert units.bytes.sum() == text.bytes and (units.bytes >= 0).all()
        assert units.tokens.sum() == len(ids) - tokens.tokens.has_bos
        assert (np.bincount(units.of_token[units.of_token >= 0], minlength=len(units)) == units.tokens).all()
        assert (np.diff(units.of_token) >= 0).all() and (units.tokens > 0).all()
        assert (np.diff(units.document) >= 0).all() and units.document.max() < len(documents)


@settings(max_examples=80, deadline=None, derandomize=True)
@given(texts=_texts, pair=st.sampled_from([("demo", "sentencepiece"), ("trimmed", "bytes"), ("untrimmed", "sentencepiece")]))
def test_two_tokenizers_have_the_same_words(texts, pair):
    text, tokens, documents = read(texts, pair[0])
    other = read(texts, pair[1])[1]
    one, two = word_units(documents, [tokens, other])
    assert one.keys is two.keys and np.array_equal(one.type, two.type) and np.array_equal(one.bytes, two.bytes)
    assert (one.tokens > 0).all() and (two.tokens > 0).all() and one.bytes.sum() == text.bytes
    # each word's bytes are those of its tokens, in both
    for units, its in ((one, tokens), (two, other)):
        sizes = token_units(documents, its, []).bytes
        first = int(its.tokens.has_bos)
        assert np.array_equal(np.bincount(units.of_token[first:], weights=sizes, minlength=len(units)), units.bytes)


def test_classes_of_tokens_and_words():
    text, tokens, documents = read(["The walker's 42 https://x.org/abc naïve,  end<|endoftext|>"], "demo")
    units = token_units(documents, tokens, tokenizer_of("demo").all_special_ids)
    found = {}
    for place, (begin, end) in enumerate(zip(tokens.begins[tokens.tokens.has_bos :], tokens.ends[tokens.tokens.has_bos :], strict=True)):
        found.setdefault(text.joined[begin:end].strip(), CLASSES[units.kind[place]])
    assert found["The"] == "word" and found["42" if "42" in found else "4"] == "number" and found[","] == "punctuation"
    assert found["<|endoftext|>"] == "special"
    assert {CLASSES[k] for k in units.kind} >= {"word start", "fragment", "URL"}
    words = word_units(documents, [tokens], tokenizer_of("demo").all_special_tokens)[0]
    kinds = {words.keys[t]: CLASSES[k] for t, k in zip(words.type, words.kind, strict=True)}
    assert kinds["walker's"] == "word" and kinds["naïve"] == "non-ASCII" and kinds["https://x.org/abc"] == "URL" and kinds["42"] == "number"


def test_documents_are_found_again_and_a_long_text_is_cut_into_blocks():
    texts = [f"Document {n} says {'word ' * (n % 7 + 1)}end." for n in range(60)]
    text, tokens, documents = read(texts, "demo")
    assert len(documents) == 60 and not documents.are_blocks
    units = word_units(documents, [tokens])[0]
    for number, content in enumerate(texts):
        inside = units.document == number
        assert units.bytes[inside].sum() == len(content) + (2 if number < 59 else 0)
    assert documents.excerpt(3).startswith("Document 3 says word")
    long = "some words of a long story. " * 3000
    text, tokens, documents = read([long], "demo")
    sizes = np.diff([*documents.starts, len(text.joined)])
    assert documents.are_blocks and len(documents) == -(-len(tokens.tokens) // 1024) and sizes.max() < 2 * np.median(sizes)
    assert all(start in set(word_starts(text.joined).tolist()) for start in documents.starts.tolist())
    assert not read(["short"], "demo")[2].are_blocks


def test_a_tokenizer_without_offsets_is_refused():
    class Slow:
        is_fast = False

    with pytest.raises(ValueError, match="Slow does not tell the characters of a token"):
        read_tokens(Text("text", ("a",)), Slow())
