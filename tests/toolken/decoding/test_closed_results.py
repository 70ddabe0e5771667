"""What a tool returned is not lengthened by what is written directly behind it."""

import re

import pytest
import torch
from toolken_tokenizers import TOKENIZERS
from toolken_writing import Answers, letters_tokenizer, rows_after, scripted_model, token, toolkens_of
from transformers import LogitsProcessorList

from pydisp.toolken.decoding.closed_results import ClosedResults
from pydisp.toolken.decoding.generating import generate
from pydisp.toolken.problems.labels import continuation_ids

LONGER = {"12.5": r"[.,]?[0-9]", "12": r"[.,]?[0-9]", "km": r"[A-Za-z]"}  # what would stand behind it


@pytest.mark.parametrize("name", TOKENIZERS)
@pytest.mark.parametrize("result", LONGER)
def test_the_forbidden_ids_are_those_that_make_the_result_longer(name, result):
    tokenizer = TOKENIZERS[name]()
    before = continuation_ids(f"It is {result}", tokenizer)
    closed = ClosedResults(tokenizer, len(tokenizer))

    def longer(ids, behind=LONGER[result]) -> set[int]:
        shown, *texts = tokenizer.batch_decode([ids, *([*ids, one] for one in range(len(tokenizer)))], clean_up_tokenization_spaces=False)
        return {one for one, text in enumerate(texts) if text.startswith(shown) and re.match(behind, text[len(shown) :])}

    wanted = longer(before)
    assert wanted and set(closed.forbidden(result, "").tolist()) == wanted
    for sign in ".,":
        one = tokenizer.convert_tokens_to_ids(sign)
        if result.isdecimal() and one is not None and one != tokenizer.unk_token_id and len(continuation_ids(sign, tokenizer)) == 1:
            assert set(closed.forbidden(result, sign).tolist()) == longer([*before, one], "[0-9]")
    assert not len(closed.forbidden("km", ".")) and not len(closed.forbidden("12)", "")) and not len(closed.forbidden("12", " "))


def test_names_that_begin_like_those_of_WordPiece_and_bytes_are_read_as_they_are():
    tokenizer = letters_tokenizer(**{"##Ċ": 97, "<0x35>": 98, "<0x6B>": 99})
    closed = ClosedResults(tokenizer, 100)
    digits = [token(one) for one in "0123456789"]
    assert closed.forbidden("7", "").tolist() == [*digits, 98] == closed.forbidden("7", ".").tolist()
    assert len(closed.forbidden("km", "")) == 2 * 26 + 1 and 99 in closed.forbidden("km", "")


def test_digits_of_other_scripts_make_another_number_too():
    tokenizer = TOKENIZERS["metaspace first"]()
    tokenizer.add_tokens(["٣٤"])
    added = tokenizer.convert_tokens_to_ids("٣٤")
    assert added in ClosedResults(tokenizer, len(tokenizer)).forbidden("12", "")


def written(following, inputs="a=", result="7", **settings):
    model, tokenizer = scripted_model(following), letters_tokenizer()
    toolkens = toolkens_of(model, tokenizer, rows_after({"clock": "="}))
    return generate(model, tokenizer, toolkens, inputs, mode="toolkengpt", caller=Answers(lambda *_: result), **settings).texts


@pytest.mark.parametrize(
    ("result", "following", "text"),
    [
        ("7", {"7": "3"}, " 7"),  # the end is the next likely word
        ("7", {"7": ".", ".": "5"}, " 7."),
        ("7", {"7": ",", ",": "5"}, " 7,"),
        ("7", {"7": "k", "k": "5", "5": "$"}, " 7k5"),
        ("7", {"7": ".", ".": "k", "k": "5", "5": "$"}, " 7.k5"),
        ("km", {"m": "s"}, " km"),
        ("km", {"m": "2", "2": "$"}, " km2"),
        ("a)", {")": "3", "3": "$"}, " a)3"),
    ],
)
def test_the_text_goes_on_with_the_next_likely_word(result, following, text):
    assert written(following, result=result, max_new_tokens=12) == (text,)
    assert written({**following, "b": "$"}, ["a=", "xxxb"], result=result, max_new_tokens=12)[0] == text  # beside another text
    assert written(following, result=result, max_new_tokens=12, do_sample=True, top_k=1) == (text,)


def test_words_of_the_model_itself_may_be_longer():
    assert written({"7": "3", "3": "5", "5": "$"}, "a7", max_new_tokens=6) == ("35",)


def test_where_processors_leave_nothing_else_the_result_is_lengthened():
    def only_three(_, scores):
        return torch.full_like(scores, -torch.inf).index_fill(1, torch.tensor([token("3")]), 0.0)

    processors = LogitsProcessorList([only_three])
    assert written({"7": "3"}, max_new_tokens=5, logits_processor=processors) == (" 7333",)
