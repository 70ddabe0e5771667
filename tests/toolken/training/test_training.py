"""Training: from problems to toolkens, the same bytes for the same seed, refused before the work where it cannot be."""

from dataclasses import replace

import pytest
import torch
from toolken_training import TOKENIZER, TOOLS, problems, tiny

from pydisp.toolken.documentation import Documentation
from pydisp.toolken.head import ToolkenHead
from pydisp.toolken.problems.labels import label
from pydisp.toolken.problems.problem import GoldCall, Problem
from pydisp.toolken.toolkens import ToolkensError, encoding_digest
from pydisp.toolken.tools.tool import Tool, ToolError
from pydisp.toolken.tools.tools import Tools
from pydisp.toolken.training import second_pass, training
from pydisp.toolken.training.fitting import FitSettings
from pydisp.toolken.training.rerank import choose_examples
from pydisp.toolken.training.training import TrainSettings, train

QUICK = TrainSettings(
    k=2, first=FitSettings(learning_rate=0.02, epochs=40), second=FitSettings("whitened", 0.02, weight_decay=0.1, epochs=20)
)
PROBLEMS = problems(48)


def trained(model=None, tools=TOOLS, some=PROBLEMS, settings=QUICK, **changes):
    return train(model or tiny(), tools, some, tokenizer=TOKENIZER, settings=settings, **changes)


@pytest.fixture(scope="module")
def toolkens():
    return trained()


def test_toolkens_fit_the_model_and_state_their_facts(toolkens):
    model = tiny()
    toolkens.check(model, TOKENIZER)
    assert toolkens.encoding_digest == encoding_digest(TOKENIZER)
    assert toolkens.tools == TOOLS and toolkens.rows.shape == (3, 32) and toolkens.rerank_rows.shape == (4, 32)
    assert toolkens.base["name"] == "llama" and toolkens.vocabulary == 257
    assert toolkens.calibration["k"] == 2 and toolkens.calibration["temperature"] > 0
    facts = toolkens.training
    assert sum(facts["problems"].values()) == 48 and facts["left_out"] == []
    assert facts["first"]["validation_loss"] < facts["first"]["first_validation_loss"]
    assert facts["settings"]["k"] == 2 and facts["settings"]["first"]["epochs"] == 40
    assert set(facts) == {"settings", "left_out", "notes", "problems", "positions", "reranked", "first", "second", "trained_on"}  # no times


def test_what_tools_and_training_leave_to_wish_is_said():
    long = Tool("add", "The sum of two numbers. " * 3, function="toolken_sample_tools:half")
    said = []
    settings = replace(
        QUICK, first=replace(QUICK.first, epochs=2), second=replace(QUICK.second, epochs=300, patience=1), documentation_tokens=62
    )
    found = trained(tools=Tools([long, *TOOLS.without("add")]), settings=settings, say=said.append)
    wanted = [
        "2 tools (subtract, multiply) have no function: such a tool can be chosen, and not called.",
        "The tool 'add' has a documentation of more than 62 tokens, of which these are read.",
        "The validation loss of the first rows was still falling after all 2 epochs; give more problems, or more epochs in Python, with "
        "TrainSettings(first=FitSettings(epochs=...)).",
    ]
    assert found.training["notes"] == wanted and [one for one in said if one in wanted] == wanted


def test_documentation_has_the_room_of_the_training_later_too(toolkens):
    assert toolkens.calibration["documentation_tokens"] == 40
    assert trained(settings=replace(QUICK, documentation_tokens=7)).calibration["documentation_tokens"] == 7


def test_the_problems_of_both_parts_are_known_afterwards(toolkens):
    unused = Problem("alone", "Question: What is 8 over 2?\nAnswer:", " 4", (GoldCall("divide", "8, 2", 1, 2),))
    paraphrase = replace(PROBLEMS[0], id="other", prompt="Question: And what is 17 plus 2?\nAnswer:", group=PROBLEMS[0].id)
    tools = Tools([*TOOLS, Tool("divide", "The quotient of two numbers.")])
    for seed in range(3):  # the seed decides the part in which the unused tool's problem is
        found = trained(some=[*PROBLEMS, unused, paraphrase], tools=tools, settings=replace(QUICK, seed=seed))
        expected = {digest for problem in [*PROBLEMS, paraphrase] for digest in problem.digests}
        assert found.trained_on - set(unused.digests) == expected
        assert (unused.digests[0] in found.trained_on) == ("divide" in found.tools)
    assert toolkens.training["trained_on"] == sorted(digest for problem in PROBLEMS for digest in problem.digests)


