"""Prompts: the facts before the question, in plain text or a chat template, and what a tokenizer cannot do said at once."""

import pytest
from tiny_text import tiny_tokenizer

from pydisp.holobench.prompts import ROOM, PromptError, Prompts, Style

CHAT = "{{ bos_token }}[user] {{ messages[0]['content'] }} [model]:"


def _tokenizer(template=None):
    tokenizer = tiny_tokenizer()
    tokenizer.chat_template = template
    return tokenizer


def test_a_plain_prompt_is_this_text():
    prompts = Prompts(_tokenizer(), Style())
    assert prompts.text("A is 1.", "What is A?") == (
        'Facts:\nA is 1.\n\nQuestion: What is A?\nOne row a line, commas between columns, or "No answer".\nAnswer:'
    )
    assert prompts.with_answer(prompts.text("A is 1.", "What is A?"), "1").endswith("\nAnswer: 1")
    reasoned = Prompts(_tokenizer(), Style("plain", "reason")).text("", "?")
    assert 'Then write "Answer:"' in reasoned and reasoned.endswith("\nReasoning:")


def test_a_chat_prompt_is_in_the_template_and_the_answer_follows_it():
    prompts = Prompts(_tokenizer(CHAT), Style("chat"))
    text = prompts.text("A is 1.", "What is A?")
    assert text.startswith(f"{prompts.tokenizer.bos_token or ''}[user] Facts:\nA is 1.") and text.endswith('"No answer". [model]:')
    assert prompts.with_answer(text, "1") == f"{text}1"


def test_prompts_of_one_context_share_their_beginning():
    prompts = Prompts(_tokenizer(), Style())
    first, second = prompts.ids("A is 1.\nB is 2.", "What is A?"), prompts.ids("A is 1.\nB is 2.", "How many are there?")
    shared = len(prompts.ids("A is 1.\nB is 2.", "")) - len(prompts.encode(prompts.after)) - 2
    assert first[:shared] == second[:shared] and first != second


def test_braces_and_other_signs_in_facts_stay_as_they_are():
    prompts = Prompts(_tokenizer(CHAT), Style("chat"))
    context = "{{ messages }} {question} %s \\n <|endoftext|>"
    assert f"Facts:\n{context}\n\nQuestion: {{x}}" in prompts.text(context, "{x}")


@pytest.mark.parametrize(
    ("template", "style", "words"),
    [
        (None, Style("chat"), "has no chat template"),
        ("{{ messages[0]['content'] | upper }}", Style("chat"), "changes the text"),
        ("{{ messages[1]['content'] }}", Style("chat"), "fails on a single question|changes the text"),
        ("{{ raise_exception('no') }}", Style("chat"), "fails on a single question"),
        ("{{ messages[0]['content'] }}{{ messages[0]['content'] }}", Style("chat"), "changes the text"),
    ],
)
def test_a_template_that_does_not_fit_is_refused(template, style, words):
    with pytest.raises(PromptError, match=words):
        Prompts(_tokenizer(template), style)


@pytest.mark.parametrize(
    "values", [("page",), ("plain", "shout"), ("plain", "direct", -1), ("plain", "direct", True), ("plain", "direct", 1.5)]
)
def test_a_style_that_is_not_one_is_refused(values):
    with pytest.raises(ValueError):
        Style(*values)


def test_the_room_depends_on_the_way_of_answering():
    assert Style().room == ROOM["direct"] < Style("plain", "reason").room == ROOM["reason"] and Style(room=7).room == 7


def test_a_tokenizer_that_ends_every_text_is_refused():
    from tokenizers.processors import TemplateProcessing

    tokenizer = _tokenizer()
    end = tokenizer.eos_token
    tokenizer._tokenizer.post_processor = TemplateProcessing(single=f"$A {end}", special_tokens=[(end, tokenizer.eos_token_id)])
    with pytest.raises(PromptError, match="add_eos_token"):
        Prompts(tokenizer, Style())
