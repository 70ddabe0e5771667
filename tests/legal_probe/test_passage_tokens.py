"""Spans of characters become runs of tokens, whatever the tokenizer; what cannot be measured is refused with its place."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_text import tiny_tokenizer
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

from pydisp.legal_probe.exclusion import Exclusion
from pydisp.legal_probe.passage_tokens import TokenSpan, check_lines, tokenize_passage
from pydisp.legal_probe.passages import ConceptsError, concept_set
from pydisp.loading import load_tokenizer

TEXT = "Die Bank, die naïve 日本 Bank (§ 3) zahlt.\n\n die Strafe"
NOTHING = Exclusion(())


def words(pattern="\\w+|[^\\w\\s]", **options):
    """A token a word, spaces in none; unknown words are <unk>."""
    vocabulary = {"<unk>": 0, **{word: n + 1 for n, word in enumerate(["the", "bank", "keeps", "a", "record", ",", "<", ">", "unk"])}}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(pattern), "removed", invert=True)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="<unk>", **options)


def byte_level(trims: bool):
    """A BPE of a few merges; with `trims` its offsets leave out the space in front, as those of GPT-2 do."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.post_processor = processors.ByteLevel(trim_offsets=trims)
    trainer = trainers.BpeTrainer(vocab_size=320, initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()), show_progress=False)
    tokenizer.train_from_iterator([TEXT.replace("日本", "") * 20], trainer)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token=None)


