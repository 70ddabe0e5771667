"""Exclusion says which tokens do not count, by rules with names."""

import pytest
from tiny_text import tiny_tokenizer
from tokenizers import AddedToken

from pydisp.legal_probe.exclusion import RULES, Exclusion, special_ids


def left_out(exclusion, texts, special=()):
    """The reason for each text as a token."""
    return [exclusion.reason(place, text, place in special) for place, text in enumerate(texts)]


TEXTS = ["The", ",", " (", "…—", "$", "a.", "", " \n", "\u3000", " the", "<s>", "«", "_"]


@pytest.mark.parametrize(
    "rule, places", [("special", [10]), ("first", [0]), ("punctuation", [1, 2, 3, 11, 12]), ("space", [6, 7, 8]), ("none", [])]
)
def test_a_rule_alone_leaves_out_what_its_name_says(rule, places):
    reasons = left_out(Exclusion.parse(rule), TEXTS, special=[10])
    assert [place for place, reason in enumerate(reasons) if reason] == places and set(reasons) <= {rule, None}


def test_tokens_of_ones_own_are_compared_without_white_space():
    assert left_out(Exclusion((), ("the", "$")), TEXTS) == [None] * 4 + ["token"] + [None] * 4 + ["token"] + [None] * 3
    assert left_out(Exclusion(tokens=("The",)), ["The", "The"]) == ["first", "token"]


def test_rules_have_one_order_whatever_order_they_are_given_in():
    assert Exclusion() == Exclusion(list(reversed(RULES))) == Exclusion.parse(" space,first, special ,punctuation")
    assert Exclusion.parse("none") == Exclusion(()) and hash(Exclusion()) == hash(Exclusion(list(RULES), []))
    assert Exclusion.parse("space", ("§",)) == Exclusion(("space",), ("§",))


@pytest.mark.parametrize(
    "arguments, words",
    [(("special",), "rules is 'special'; it must be a tuple of strings"), ((RULES, "§"), "tokens is '§'; it must be"),
     ((RULES, (3,)), "tokens is (3,)"), ((("space", "space"),), "with one of them twice"), ((RULES, ("a", "a")), "with one of them twice"),
     ((("spaces",),), "unknown rule 'spaces' of what to exclude (did you mean 'space'?); known: special, first, punctuation, space."),
     ((RULES, ("",)), "the excluded token '' is empty"), ((RULES, (" a",)), "the excluded token ' a' is empty or has white space")],
)  # fmt: skip
def test_a_wrong_exclusion_is_refused(arguments, words):
    with pytest.raises(ValueError) as error:
        Exclusion(*arguments)
    assert words in str(error.value)


@pytest.mark.parametrize("rules", ["", "space,", "none,space", "special space"])
def test_words_that_are_no_rules_are_refused(rules):
    with pytest.raises(ValueError, match="unknown rule"):
        Exclusion.parse(rules)


def test_an_added_token_without_a_role_is_special_too():
    tokenizer = tiny_tokenizer()
    tokenizer.add_tokens([AddedToken("<|turn|>", special=True), AddedToken("word", special=False)])
    turn, word = tokenizer.convert_tokens_to_ids(["<|turn|>", "word"])
    assert special_ids(tokenizer) == {0, turn} and word not in special_ids(tokenizer)