def test_all_words_of_validation_are_read_whatever_the_training_draws(toolkens):
    lines = []
    few = trained(say=lines.append, settings=replace(QUICK, most_words=5, first=FitSettings(epochs=1), second=FitSettings(epochs=1)))
    counts = few.training["positions"]
    assert counts["validation"] == toolkens.training["positions"]["validation"]
    assert counts["train"]["words"] < toolkens.training["positions"]["train"]["words"]
    assert few.calibration["positions"] == sum(counts["validation"].values())
    assert few.calibration["fired"] < 20 and few.calibration["note"] in lines


def test_a_folder_that_a_function_gives_is_asked_for_after_the_checks_and_before_the_model_reads(tmp_path):
    model, order = tiny(), []
    model.register_forward_pre_hook(lambda *given: order.append("read"))

    def work():
        order.append("asked")
        return tmp_path

    with pytest.raises(ToolkensError):
        trained(model, settings=replace(QUICK, k=4), work=work)
    with pytest.raises(ToolkensError):
        trained(tiny(context_tokens=50), work=work)
    headless = tiny()
    headless.get_output_embeddings = lambda: None
    with pytest.raises(ValueError, match="no output embeddings"):
        trained(headless, work=work)
    cacheless, plain = tiny(), type(model).forward
    cacheless.forward = lambda input_ids, use_cache=None, logits_to_keep=0: plain(cacheless, input_ids, logits_to_keep=logits_to_keep)
    with pytest.raises(ValueError, match="takes no key-value cache"):
        trained(cacheless, work=work)
    assert not order
    trained(model, work=work)
    assert order[:2] == ["asked", "read"] and order.count("asked") == 1 and list(tmp_path.iterdir())


def test_texts_without_room_for_the_documentation_are_left_out_before_the_work():
    long = [replace(problem, id=f"long {problem.id}", group="", prompt="So. " * 100 + problem.prompt) for problem in PROBLEMS[:5]]
    longest = max(len(label(problem, TOKENIZER, TOOLS).ids) for problem in PROBLEMS)
    context = longest + Documentation(TOKENIZER, TOOLS).least(2)
    found = trained(tiny(context_tokens=context), some=[*PROBLEMS, *long])
    (sentence,) = found.training["left_out"]
    assert (
        sentence.startswith(f"5 of 53 problems are left out, for the context of {context} tokens has no room")
        and "the first: long p0" in sentence
    )
    assert found.trained_on == {digest for problem in PROBLEMS for digest in problem.digests}
    unused = Tools([*TOOLS, Tool("never_called_" + "x" * 40, "It takes no room.")])
    assert trained(tiny(context_tokens=context), tools=unused).trained_on == found.trained_on
    shorter = trained(tiny(context_tokens=context - 1), settings=replace(QUICK, first=FitSettings(epochs=1), second=FitSettings(epochs=1)))
    assert shorter.training["left_out"] and len(shorter.trained_on) < 48
    with pytest.raises(ToolkensError, match="no problem is left to train on: 48 of 48 problems are left out"):
        trained(tiny(context_tokens=60))


def test_a_tool_fires_more_where_it_is_needed(toolkens):
    model = tiny()
    needed, other = [], []
    for problem in PROBLEMS:
        ids = label(problem, TOKENIZER, TOOLS)
        with ToolkenHead(model, toolkens.rows, 257), torch.no_grad():
            logits = model(torch.tensor([ids.ids[: ids.first]])).logits[0, -1]
        (needed if problem.calls else other).append(torch.softmax(logits, -1)[257:].sum().item())
    assert sum(needed) / len(needed) > 2 * sum(other) / len(other)


def test_the_same_seed_gives_the_same_bytes(toolkens, tmp_path):
    toolkens.save(tmp_path / "one")
    trained().save(tmp_path / "two")
    for file in (tmp_path / "one").iterdir():
        assert file.read_bytes() == (tmp_path / "two" / file.name).read_bytes()
    assert not torch.equal(trained(settings=replace(QUICK, seed=1)).rows, toolkens.rows)


