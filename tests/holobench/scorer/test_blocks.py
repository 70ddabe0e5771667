import pytest

from pydisp.holobench.items import Gold
from pydisp.holobench.scorer.answer_text import Plain
from pydisp.holobench.scorer.blocks import last_block, without_bullet

PLAIN = Plain.of(Gold(("name",), ("text",), (("- dash",), ("[0]",))))


def block(*lines: str):
    return last_block(list(lines), PLAIN)


def test_prose_and_plain_lines_are_no_block():
    for lines in (
        ["Anna, 3", "Bo, 4"],
        ["a | b"],
        ["|---|"],
        ["a", "|---|", "b"],
        ["| a |", "|---|"],
        ["| a |", "|---|", "b"],
        ["-5"],
        ["1.5"],
        ["7."],
        ["-"],
        ["[a]"],
        ["{x: 1}"],
        ["see [1] there"],
        ["[]"],
        ["{}"],
        [],
    ):
        assert block(*lines) is None, lines


def test_bulleted_lines_next_to_each_other_are_a_block():
    found = block("Intro", "- a", "* b", "• c", "+ d", "1. e", "2) f", "Outro")
    assert (found.kind, found.first, found.stop, found.lines) == ("lines", 1, 7, ("a", "b", "c", "d", "e", "f"))
    assert block("- a", "x", "- b", "- c", "y").lines == ("b", "c")


def test_a_gold_row_is_no_bullet_and_no_json():
    assert (
        without_bullet("- dash", PLAIN) == "- dash"
        and without_bullet("- other", PLAIN) == "other"
        and without_bullet("a - b", PLAIN) == "a - b"
    )
    assert block("- dash", "[0]") is None
    assert block("- dash", "- other").lines == ("other",)


def test_a_table_has_a_header_a_rule_and_rows():
    found = block("Rows", "| Name | n |", "|:---|---:|", "| Anna | 3 |", "Bo | 4", "Outro")
    assert (found.kind, found.first, found.stop, found.header, found.cells) == ("table", 1, 5, ("Name", "n"), (("Anna", "3"), ("Bo", "4")))
    assert block("| a |", "|---|", "| 1 |", "| b |", "|---|", "| 2 |").cells == (("2",),)


@pytest.mark.parametrize(
    "lines, values",
    [
        (["[1, 2.50, null]"], ([["1", "2.50", None]])), (["a", "[", "1", "]", "b"], [["1"]]), (["Rows: [1].", "b"], [["1"]]),
        (["[1]", "{\"a\": 2}"], [["1"], {"a": "2"}]), (["[1], [2],"], [["1"], ["2"]]),
        (["[1]", "x", "[2]"], [["2"]]), (["[NaN, -Infinity, 1e999999]"], [["NaN", "-Infinity", "1e999999"]]),
        (["[" + "9" * 5000 + "]"], [["9" * 5000]]), (["[[1,", "[2]", "x"], [["2"]]), (['["a\tb"]'], [["a\tb"]]),
    ],
)  # fmt: skip
def test_json_is_decoded_with_numbers_as_they_were_written(lines, values):
    found = block(*lines)
    assert found.kind == "json" and list(found.values) == values


def test_the_last_block_counts():
    assert block("[1]", "- a", "x").kind == "lines"
    assert block("- a", "[1]", "x").kind == "json"
    assert block("- a", "| b |", "|---|", "| c |").kind == "table"
    assert (block("a", "[", '"b"', "]", "c").first, block("a", "[", '"b"', "]", "c").stop) == (1, 4)


def test_deep_and_broken_json_is_no_block():
    for text in ("[" * 10**5, '{"a":' * 10**4, "[1, 2", '{"a": }', "[1] and [2] are rows", "[\n" * 200):
        assert block(*text.split("\n")) is None
