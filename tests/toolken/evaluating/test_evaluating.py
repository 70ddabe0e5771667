"""The whole evaluation of a tiny model."""

import json
from dataclasses import replace

import pytest
import torch
from toolken_training import TOKENIZER, TOOLS, problems, tiny

from pydisp.progress import silence
from pydisp.subject import tokenizer_digest
from pydisp.toolken.evaluating.answering import AnswerSettings
from pydisp.toolken.evaluating.evaluating import _answered, evaluate
from pydisp.toolken.evaluating.figures import ORDER
from pydisp.toolken.evaluating.journal import JournalError
from pydisp.toolken.head import real_vocabulary
from pydisp.toolken.model_digest import model_digest
from pydisp.toolken.toolkens import Toolkens, ToolkensError
from pydisp.toolken.tools.tools import Tools

CALLABLE = Tools(replace(tool, function=f"pydisp.toolken.tools.arithmetic:{tool.name}") for tool in TOOLS)
SETTINGS = AnswerSettings(max_new_tokens=3, most_argument_tokens=2, batch_size=4)
PROBLEMS = problems(10)


def toolkens_of(model, seed: int, tools: Tools = CALLABLE) -> Toolkens:
    generator = torch.Generator().manual_seed(seed)
    size = model.get_input_embeddings().weight.shape[1]
    rows, second = (torch.randn(count, size, generator=generator) * 3 / size**0.5 for count in (len(tools), len(tools) + 1))
    base = {"name": "tiny", "digest": model_digest(model), "hidden_size": size}
    calibration = {"temperature": 1.3, "threshold": 0.4, "k": 2}
    return Toolkens(tools, rows, second, real_vocabulary(TOKENIZER, model), base, tokenizer_digest(TOKENIZER), calibration)


@pytest.fixture(scope="module")
def model():
    return tiny()


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    return tmp_path_factory.mktemp("work")


@pytest.fixture(scope="module")
def evaluated(model, work):
    sets = {seed: toolkens_of(model, seed) for seed in (3, 5)}
    return evaluate(
        model, sets, PROBLEMS, tokenizer=TOKENIZER, settings=SETTINGS, data="ten problems", left_out=["one was odd."], work=work
    )


def test_every_mode_has_its_figures(evaluated):
    values = evaluated.as_dict()
    assert values["curves"].keys() == evaluated.curves.keys() and json.dumps(values, allow_nan=False)
    assert list(values["modes"]) == ["none", "toolkengpt", "rerank", "reject", "calibrated", "no_docs", "shuffled_docs"]
    for mode, one in values["modes"].items():
        assert one["accuracy"] is not None and len(one["interval"]) == 2
        assert (one["selection"] is None) == (mode == "none") and one["counts_of"] == "answers"
    assert values["modes"]["none"]["calls"] == 0 and values["modes"]["toolkengpt"]["rejected"] == 0
    assert values["seeds"] == [3, 5] and values["k"] == 2 and values["data"] == "ten problems" and values["model"] == "tiny"
    assert values["problems"] == {
        "problems": 10, "groups": 10, "need_a_tool": 8, "answered": 10, "positions": values["problems"]["positions"], "gold_calls": 8,
    }  # fmt: skip
    assert values["left_out"] == ["one was odd."]
    json.dumps(values, allow_nan=False)


def test_all_steps_are_counted_once(evaluated):
    for mode, one in evaluated.figures.modes.items():
        if mode != "none":
            steps = sum(len(outcome.steps) for outcome in evaluated.outcomes if outcome.mode == mode)
            assert steps == 2 * sum(one.counts[name] for name in ("calls", "failed", "rejected", "repeated", "beyond"))
    assert sum(len(one.steps) for one in evaluated.outcomes) > 0


def test_a_run_that_goes_on_in_its_folder_gives_the_same_result(evaluated, model, work):
    sets = {seed: toolkens_of(model, seed) for seed in (3, 5)}
    again = evaluate(
        model, sets, PROBLEMS, tokenizer=TOKENIZER, settings=SETTINGS, data="ten problems", left_out=["one was odd."], work=work
    )
    assert again.as_dict() == evaluated.as_dict() and again.outcomes == evaluated.outcomes


def test_a_folder_of_another_run_is_refused(evaluated, model, work):
    with pytest.raises(JournalError, match="repeat it as it was"):
        evaluate(model, {3: toolkens_of(model, 3)}, PROBLEMS, tokenizer=TOKENIZER, settings=SETTINGS, work=work)