def test_a_stopped_run_goes_on_with_what_is_cached(toolkens, tmp_path, monkeypatch):
    read = second_pass.after_documentation
    monkeypatch.setattr(second_pass, "after_documentation", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        trained(work=tmp_path)
    monkeypatch.setattr(second_pass, "after_documentation", read)
    calls = []
    model = tiny()
    model.register_forward_pre_hook(lambda *given: calls.append(1))
    again = trained(model, work=tmp_path)
    assert torch.equal(again.rows, toolkens.rows) and torch.equal(again.rerank_rows, toolkens.rerank_rows)
    first = len(calls)
    trained(model, work=tmp_path)
    assert len(calls) - first == 1 < first  # the form of its logits is always read


def test_the_model_is_as_before(toolkens):
    model = tiny().train()
    model.model.norm.eval()
    modes = set()
    model.register_forward_pre_hook(lambda module, _: modes.add(module.training))
    before = {name: value.clone() for name, value in model.named_parameters()}
    again = trained(model)
    assert torch.equal(again.rows, toolkens.rows) and modes == {False}
    assert model.training and model.model.layers[0].training and not model.model.norm.training
    assert not model.lm_head._forward_hooks
    assert all(torch.equal(value, before[name]) and value.grad is None for name, value in model.named_parameters())


def test_the_gold_tool_is_put_among_the_candidates_for_training_only(monkeypatch):
    given = []

    def watched(*args, **settings):
        given.append((settings["put_gold"], settings["most"]))
        return choose_examples(*args, **settings)

    monkeypatch.setattr(training, "choose_examples", watched)
    trained(settings=replace(QUICK, most_reranked=7))
    assert given == [(True, 7), (False, None)]


def test_a_padded_head_gives_the_rows_of_the_plain_one(toolkens):
    padded = tiny(head_rows=320)
    with torch.no_grad():
        padded.lm_head.weight[257:] += 3
    again = trained(padded)
    assert again.vocabulary == 257
    torch.testing.assert_close(again.rows, toolkens.rows, rtol=1e-3, atol=1e-4)


def test_tools_without_problems_are_left_out_and_named():
    more = Tools([Tool("divide", "The quotient of two numbers."), *TOOLS])
    lines = []
    found = trained(tools=more, say=lines.append)
    sentence = "1 of 4 tools is called by no training problem, so without a toolken: divide; give more problems, or such that call them."
    assert found.tools == TOOLS and found.training["left_out"] == [sentence]
    assert sentence in lines


def test_problems_that_cannot_be_labelled_are_counted():
    empty = Problem("empty", "", " 4", (GoldCall("add", "2, 2", 1, 2),))
    inside = Problem("inside", "Question: 2?\nAnswer:", " 4 and 5", (GoldCall("add", "2, 2", 1, 1),))
    found = trained(some=[*PROBLEMS, inside, empty])
    assert len(found.training["left_out"]) == 1
    assert found.training["left_out"][0].startswith("1 of 50 problems cannot be labelled and are left out; the first: problem 'inside'")


def test_k_above_the_number_of_tools_is_refused_before_the_work():
    model = tiny()
    model.forward = None
    with pytest.raises(ToolkensError, match="k is 4, but there are 3 tools"):
        trained(model, settings=replace(QUICK, k=4))
    only = [problem for problem in PROBLEMS if not problem.calls or problem.calls[0].tool == "add"]
    with pytest.raises(ToolkensError, match="k is 2, but there is 1 tool that problems call"):
        trained(model, some=only)


def test_problems_that_teach_nothing_are_refused_before_the_work():
    model = tiny()
    model.forward = None
    plain = [problem for problem in PROBLEMS if not problem.calls]
    with pytest.raises(ToolkensError, match="none of .* training problems calls a tool"):
        trained(model, some=plain)
    with pytest.raises(ToolkensError, match="none of .* validation problems calls a tool that is trained"):
        trained(
            model,
            some=[*plain, *(problem for problem in PROBLEMS if problem.calls)][:20],
            settings=replace(QUICK, validation_share=0.06, seed=2),
        )
    with pytest.raises(ToolError, match="there is no tool 'add'"):
        trained(model, tools=TOOLS.without("add"))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"k": 0}, "k is 0"),
        ({"seed": -1}, "seed is -1"),
        ({"documentation_tokens": 1.5}, "documentation_tokens is 1.5"),
        ({"batch_tokens": True}, "batch_tokens is True"),
        ({"most_words": 0}, "most_words is 0"),
        ({"most_reranked": "all"}, "most_reranked is 'all'"),
        ({"validation_share": 1.0}, "validation_share is 1.0"),
    ],
)
def test_settings_out_of_range_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        TrainSettings(**changes)


def test_without_a_k_three_tools_are_reranked_or_as_many_as_problems_call():
    only = [problem for problem in PROBLEMS if not problem.calls or problem.calls[0].tool == "add"]
    settings = replace(QUICK, k=None)
    assert trained(settings=settings).k == 3 and trained(settings=settings, some=only).k == 1


def test_solutions_without_words_are_told():
    bare = [
        Problem(f"b{place}", one.prompt, one.solution.split(" cups")[0], one.calls, one.answer)
        for place, one in enumerate(PROBLEMS)
        if one.calls
    ]
    lines = []
    found = trained(some=bare, say=lines.append)
    assert any("no word besides the results" in line for line in lines) and "no word besides" in found.training["left_out"][-1]
    assert not any("no word" in sentence for sentence in trained().training["left_out"])