def sentencepiece_like():
    """Spaces become a letter, unknown characters bytes, and <s> stands in front, as in Llama 2."""
    vocabulary = {"<unk>": 0, "<s>": 1, "</s>": 2, **{f"<0x{n:02X}>": n + 3 for n in range(256)}}
    for word in ["▁", "▁d", "▁B", *"DieBank,dvïst.()3zhlSrfaue"]:
        vocabulary.setdefault(word, len(vocabulary))
    tokenizer = Tokenizer(models.BPE(vocabulary, [("▁", "d"), ("▁", "B")], unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    tokenizer.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
    tokenizer.post_processor = processors.TemplateProcessing("<s> $A", None, [("<s>", 1)])
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>", unk_token="<unk>")


TOKENIZERS = {
    "bytes": tiny_tokenizer, "demo": lambda: load_tokenizer("demo"), "trimmed": lambda: byte_level(True),
    "untrimmed": lambda: byte_level(False), "sentencepiece": sentencepiece_like, "words": words,
}  # fmt: skip
_MADE = {}


def tokenizer_of(name):
    return _MADE.setdefault(name, TOKENIZERS[name]())


def passage_of(text, *spans):
    """A passage with spans of the concepts c0, c1, …, each a phrase or (start, end)."""
    given = [
        {"concept": f"c{n}", **({"phrase": span, "occurrence": 1} if isinstance(span, str) else {"start": span[0], "end": span[1]})}
        for n, span in enumerate(spans)
    ]
    return concept_set([{"id": "p", "text": text, "spans": given}]).passages[0]


def tokens_of(text, *spans, tokenizer="bytes", exclusion=NOTHING):
    return tokenize_passage(passage_of(text, *spans), tokenizer_of(tokenizer) if isinstance(tokenizer, str) else tokenizer, exclusion)


@pytest.mark.parametrize("name", TOKENIZERS)
@settings(max_examples=60, deadline=None, derandomize=True)
@given(data=st.data())
def test_a_span_has_the_tokens_of_its_characters(name, data):
    start = data.draw(st.integers(0, len(TEXT) - 1))
    end = data.draw(st.integers(start + 1, len(TEXT)))
    if not TEXT[start:end].strip():
        return
    tokens = tokens_of(TEXT, (start, end), tokenizer=name)
    (span,), (characters,) = tokens.spans, tokens.passage.spans
    inside = range(span.first, span.stop)
    covered = {c for n in inside for c in range(tokens.starts[n], tokens.ends[n])}
    assert covered >= {c for c in range(characters.start, characters.end) if not TEXT[c].isspace()}
    outside = [n for n in range(len(tokens.ids)) if n not in inside]
    assert all(tokens.ends[n] <= characters.start or tokens.starts[n] >= characters.end or tokens.text_of(n) == "" for n in outside)
    assert all(tokens.text_of(n) for n in (span.first, span.stop - 1)) and tokens.counted(span) == len(inside)


def test_ids_are_those_the_model_reads_and_arrays_are_as_described():
    tokenizer = tokenizer_of("sentencepiece")
    tokens = tokens_of("die Bank", "Bank", tokenizer=tokenizer)
    assert tokens.ids.tolist() == tokenizer("die Bank")["input_ids"] and tokens.ids[0] == tokenizer.bos_token_id
    assert all(one.dtype == np.int64 and one.shape == tokens.ids.shape for one in (tokens.ids, tokens.starts, tokens.ends))
    assert tokens.is_excluded.dtype == bool and not tokens.is_excluded.any()
    assert [tokens.text_of(n) for n in range(len(tokens.ids))] == ["", "d", "i", "e", " B", "a", "n", "k"]
    assert tokens.spans == (TokenSpan("c0", 4, 8),)


def test_bytes_of_one_character_all_belong_to_its_span():
    tokens = tokens_of("a 日本 é", "日", "本", "é")
    assert tokens.spans == (TokenSpan("c0", 2, 5), TokenSpan("c1", 5, 8), TokenSpan("c2", 9, 11))
    assert [tokens.text_of(n) for n in range(2, 8)] == ["日"] * 3 + ["本"] * 3


def test_a_word_inside_a_token_has_that_token_and_two_may_share_it():
    tokens = tokens_of("the bank keeps", "an", "k", tokenizer="words")
    assert tokens.spans == (TokenSpan("c0", 1, 2), TokenSpan("c1", 1, 2))


def test_tokens_of_no_character_belong_to_no_span():
    tokens = tokens_of("die Bank", "die Bank", tokenizer="sentencepiece")
    assert tokens.spans[0].first == 1  # behind <s>
    # a tokenizer that trims offsets makes one of a space that is a token of its own
    trimmed = tokens_of("Bank  (", "Bank  (", tokenizer="trimmed", exclusion=Exclusion(("space",)))
    assert [trimmed.text_of(n) for n in range(5)] == ["Ba", "nk", "", "", "("] and trimmed.spans[0] == TokenSpan("c0", 0, 5)
    assert trimmed.is_excluded.tolist() == [False, False, True, True, False] and trimmed.counted(trimmed.spans[0]) == 3


def test_a_space_that_the_tokenizer_writes_in_front_of_a_text_is_a_space():
    tokens = tokens_of("(die) Bank", "(die)", tokenizer="sentencepiece", exclusion=Exclusion(("space",)))
    assert [tokens.text_of(n) for n in range(4)] == ["", "", "(", "d"] and tokens.spans == (TokenSpan("c0", 2, 7),)
    assert tokens.is_excluded.tolist() == [True, True] + [False] * 9
    spaces = tokens_of("die  Bank", "Bank", tokenizer="sentencepiece")  # one that the text has stays where it is
    assert [spaces.text_of(n) for n in range(4, 6)] == [" ", " B"]
    inner = tokens_of("▁ Bank", "▁ Bank", tokenizer="bytes")  # the letter itself is no space
    assert inner.text_of(0) == "▁" and inner.spans[0].first == 0


def test_excluded_tokens_do_not_count():
    tokens = tokens_of("the bank, the record", "bank, the", "record", tokenizer="words", exclusion=Exclusion())
    assert tokens.is_excluded.tolist() == [True, False, True, False, False]
    assert [tokens.counted(span) for span in tokens.spans] == [2, 1]
    assert tokens_of("日。", "日。", exclusion=Exclusion(("punctuation",))).is_excluded.tolist() == [False] * 3 + [True] * 3
    behind = tokens_of("die Bank", "die", tokenizer="sentencepiece", exclusion=Exclusion())
    assert behind.is_excluded.tolist() == [True] + [False] * 7


def test_an_unknown_word_is_excluded_as_special_and_not_refused():
    tokens = tokens_of("the wombat keeps", "wombat keeps", tokenizer="words", exclusion=Exclusion(("special",)))
    assert tokens.ids.tolist() == [1, 0, 3] and tokens.is_excluded.tolist() == [False, True, False]


@pytest.mark.parametrize(
    "text, span, tokenizer, exclusion, message",
    [("a b<|endoftext|>c", "b<|endoftext|>c", "demo", Exclusion(), "the span 'b<|endoftext|>c' of 'c0' holds '<|endoftext|>', a special token"),
     ("a <|endoftext|>", "<|endoftext|>", "bytes", NOTHING, "holds '<|endoftext|>'"),
     ("the <unk>", "<unk>", "words", NOTHING, "holds '<unk>'"),
     ("a ☃ b", "☃", words("\\w+"), NOTHING, "this tokenizer makes no token of the span '☃' of 'c0'; mark other words"),
     ("☃", "☃", words("\\w+"), NOTHING, "passage 1, passage 'p': the tokenizer makes no token of the text"),
     ("Die Bank", "Die", words(), Exclusion(("first",)), "no token of the span 'Die' of 'c0' counts (excluded: first); mark a longer span"),
     ("a wombat, b", "wombat,", "words", Exclusion(), "counts (excluded: special, punctuation)"),
     ("a ?! b", "?!", "bytes", Exclusion(), "no token of the span '?!' of 'c0' counts (excluded: punctuation)")],
)  # fmt: skip
def test_a_span_that_cannot_be_measured_names_its_place(text, span, tokenizer, exclusion, message):
    with pytest.raises(ConceptsError) as error:
        tokens_of(text, span, tokenizer=tokenizer, exclusion=exclusion)
    assert message in str(error.value) and str(error.value).startswith("passage 1, passage 'p': ") and str(error.value).endswith(".")


def test_a_special_token_with_the_space_before_it_is_found_in_a_span():
    tokenizer = tiny_tokenizer()
    tokenizer.add_tokens([AddedToken("<mask>", special=True, lstrip=True)])
    with pytest.raises(ConceptsError, match="the span 'a <mask> b' of 'c0' holds '<mask>', a special token"):
        tokens_of("a <mask> b", "a <mask> b", tokenizer=tokenizer)


def test_a_token_of_no_character_inside_a_span_is_no_token_of_it():
    class Drops:
        is_fast, all_special_ids = True, ()

        def __call__(self, text, **options):
            return {"input_ids": [0, 1, 2], "offset_mapping": [(0, 1), (3, 3), (6, 7)]}

        def convert_ids_to_tokens(self, ids):
            return ["a", "gone", "e"]

    with pytest.raises(ConceptsError, match="this tokenizer makes no token of the span 'bcd'"):
        tokens_of("a bcd e", "bcd", tokenizer=Drops())
    assert tokens_of("a bcd e", "a bcd", tokenizer=Drops()).spans == (TokenSpan("c0", 0, 1),)


def test_a_special_token_beside_a_span_is_no_harm():
    tokens = tokens_of("a <|endoftext|> b", "b", tokenizer="demo", exclusion=Exclusion(("special",)))
    assert tokens.is_excluded.sum() == 1 and tokens.counted(tokens.spans[0]) == 1


def test_a_tokenizer_without_offsets_is_refused():
    class Slow:
        is_fast = False

    with pytest.raises(ValueError, match=r"Slow does not tell the characters of a token; the probe needs a fast tokenizer \(one with"):
        tokens_of("a b", "b", tokenizer=Slow())


def test_a_line_for_each_span_shows_its_tokens():
    tokens = tokens_of("the bank, the\nrecord", "bank, the\nrecord", "a", tokenizer=words("\\w+|[^\\w\\s]|\n"), exclusion=Exclusion())
    assert check_lines(tokens) == ["c0: 5 tokens, 3 of them count: |bank|(,)|the|(\\n)|record|", "c1: 1 token: |bank|"]


def test_a_passage_without_a_place_goes_by_its_id():
    from pydisp.legal_probe.passages import Passage, Span

    with pytest.raises(ConceptsError, match="^passage 'x': no token of the span 'a'"):
        tokenize_passage(Passage("x", "a b", (Span("c", 0, 1),)), tokenizer_of("bytes"), Exclusion())