def test_answers_of_another_dtype_are_not_gone_on_with(evaluated, model, work):
    """The model's digest is the same, so that only the dtype tells them apart."""
    sets = {seed: toolkens_of(model, seed) for seed in (3, 5)}
    with pytest.raises(JournalError, match="dtype 'float32', this one has 'bfloat16'"):
        _answered(tiny().bfloat16(), TOKENIZER, PROBLEMS, sets, ORDER, 2, SETTINGS, work, True, silence)
    assert json.loads((work / "outcomes.partial").read_text().split("\n")[0])["device"] == "cpu"


def test_sets_that_are_no_repetitions_of_one_training_are_refused(model):
    one = replace(toolkens_of(model, 0), training={"settings": {"seed": 0, "k": 2, "steps": 5}})
    alike = replace(toolkens_of(model, 1), training={"settings": {"seed": 1, "k": 2, "steps": 5}})
    given = {"tokenizer": TOKENIZER, "modes": ["toolkengpt"], "answers": 0}
    assert evaluate(model, {0: one, 1: alike}, PROBLEMS, **given).seeds == (0, 1)
    with pytest.raises(
        ToolkensError, match="seed 0 were trained with steps 5, those of seed 1 with 6; give sets whose trainings differ by"
    ):
        evaluate(model, {0: one, 1: replace(alike, training={"settings": {"seed": 1, "k": 2, "steps": 6}})}, PROBLEMS, **given)
    with pytest.raises(ToolkensError, match="trained with k 2, those of seed 1 with None"):
        evaluate(model, {0: one, 1: replace(alike, training={})}, PROBLEMS, **given)
    with pytest.raises(ToolkensError, match="trained with documentation_tokens 40, those of seed 1 with 20"):
        evaluate(model, {0: one, 1: replace(alike, calibration={**alike.calibration, "documentation_tokens": 20})}, PROBLEMS, **given)
    other = Tools(replace(tool, documentation="Something else.") if tool.name == "add" else tool for tool in CALLABLE)
    with pytest.raises(ToolkensError, match="the tool 'add' is another one for seed 1 than for seed 0"):
        evaluate(model, {0: one, 1: replace(alike, tools=other)}, PROBLEMS, **given)


def test_selection_alone_writes_no_answers(model):
    found = evaluate(model, {0: toolkens_of(model, 0, TOOLS)}, PROBLEMS, tokenizer=TOKENIZER, modes=["reject", "none"], answers=0)
    assert (
        found.outcomes == () and list(found.figures.modes) == ["reject"] and found.as_dict()["modes"]["reject"]["counts_of"] == "positions"
    )
    assert found.as_dict()["modes"]["reject"]["failed"] is None and found.report.title == "Tools for tiny: problems"


def test_some_problems_are_answered_the_same_by_the_same_seed(model):
    sets = {0: toolkens_of(model, 0)}
    found = [
        {
            one.problem
            for one in evaluate(
                model, sets, PROBLEMS, tokenizer=TOKENIZER, modes=["none"], answers=4, settings=SETTINGS, seed=seed
            ).outcomes
        }
        for seed in (1, 1, 2)
    ]
    assert found[0] == found[1] != found[2] and len(found[0]) == 4


def test_tools_that_not_all_seeds_have_are_left_out_and_said(model):
    sets = {0: toolkens_of(model, 0), 1: toolkens_of(model, 1).without("multiply")}
    found = evaluate(model, sets, PROBLEMS, tokenizer=TOKENIZER, modes=["toolkengpt"], answers=0)
    assert found.tools == ("add", "subtract")
    assert found.left_out[0] == "1 tools are not in all 2 sets of toolkens and are left out: multiply."
    assert "call a tool that has no toolken" in found.left_out[1]


def test_the_model_is_as_it_was(model):
    model.train()
    modes = set()
    hook = model.register_forward_pre_hook(lambda module, _inputs: modes.add(module.training))
    before = {name: value.clone() for name, value in model.state_dict().items()}
    evaluate(model, {0: toolkens_of(model, 0)}, PROBLEMS[:4], tokenizer=TOKENIZER, modes=["toolkengpt"], settings=SETTINGS)
    assert model.training and all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    hook.remove()
    model.eval()
    assert modes == {False}


def test_problems_without_a_gold_answer_count_for_selection_only(model):
    some = [replace(one, answer=None) if number < 6 else one for number, one in enumerate(PROBLEMS)]
    found = evaluate(model, {0: toolkens_of(model, 0)}, some, tokenizer=TOKENIZER, modes=["none", "toolkengpt"], settings=SETTINGS)
    assert {one.problem for one in found.outcomes} == {one.id for one in some[6:]}
    assert found.figures.modes["toolkengpt"].estimate("selection").items == 8 and found.problems["answered"] == 4


