"""The report of results as a page: complete, and never failing for what is not there."""

import json

import numpy as np
import pytest
from browser_page import needs_chromium, require_readable
from simulated_holobench import answered, benchmark, found, item

from pydisp.holobench.answers.predictions import Prediction
from pydisp.holobench.figures.bench_report import report
from pydisp.holobench.figures.comparison import compare
from pydisp.holobench.figures.results import results
from pydisp.report import Report

MANIFEST = {"database": "trees", "amounts": [100, 200], "style": {"answer": "direct"}}


def full(seed=0, model="pruned"):
    generator = np.random.default_rng(seed)
    items = benchmark(18, lengths=(512, 1024, 2048), placements=("begin", "middle", "end", "uniform"), amounts=(100, 200))
    return found(
        items, lambda one: None if one.length == 2048 else round(10 * generator.random()) / 10, MANIFEST,
        margin_of=lambda one: generator.normal(0.5, 1), model=model,
    )  # fmt: skip


@pytest.fixture(scope="module")
def page():
    first, second = full(), full(1, "dense")
    return report(first, [compare(first, second)])


def titles(one: Report):
    return [section.title for section in one.sections]


def test_a_full_report_has_its_sections_in_order(page):
    assert titles(page) == [
        "Length", "Classes of questions", "Relevant facts", "Placement", "What the paper found", "Against dense", "Examples",
        "Skipped and unread", "How it was measured",
    ]  # fmt: skip
    assert [metric.name for metric in page.metrics] == ["F1", "recall", "strict", "accuracy"]
    assert page.metrics[3].note == "chance 25 %" and page.metrics[0].note == "144 more skipped"


def test_a_report_writes_all_its_files_and_its_json_reads_back(page, tmp_path):
    page.write(tmp_path)
    names = {path.name for path in tmp_path.iterdir()}
    assert {
        "report.html",
        "report.md",
        "report.json",
        "scores-by-length.svg",
        "scores-by-class.svg",
        "f1-by-length-and-amount.svg",
    } <= names
    again = Report.from_json((tmp_path / "report.json").read_text())
    result = again.facts["result"]
    assert result["n"] == 288 and result["skipped"] == 144 and len(result["skipped_items"]) == 144
    assert again.facts["comparisons"][0]["by_class"]["join"]["f1"]["n"] == 32


def test_the_same_results_give_the_same_bytes():
    assert report(full()).to_json() == report(full()).to_json()


def test_a_report_says_how_it_was_measured(page):
    text = page.to_markdown()
    for words in (
        "The replicate is the draw",
        "SCORING.md",
        "Clopper",
        "Holm",
        "flips signs of draws",
        "chance",
        'Always answering "No answer"',
    ):
        assert words in text, words
    assert "95 % interval" in text and "smallest visible" in text


def as_likelihood():
    items = benchmark(9)
    return results(items, [Prediction(one.id, log_likelihoods=(-1.0, -2.0, -3.0, -4.0)) for one in items], {}, {})


@pytest.mark.parametrize(
    "make",
    [
        as_likelihood,
        lambda: found(benchmark(9), lambda one: 0.5),
        lambda: found(benchmark(9, lengths=(512,)), lambda one: 0.0),
        lambda: found(benchmark(9, kinds=("count",)), lambda one: 1.0),
        lambda: found(benchmark(9), lambda one: None),
        lambda: found([item()], lambda one: 1.0),
        lambda: found([item("0"), item("1")], lambda one: None if one.draw == "0" else 0.3),
        lambda: found(benchmark(9, densities=(0.1, 0.5), lengths=(512,)), lambda one: 0.5, {"densities": [0.1, 0.5]}),
        lambda: results([item()], [Prediction(item().id, "", finished=False)], {}, {"without_context": True}),
        lambda: found([item(choices=None, correct=None, gold=item().gold)], lambda one: 0.2),
    ],
    ids=[
        "likelihood",
        "answers",
        "one length",
        "one class",
        "all skipped",
        "one item",
        "two draws",
        "densities",
        "empty answer",
        "no choices",
    ],
)
def test_nothing_that_is_missing_makes_a_report_fail(make):
    one = make()
    made = report(one)
    assert made.to_html() and made.to_markdown() and json.loads(made.to_json())


def method_of(tokens_of, **manifest):
    items = benchmark(9, lengths=(512,))
    ranked = [
        Prediction(one.id, log_likelihoods=(-1.0, -2.0, -3.0, -4.0), choice_tokens=tokens_of(place)) for place, one in enumerate(items)
    ]
    one = results(items, ranked, {}, manifest)
    likelihood = one.as_dict()["likelihood"]
    return " ".join(report(one).sections[-1].parts), (likelihood["unequal_choices"], likelihood["unknown_choices"])


def test_choices_of_unequal_numbers_of_tokens_are_counted_and_said():
    equal, unequal = (3, 3, 3, 3), (3, 2, 3, 3)
    words, counts = method_of(lambda place: equal)
    assert "The choices of an item have as many tokens as each other." in words and counts == (0, 0)
    words, counts = method_of(lambda place: unequal if place < 2 else equal, any_tokenizer=True)
    assert "In 2 of 9 items the choices have unequal numbers of tokens for this model (asked with any_tokenizer)" in words
    assert "as many tokens" not in words and counts == (2, 0)
    words, counts = method_of(lambda place: None if place < 4 else unequal if place == 4 else equal)
    assert "In 1 of 5 items the choices" in words and "For 4 items the predictions do not say" in words and counts == (1, 4)
    assert "as many tokens" not in method_of(lambda place: None)[0]
    assert "as many tokens as each other in 8 items. For 1 item the" in method_of(lambda place: equal if place else None)[0]


def test_a_control_says_nothing_of_lengths_or_of_the_paper():
    items = benchmark(36, lengths=(512, 1024, 2048), amounts=(100, 200))
    ranked = [answered(one, 1.0 if one.kind == "extreme" else 0.3, 1.0) for one in items]
    made, control = (results(items, ranked, {}, {"model": "m", "without_context": is_control}) for is_control in (False, True))
    assert made.claims and len(made.effective) == 2 and "What the paper found" in titles(report(made))
    assert control.claims == () and control.effective == ()
    shown = report(control, [compare(control, made)])
    for words in ("paper", "Effective length", "is kept", "kept of"):
        assert words not in shown.to_markdown() and words not in " ".join(shown.summary), words
        assert words in report(made).to_markdown(), words


def test_a_comparison_of_few_draws_and_of_equal_names_is_shown():
    one = item()
    first, second = (results([one], [answered(one, f1)], {}, {"model": "same"}) for f1 in (1.0, 0.5))
    made = report(first, [compare(first, second), compare(first, second)])
    assert [title for title in titles(made) if "Against" in title] == ["Against same", "2: Against same"]
    assert "too few draws for a test" in made.to_markdown() and "same, first, %" in made.to_markdown()


def test_texts_of_models_are_escaped():
    wild = Prediction(item().id, "<script>alert(1)</script>\0 | `x` \ud800")
    made = report(results([item(question="<b>Which?</b>")], [wild], {"database": "<i>"}, {"model": "<u>"}))
    page = made.to_html()
    assert "<script>" not in page and "<b>Which" not in page and "&lt;script&gt;" in page and "<u>" not in page


def test_a_control_without_facts_is_named_in_the_title():
    made = report(results([item()], [answered(item(), 1.0)], {}, {"model": "m", "without_context": True}))
    assert made.title == "m on HoloBench without its facts: benchmark" and "a control" in made.summary[0]


@needs_chromium
def test_its_page_is_readable(page):
    require_readable({"holobench": page.to_html()})
