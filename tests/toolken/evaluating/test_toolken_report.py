"""The page of an evaluation."""

import json
from dataclasses import replace

import numpy as np
import pytest
from browser_page import needs_chromium, require_readable, require_whole
from toolken_results import TOOLS, decided_of, outcomes_of, positions_of

from pydisp.report.words import value_text
from pydisp.toolken.evaluating.calibration_curves import calibration_curves
from pydisp.toolken.evaluating.evaluated import Evaluated
from pydisp.toolken.evaluating.example_traces import cell, example_tables, step_words
from pydisp.toolken.evaluating.figures import figures
from pydisp.toolken.evaluating.outcomes import Outcome
from pydisp.toolken.evaluating.pictures import confusion_map


def evaluated_of(seeds: int = 3, *, has_answers: bool = True, problems: int = 60, **values) -> Evaluated:
    positions = [positions_of(seed=seed, problems=problems) for seed in range(seeds)]
    decided = decided_of(positions)
    outcomes = outcomes_of(positions, decided) if has_answers else []
    curves = {mode: one for mode, of in decided.items() if (one := calibration_curves(positions, of)) is not None}
    found = dict(
        model="SmolLM2", data="builtin:b", tools=TOOLS, seeds=tuple(range(seeds)), k=3, figures=figures(positions, decided, outcomes, k=3), curves=curves,
        outcomes=tuple(outcomes), prompts={f"p{number}": f"Question: What is {number} minus 0?\nAnswer:" for number in range(problems)},
        problems={"problems": problems, "groups": problems // 2, "need_a_tool": 45, "answered": problems if has_answers else 0},
        left_out=("12 problems have no answer.",), calibrations=({"temperature": 1.2, "threshold": 0.6, "positions": 321, "fired": 45},) * seeds, facts={"seed": 0},
    )  # fmt: skip
    return Evaluated(**{**found, **values})


@pytest.fixture(scope="module")
def evaluated() -> Evaluated:
    return evaluated_of()


def titles(report) -> list[str]:
    return [section.title for section in report.sections]


def test_the_page_has_its_sections_and_is_written(evaluated, tmp_path):
    report = evaluated.report
    assert titles(report) == [
        "Accuracy", "Selection", "Calls", "Claims", "Differences", "Confidence", "Confusion of tools", "Examples", "What it was run on",
        "How it was measured",
    ]  # fmt: skip
    report.write(tmp_path)
    page = (tmp_path / "report.html").read_text()
    for words in (
        "too weak to tell",
        "12 problems have no answer.",
        "Korn and Graubard",
        "always the commonest one",
        "toolkengpt",
        "never an abstention",
        "A limit of the controls",
    ):
        assert words in page
    facts = json.loads((tmp_path / "report.json").read_text())["facts"]
    assert facts["result"]["modes"]["calibrated"]["accuracy"] == evaluated.as_dict()["modes"]["calibrated"]["accuracy"]


def test_cards_have_a_decimal(evaluated):
    values = {one.name: one for one in evaluated.report.metrics}
    estimate = evaluated.main_mode.estimate("accuracy")
    card = values["accuracy, calibrated"]
    assert 100 * estimate.value != round(100 * estimate.value), "the case is void"
    assert (card.value, card.interval, card.decimals) == (100 * estimate.value, tuple(100 * end for end in estimate.interval), 1)
    low, high = estimate.interval
    assert value_text(card) == f"{100 * estimate.value:.1f} [{100 * low:.1f}, {100 * high:.1f}]"
    plain = 100 * evaluated.figures.modes["none"].estimate("accuracy").value
    assert card.note == f"plain model {plain:.1f} %"


def test_the_calibration_says_on_how_many_positions_it_was_chosen(evaluated):
    section = next(section for section in evaluated.report.sections if section.title == "What it was run on")
    (table,) = [part for part in section.parts if not isinstance(part, str)]
    assert table.columns[-2:] == ("validation positions", "of these a tool on top") and table.rows[0][-2:] == (321, 45)


def test_differences_leave_out_that_the_plain_model_calls_nothing(evaluated):
    section = next(section for section in evaluated.report.sections if section.title == "Differences")
    rows = {row[:2] for row in section.parts[1].rows}
    assert ("reject - none", "accuracy") in rows and ("reject - toolkengpt", "unneeded calls") in rows
    assert not any(modes.endswith("- none") and "unneeded" in measure for modes, measure in rows)
    assert not any("teacher-forced" in measure for _, measure in rows)


def test_the_same_results_give_the_same_bytes(evaluated):
    assert evaluated.report.to_json() == evaluated_of().report.to_json()


def test_without_answers_the_page_says_so_and_has_no_examples():
    report = evaluated_of(has_answers=False).report
    assert "Examples" not in titles(report) and "teacher-forced selection only" in report.sections[0].parts[0]
    calls = next(section for section in report.sections if section.title == "Calls")
    assert "labelled positions" in " ".join(part for part in calls.parts if isinstance(part, str))


def test_with_one_seed_nothing_is_said_of_others():
    report = evaluated_of(1).report
    claims = next(section for section in report.sections if section.title == "Claims")
    assert "with other seeds" not in claims.parts[0].columns
    assert "With one seed nothing is known of other trainings." in report.to_json()


def test_a_map_of_many_tools_becomes_a_table():
    found = evaluated_of()
    names = tuple(f"tool_{number}" for number in range(40))
    confusion = np.zeros((40, 42), dtype=np.int64)
    confusion[np.arange(40), np.arange(40)] = 5
    confusion[3, 4] = 2
    modes = {mode: replace(one, confusion=confusion) if one.confusion is not None else one for mode, one in found.figures.modes.items()}
    report = replace(found, tools=names, figures=replace(found.figures, modes=modes)).report
    section = next(section for section in report.sections if section.title == "Confusion of tools")
    assert section.parts[1].rows == (("tool_3", "tool_4", 2),) and "40 tools is left out" in section.parts[0]


@needs_chromium
@pytest.mark.parametrize("letters", (8, 12, 28, 64))
def test_no_name_of_a_tool_is_cut_in_a_map(letters):
    def names(count):
        return [f"{number}{'m' * letters}"[:letters] for number in range(count)]

    require_whole(
        {
            f"{count} tools": confusion_map(np.full((count, count + 2), 3), names(count), [*names(count), "no tool on top", "rejected"])
            for count in (1, 3, 20)
        }
    )


def test_only_the_plain_model_makes_a_page():
    outcomes = tuple(one for one in evaluated_of().outcomes if one.mode == "none")
    report = evaluated_of(figures=figures([], {}, outcomes, k=3), curves={}, outcomes=outcomes).report
    assert "No claim could be tried." in report.summary and "Selection" not in titles(report)


def test_examples_are_of_four_kinds(evaluated):
    mine = [one for one in evaluated.outcomes if one.mode == "calibrated" and one.seed == 0]
    tables = {table.title: table for table in example_tables(mine, evaluated.prompts)}
    assert "Right, with a call" in tables and "A call was tried and failed" in tables and "A tool was on top and was rejected" in tables
    assert all(len(table.rows) <= 3 for table in tables.values())
    assert tables["Right, with a call"].rows[0][0].startswith("What is ")


def test_steps_in_words():
    step = {"tool": "divide", "arguments": "1, 0", "confidence": 0.5, "result": "7", "error": "no"}
    assert step_words({**step, "outcome": "called"}) == "divide(1, 0) -> 7 (0.50)"
    assert step_words({**step, "outcome": "failed"}) == "divide(1, 0) failed: no"
    assert step_words({**step, "outcome": "rejected", "error": None}) == "divide rejected (0.50)"
    assert step_words({**step, "outcome": "repeated"}) == "divide(1, 0) repeated, broken off"
    assert step_words({**step, "outcome": "beyond"}) == "divide: beyond the most calls of a text"


def test_a_result_without_room_is_no_call_over_the_most():
    step = {"tool": "power", "arguments": "2, 99", "outcome": "beyond", "needed": 30}
    assert step_words(step) == "power(2, 99) has no room: 30 tokens"
    assert step_words({**step, "needed": None}) == "power: beyond the most calls of a text"


def test_hostile_texts_are_harmless_on_the_page(tmp_path):
    text = " 84<script>alert(1)</script>\x1b[31m\u202e" + "x" * 400
    one = Outcome(
        "p", "g", "calibrated", 0, ("add",), text, text, "84", False, False, steps=({"outcome": "called", "tool": "add", "result": text},)
    )
    report = evaluated_of(figures=figures([], {}, [one], k=3), curves={}, outcomes=(one,), prompts={"p": text}).report
    report.write(tmp_path)
    page = (tmp_path / "report.html").read_text()
    assert "<script>alert" not in page and "\x1b" not in page and "\u202e" not in page
    assert len(cell(text)) < 300


def test_values_for_json_have_every_figure_and_no_nan(evaluated):
    values = evaluated.as_dict()
    json.dumps(values, allow_nan=False)
    assert values["format"] == "pydisp-toolken-evaluation-1" and values["claims"][0]["verdict"] == "holds" and values["seeds"] == [0, 1, 2]


def test_a_line_for_each_mode(evaluated):
    lines = evaluated.in_words().splitlines()
    assert lines[0] == "SmolLM2, builtin:b: 60 problems" and lines[1].startswith("none: accuracy ") and "unneeded calls in" in lines[2]


@needs_chromium
def test_its_page_is_readable(evaluated):
    require_readable({"toolken": evaluated.report.to_html()})