@pytest.mark.parametrize("answers", [0, None])
def test_a_run_that_would_measure_nothing_is_refused_before_its_folder_is_asked_for(model, answers):
    asked = []
    unanswered = PROBLEMS if answers == 0 else [replace(one, answer=None) for one in PROBLEMS]
    with pytest.raises(
        ValueError, match="^nothing would be measured: the only mode is 'none', which calls no tool, and no answers are written"
    ):
        evaluate(
            model, {0: toolkens_of(model, 0)}, unanswered, tokenizer=TOKENIZER, modes=["none", "none"], answers=answers,
            work=lambda: asked.append("work"),
        )  # fmt: skip
    with pytest.raises(ValueError, match="nothing would be measured"):  # before the model is looked at
        evaluate(tiny(1), {0: toolkens_of(model, 0)}, unanswered, tokenizer=TOKENIZER, modes=["none"], answers=answers)
    assert not asked


def test_problems_that_cannot_be_used_are_no_answers_to_measure(model):
    strange = [replace(one, calls=(replace(one.calls[0], tool="cube"),)) if one.calls else replace(one, answer=None) for one in PROBLEMS]
    with pytest.raises(ValueError, match="nothing would be measured"):
        evaluate(model, {0: toolkens_of(model, 0)}, strange, tokenizer=TOKENIZER, modes=["none"])


def test_the_plain_model_alone_and_modes_given_twice(model, tmp_path):
    found = evaluate(model, {0: toolkens_of(model, 0)}, PROBLEMS, tokenizer=TOKENIZER, modes=["none", "none"], answers=4, settings=SETTINGS)
    assert list(found.figures.modes) == ["none"] and found.facts["modes"] == ["none"] and len(found.outcomes) == 4
    assert found.claims == [] and found.in_words().splitlines()[1].startswith("none: accuracy")
    found.report.write(tmp_path)
    assert "accuracy, none" in (tmp_path / "report.json").read_text()


def test_what_cannot_be_evaluated_is_one_sentence(model):
    sets = {0: toolkens_of(model, 0)}
    with pytest.raises(ToolkensError, match="made for tiny"):
        evaluate(tiny(1), sets, PROBLEMS, tokenizer=TOKENIZER, answers=0)
    with pytest.raises(ToolkensError, match="there are no toolkens"):
        evaluate(model, {}, PROBLEMS, tokenizer=TOKENIZER)
    with pytest.raises(ToolkensError, match="no tool is in all 2 sets"):
        others = toolkens_of(model, 1).without("add").without("subtract")
        evaluate(model, {0: sets[0].without("multiply"), 1: others}, PROBLEMS, tokenizer=TOKENIZER)
    with pytest.raises(ValueError, match="mode is 'guess'"):
        evaluate(model, sets, PROBLEMS, tokenizer=TOKENIZER, modes=["guess"])
    with pytest.raises(ValueError, match="no mode is given"):
        evaluate(model, sets, PROBLEMS, tokenizer=TOKENIZER, modes=[])
    with pytest.raises(ValueError, match="k is 4, but there are 3 tools"):
        evaluate(model, sets, PROBLEMS, tokenizer=TOKENIZER, k=4)
    strange = [replace(one, calls=(replace(one.calls[0], tool="cube"),)) for one in PROBLEMS if one.calls]
    with pytest.raises(ValueError, match="none of 8 problems can be evaluated"):
        evaluate(model, sets, strange, tokenizer=TOKENIZER)


def test_a_folder_that_a_function_gives_is_asked_for_after_the_checks_and_before_the_model_reads(tmp_path):
    model, order = tiny(), []
    model.register_forward_pre_hook(lambda *given: order.append("read"))

    def work():
        order.append("asked")
        return tmp_path

    settings = {"tokenizer": TOKENIZER, "modes": ["reject"], "answers": 0, "work": work}
    with pytest.raises(ToolkensError, match="made for tiny"):
        evaluate(tiny(1), {0: toolkens_of(model, 0)}, PROBLEMS, **settings)
    assert not order
    evaluate(model, {0: toolkens_of(model, 0)}, PROBLEMS, **settings)
    assert order[:2] == ["asked", "read"] and order.count("asked") == 1 and (tmp_path / "first").is_dir()
