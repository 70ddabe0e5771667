from dataclasses import replace

import pytest
import torch
from holobench_items import make_items, merging_tokenizer
from hypothesis import given
from hypothesis import strategies as st
from tiny_text import tiny_tokenizer

from pydisp.holobench.answers.asked_items import Asked, AskingError, ask, batches
from pydisp.holobench.prompts import Prompts, Style

TOKENIZER = tiny_tokenizer()
ITEMS, MANIFEST = make_items(TOKENIZER, 6)
PROMPTS = Prompts(TOKENIZER, Style(room=8))


def asked_of(form="both", positions=None, prompts=PROMPTS, items=ITEMS, **options):
    return ask(items, prompts, form=form, positions=positions, **options)


def test_prompts_are_the_item_s_and_end_is_left_to_read():
    asked, skipped = asked_of("generate")
    assert not skipped and [one.item for one in asked] == ITEMS
    for one in asked:
        assert one.prompt.tolist() == PROMPTS.ids(one.item.context, one.item.question)
        assert (one.read, one.room, one.choices) == (len(one.prompt) - 1, 8, ()) and len(one.prompt) == one.item.prompt_tokens


def test_tokenizing_the_prompts_has_a_bar(many_lines):
    said = []
    assert len(asked_of("both", say=said.append)[0]) == 6
    assert said[0].startswith("tokenizing the prompts: prompt 1 of 6, about ") and said[-1].startswith(
        "tokenizing the prompts: prompt 6 of 6, in "
    )


def test_scored_tokens_are_those_behind_the_prompt():
    for one in asked_of("likelihood")[0]:
        assert one.room == 0 and one.scored == (2, 2, 2, 5)  # a space and a digit, a space and "many"
        for choice, tokens in zip(one.item.choices, one.choices, strict=True):
            assert TOKENIZER.decode(tokens) == f": {choice}" and one.read == len(one.prompt) - 1


def test_a_prompt_whose_last_token_changes_with_the_answer_is_read_to_before_it():
    tokenizer = merging_tokenizer()
    items, _ = make_items(tokenizer, 2)
    for one in asked_of(prompts=Prompts(tokenizer, Style(room=8)), items=items)[0]:
        assert tokenizer.decode(one.prompt[one.read :]) == "r:" and one.scored == (2, 2, 2, 5)
        assert [tokenizer.decode(tokens) for tokens in one.choices] == [f"r: {choice}" for choice in one.item.choices]


def test_prompts_of_a_context_share_its_facts():
    asked = asked_of()[0]
    for first, second in zip(asked[::2], asked[1::2], strict=True):
        assert first.shared == second.shared
        shared = TOKENIZER.decode(first.prompt[: first.shared])
        assert shared.startswith("Facts:\n") and first.item.context in shared and shared.endswith("Question: How many boxes are ")
        assert torch.equal(first.prompt[: first.shared], second.prompt[: first.shared])
    assert asked_of(items=ITEMS[::2])[0][0].shared == 0  # alone in its context


def test_of_equal_prompts_the_last_token_is_left_to_read():
    asked = asked_of("generate", items=[ITEMS[0], replace(ITEMS[0], id="again")])[0]
    assert [one.shared for one in asked] == [one.read for one in asked] == [len(asked[0].prompt) - 1] * 2


def test_without_context_the_facts_are_empty():
    for one in asked_of(without_context=True)[0]:
        assert TOKENIZER.decode(one.prompt).startswith("Facts:\n\n\nQuestion: How") and "Box" not in TOKENIZER.decode(one.prompt)


@pytest.mark.parametrize("form", ["generate", "likelihood", "both"])
def test_items_longer_than_the_model_reads_are_skipped_and_named(form):
    limit = sorted(one.prompt_tokens for one in ITEMS)[3] + 8
    asked, skipped = asked_of(form, positions=limit)
    assert len(asked) == 4 and {one.item.id for one in asked} == {one.id for one in ITEMS if one.prompt_tokens + 8 <= limit}
    for one in skipped:
        tokens = next(item.prompt_tokens for item in ITEMS if item.id == one.id)
        assert one.skipped == f"its {tokens} tokens and 8 for the answer are more than the model's {limit} positions"


def test_items_without_choices_are_only_asked():
    items, _ = make_items(TOKENIZER, 2, choices=False)
    asked, skipped = asked_of("likelihood", items=items)
    assert not asked and [one.skipped for one in skipped] == ["it has no choices"] * 2
    asked, skipped = asked_of("both", items=items)
    assert not skipped and all(one.choices == () and one.room == 8 for one in asked)


def test_a_prompt_that_is_not_the_built_one_is_refused():
    other = Prompts(TOKENIZER, Style(answer="reason", room=8))
    with pytest.raises(AskingError, match=f"{ITEMS[0].id}.*--any-tokenizer"):
        asked_of(prompts=other)
    assert len(asked_of(prompts=other, check=False)[0]) == 6


def test_a_tokenizer_that_makes_nothing_of_a_text_is_refused():
    class Whole:
        style = Style(room=8)
        text, with_answer = PROMPTS.text, PROMPTS.with_answer

        def encode(self, text):
            return [1]

    with pytest.raises(AskingError, match="a choice without a token"):
        asked_of(prompts=Whole())
    with pytest.raises(AskingError, match="makes 1 tokens of a whole prompt"):
        asked_of("generate", prompts=Whole())


def fake(number, context, tokens):
    from types import SimpleNamespace

    return Asked(SimpleNamespace(id=number, context_id=context), torch.zeros(tokens, dtype=torch.int64), tokens - 1, 0, (), (), 0)


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(2, 60)), min_size=1, max_size=30), st.integers(0, 200))
def test_batches_keep_to_the_budget_and_contexts_together(rows, budget):
    asked = [fake(number, context, tokens) for number, (context, tokens) in enumerate(rows)]
    groups = batches(asked, budget)
    flat = [one for group in groups for one in group]
    assert sorted(one.item.id for one in flat) == list(range(len(rows)))
    for group in groups:
        assert len(group) == 1 or len(group) * max(one.tokens for one in group) <= budget
    contexts = [one.item.context_id for one in flat]
    assert sum(a != b for a, b in zip(contexts, contexts[1:], strict=False)) == len(set(contexts)) - 1
    longest = [max(one.tokens for one in flat if one.item.context_id == context) for context in dict.fromkeys(contexts)]
    assert longest == sorted(longest, reverse=True)
    for one, following in zip(groups, groups[1:], strict=False):  # no batch ends early
        assert (len(one) + 1) * max(*(x.tokens for x in one), following[0].tokens) > budget
