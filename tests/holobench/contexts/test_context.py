"""Contexts: the whole prompt keeps its budget and fills it; each row stands once, at its offsets."""

import pytest
from holobench_databases import shop
from hypothesis import given, settings
from hypothesis import strategies as st

from pydisp.draws import Draws
from pydisp.holobench.contexts.context import BudgetError, Plan, token_offsets, write_context
from pydisp.holobench.contexts.lines import Lines
from pydisp.holobench.contexts.sampling import draw_relevant
from pydisp.holobench.items import PLACEMENTS
from pydisp.holobench.prompts import Prompts, Style
from pydisp.loading import load_tokenizer

QUESTIONS = ["How many orders are there?", "Which orders have a price above 20? Give the order number of each."]
TABLES = ("orders", "customers")


@pytest.fixture(scope="module")
def tokenizer():
    return load_tokenizer("demo")


@given(length=st.integers(220, 1800), share=st.floats(0.1, 0.9), placement=st.sampled_from(PLACEMENTS), seed=st.integers(0, 999))
@settings(max_examples=60, deadline=None)
def test_the_prompt_keeps_and_fills_its_budget(tokenizer, length, share, placement, seed):
    lines = Lines(shop(), tokenizer, seed)
    prompts = Prompts(tokenizer, Style(room=20))
    most = length - 20 - max(len(prompts.ids("", text)) for text in QUESTIONS)
    relevant = draw_relevant(lines, TABLES, min(int(most * share), lines.total(TABLES)), Draws(seed))
    context = write_context(lines, prompts, QUESTIONS, relevant, TABLES, Plan(length, placement, density=share), Draws(seed))
    counts = [len(prompts.ids(context.text, text)) for text in QUESTIONS]
    unused = [t for n, t in enumerate(lines.tokens("plants")) if ("plants", n) not in set(context.rows)]
    assert max(counts) + 20 <= length
    assert length - 20 - max(counts) <= max(length // 100, min(unused))
    assert [row for row in context.rows if row[0] != "plants"] == relevant or placement == "shuffled"
    assert len(set(context.rows)) == len(context.rows) == len(context.text.split("\n"))
    for (table, number), (first, stop) in zip(context.rows, context.characters, strict=True):
        assert context.text[first:stop] == lines.texts(table)[number]
        assert context.text.split("\n").count(lines.texts(table)[number]) == 1


@pytest.mark.parametrize("template", ["plain", "chat"])
def test_token_offsets_are_the_tokens_of_the_line(tokenizer, template):
    chat = load_tokenizer("demo")
    chat.chat_template = "{{ bos_token }}<|user|>{{ messages[0]['content'] }}\n<|assistant|>\n"
    used = chat if template == "chat" else tokenizer
    lines = Lines(shop(), used, 0)
    prompts = Prompts(used, Style(template, room=20))
    relevant = draw_relevant(lines, TABLES, 300, Draws(0))
    context = write_context(lines, prompts, QUESTIONS, relevant, TABLES, Plan(700, "shuffled", density=0.5), Draws(0))
    count, places = token_offsets(prompts, context, QUESTIONS[0])
    ids = prompts.ids(context.text, QUESTIONS[0])
    assert count == len(ids)
    for (table, number), (first, stop) in zip(context.rows, places, strict=True):
        assert used.decode(ids[first:stop]).strip() == lines.texts(table)[number]


def test_a_budget_for_less_than_the_relevant_rows_is_refused(tokenizer):
    lines = Lines(shop(), tokenizer, 0)
    prompts = Prompts(tokenizer, Style(room=20))
    relevant = draw_relevant(lines, TABLES, 400, Draws(0))
    with pytest.raises(BudgetError, match=r"300 tokens are \d+ too few for \d+ relevant rows with the question and 20 tokens of room"):
        write_context(lines, prompts, QUESTIONS, relevant, TABLES, Plan(300, "begin", amount=400), Draws(0))


def test_density_one_has_no_filler(tokenizer):
    lines = Lines(shop(), tokenizer, 0)
    prompts = Prompts(tokenizer, Style(room=20))
    relevant = draw_relevant(lines, ("customers",), 120, Draws(0))
    context = write_context(lines, prompts, QUESTIONS, relevant, ("customers",), Plan(400, "middle", density=1.0), Draws(0))
    assert list(context.rows) == relevant
