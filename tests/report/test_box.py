"""Boxes know how wide their contents are, and their rules show the hint in a column that is narrower."""

import re

import pytest
from sample_report import SVG

from pydisp.report import Picture, Report, Section, Table
from pydisp.report.box import column_widths, picture_width


@pytest.mark.parametrize(
    ("opening", "pixels"),
    [
        ('<svg width="547.2pt" height="2pt" viewBox="0 0 547.2 2">', 730),
        ('<svg height="2" width="300">', 300),
        ("<svg width='300.4px'>", 301),
        ('<svg width="2in">', 192),
        ('<svg viewBox="0 0 2 2">', 640),
        ('<svg width="100%">', 640),
        ('<svg stroke-width="7">', 640),
        ('<svg width="0">', 1),
    ],
)
def test_a_picture_has_its_own_width(opening, pixels):
    assert picture_width(f"{opening}<g width='9pt'/></svg>") == pixels


def widths(columns, *rows):
    return column_widths(Table("t", columns, rows))


def test_a_column_has_room_for_its_longest_word():
    (short,), (long,), (parted,) = widths(["ab"]), widths(["abcdefgh"]), widths(["abcdefgh ijkl"])
    assert short < long == parted
    assert widths(["mlp_output"]) == widths(["mlp_ output"])  # a head breaks behind an underscore
    assert widths(["a"], ["mlp_output"]) > widths(["a"], ["mlp_"])  # a cell does not
    assert widths(["a"], [123456789]) == widths(["a"], ["123,456,789"]) > widths(["a"], [1])
    assert widths(["a"], ["0.1 to 0.2"]) > widths(["a"], ["0.1"])  # a span of figures is one word
    assert widths(["a"], ["損失"]) > widths(["a"], ["ab"])


def test_a_column_of_sentences_has_room_for_some_words_a_line():
    (some,), (many,), (words,) = widths(["a"], ["six or more words in one cell"]), widths(["a"], ["word " * 60]), widths(["a"], ["a word"])
    assert words < some < many < 250


def test_the_rules_are_for_the_widths_of_the_page():
    table, narrow = Table("t", ["perplexity"] * 12, []), Table("u", ["a"], [])
    html = Report("r", sections=[Section("s", [table, Picture("p", "c", SVG), narrow])]).to_html()
    boxes = [int(width) for width in re.findall(r'<div class="box w(\d+)">', html)]
    assert boxes[1] == 640 + 26 and boxes[0] > 900 and boxes[2] < 100
    rules = re.findall(
        r"^\.w(\d+) table \{ min-width: max\(100%, (\d+)px\); \} @container \(max-width: ([\d.]+)px\) \{ \.w(\d+) > \.hint", html, re.M
    )
    assert [tuple(map(float, rule)) for rule in rules] == [(w, w, w - 0.02, w) for w in sorted(boxes)]
    assert html.count('class="hint"') == html.count('<div class="scroll" role="region"') == 3


def test_a_first_column_of_names_stays_in_place_where_others_scroll():
    def is_named(*columns):
        return '<table class="named">' in Report("r", sections=[Section("s", [Table("t", columns, [])])]).to_html()

    assert is_named("a", *["perplexity"] * 3) and not is_named("a", "b") and not is_named("perplexity" * 5, *["perplexity"] * 9)
