"""Worst and best answers of classes, as cells of a table."""

from simulated_holobench import answer, benchmark, found, item, scored

from pydisp.holobench.figures.example_answers import MOST, gold_words, row, shown, worst_and_best
from pydisp.holobench.figures.scored_items import ScoredItem
from pydisp.holobench.items import CLASSES, Gold


def test_one_answer_of_a_class_the_worst_and_the_best_first():
    of_class = {kind: place / 10 for place, kind in enumerate(CLASSES)}  # 0 to 0.8
    worst, best = worst_and_best(found(benchmark(18, lengths=(512, 1024)), lambda one: of_class[one.kind]).scored)
    assert [one.item.kind for one in worst] == list(CLASSES[:6]) and [one.item.kind for one in best] == list(CLASSES[:-7:-1])
    assert all(one.item.length == 512 and one.item.draw < "009" for one in (*worst, *best))
    assert len(worst) + len(best) <= MOST


def test_right_answers_are_not_among_the_worst_nor_wrong_ones_among_the_best():
    every = [scored(item("0", kind="count"), 1.0), scored(item("1", kind="join"), 0.0), ScoredItem(item("2"), skipped="too long")]
    worst, best = worst_and_best(every)
    assert [one.item.kind for one in worst] == ["join"] and [one.item.kind for one in best] == ["count"]


def test_cells_say_question_gold_answer_and_score():
    (one,) = found([item(kind="top_k")], lambda _: 0.5).scored
    assert row(one) == ["top k", 512, "Which names have top_k?", shown(gold_words(one.item.gold)), shown(answer(0.5)), 50]


def test_no_cell_of_a_row_turns_the_text_behind_it():
    turned = "\u202eevil\u2066"
    one = scored(item(question=f"Which {turned}?", gold=Gold(("name",), ("text",), ((turned,),))), 0.5)
    cells = row(ScoredItem(one.item, turned, one.score))
    assert not any(mark in str(cell) for cell in cells for mark in turned[:1] + turned[-1:])
    assert cells[2:5] == ["Which \ufffdevil\ufffd?", "\ufffdevil\ufffd", "\ufffdevil\ufffd"]


def test_gold_is_shown_row_by_row():
    assert gold_words(Gold(("city", "total"), ("text", "decimal(2)"), (("Rome", 12.5), ("Oslo", 7.0)))) == "Rome, 12.50; Oslo, 7.00"
    assert gold_words(Gold(("city",), ("text",), ())) == "No answer"


def test_long_and_unprintable_texts_are_made_fit_for_a_cell():
    assert shown("a\n  b\n\nc ") == "a ⏎ b ⏎ c"
    assert shown("x\0y\ud800z\x1b[31m") == "x\ufffdy\ufffdz\ufffd[31m"
    for mark in "\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\u200e\u200f\u061c\x85\x9b\u2028\u2029":
        assert shown(f"a{mark}b") == "a\ufffdb", ascii(mark)
    assert shown("שלום é 学") == "שלום é 学"
    long = shown("begin " + 500 * "word " + "end")
    assert len(long) < 170 and long.startswith("begin") and long.endswith("end") and " … " in long
