"""Text as HTML: escaped, and with what belongs together on one line."""

import pytest

from pydisp.report.prose import cell, cell_words, name, prose, together


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("at 5.3 % of", "at 5.3_% of"), ("0.2 to -0.4 nats", "0.2_to_-0.4 nats"), ("3.2 ± 0.1", "3.2_±_0.1"), ("± 0.3 s.e.", "±_0.3 s.e."),
        ("p = 0.01, n = 31", "p_=_0.01, n_=_31"), ("p < 0.001", "p_<_0.001"), ("5 % to 6 %", "5_%_to_6_%"), ("up to 3", "up to 3"),
        ("step = 3", "step = 3"), ("pruned ÷ dense", "pruned ÷ dense"),
    ],
)  # fmt: skip
def test_a_figure_is_not_cut_from_its_unit(text, kept):
    assert together(text) == kept.replace("_", "\u00a0")


def test_text_is_escaped_once():
    assert prose('a <b> & "c"') == "a &lt;b&gt; &amp; &quot;c&quot;" and name("a_b <b>") == "a_<wbr>b &lt;b&gt;"
    assert cell("<a-b> & c") == '<span class="whole">&lt;a-b&gt;</span> &amp; c'


def test_short_words_with_hyphens_stay_whole_in_a_cell():
    assert cell("held-out text") == '<span class="whole">held-out</span> text'
    assert cell("1,632–3,958") == '<span class="whole">1,632–3,958</span>' and cell("tokens/s").startswith("<span")
    assert "<span" not in cell("-0.3") + cell("a-well-known-thing-that-is-long") + cell("to 5 - 6")
    assert cell_words("0.1 to 0.2\nheld-out") == ["0.1\u00a0to\u00a00.2", "held-out"]


def test_names_of_programs_may_break_at_their_joints():
    assert name("settings.batch_size 1.5 a.") == "settings.<wbr>batch_<wbr>size 1.5 a."
