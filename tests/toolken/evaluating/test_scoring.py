"""Scores of all seeds at the labelled positions of test problems, from one pass over the model."""

from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from families import tiny_model
from toolken_training import TOKENIZER, TOOLS, problems, tiny

from pydisp.subject import tokenizer_digest
from pydisp.toolken.decisions import Policy
from pydisp.toolken.decoding.generating import generate
from pydisp.toolken.decoding.tool_mode import Written
from pydisp.toolken.documentation import Documentation
from pydisp.toolken.evaluating.scoring import documentation_room, scored_positions, usable
from pydisp.toolken.evaluating.selection import NONE, decide
from pydisp.toolken.head import ToolkenHead, real_vocabulary
from pydisp.toolken.model_digest import model_digest
from pydisp.toolken.problems.labels import label
from pydisp.toolken.problems.problem import GoldCall, Problem
from pydisp.toolken.toolkens import Toolkens
from pydisp.toolken.tools.tool import Parameter, Tool
from pydisp.toolken.tools.tools import Tools
from pydisp.toolken.training.features import read_texts

K, KINDS = 2, ("own", "none", "shuffled")
CALLABLE = Tools(replace(tool, function="not:called") for tool in TOOLS)


def toolkens_of(model, seed: int, scale: float = 3.0, tools: Tools = TOOLS, **calibration) -> Toolkens:
    """Random rows that are above every word at some positions."""
    generator = torch.Generator().manual_seed(seed)
    size = model.get_input_embeddings().weight.shape[1]
    rows, second = (torch.randn(count, size, generator=generator) * scale / size**0.5 for count in (len(TOOLS), len(TOOLS) + 1))
    base = {"name": "tiny", "digest": model_digest(model), "hidden_size": size}
    return Toolkens(
        tools,
        rows,
        second,
        real_vocabulary(TOKENIZER, model),
        base,
        tokenizer_digest(TOKENIZER),
        {"temperature": 1.3, "threshold": 0.5, "k": K, **calibration},
    )


@pytest.fixture(scope="module")
def model():
    return tiny()


@pytest.fixture(scope="module")
def scored(model, tmp_path_factory):
    toolkens = [toolkens_of(model, seed, scale) for seed, scale in ((0, 3.5), (1, 3.0))]
    kept, labelled, left_out = usable(problems(12), TOKENIZER, TOOLS, model, kinds=KINDS, k=K)
    assert not left_out
    arguments = {"kinds": ("own", "none", "shuffled"), "k": K}
    both = scored_positions(model, TOKENIZER, toolkens, kept, labelled, folder=tmp_path_factory.mktemp("both"), **arguments)
    alone = scored_positions(model, TOKENIZER, toolkens[1:], kept, labelled, folder=tmp_path_factory.mktemp("alone"), **arguments)
    return toolkens, kept, labelled, both, alone


def places(scored) -> list[tuple[int, int]]:
    """(problem, place) of each position, from the labels."""
    _, _, labelled, _, _ = scored
    return [
        (number, one.first + offset) for number, one in enumerate(labelled) for offset, target in enumerate(one.targets) if target != -2
    ]


def test_first_scores_are_the_logits_of_the_head_at_every_label(model, scored):
    toolkens, _, labelled, both, _ = scored
    at = places(scored)
    assert len(at) == len(both[0].gold)
    for one, positions in zip(toolkens, both, strict=True):
        with ToolkenHead(model, one.rows, one.vocabulary), torch.no_grad():
            logits = [model(torch.tensor([labelled[problem].ids[:place]])).logits[0, -1] for problem, place in at]
        logits = torch.stack(logits)
        tools = slice(one.vocabulary, one.vocabulary + len(TOOLS))
        torch.testing.assert_close(torch.as_tensor(positions.first), logits[:, tools], atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(torch.as_tensor(positions.best_word), logits[:, : one.vocabulary].amax(1), atol=1e-5, rtol=1e-5)


def test_second_scores_are_read_behind_the_documentation_where_a_tool_fires(model, scored):
    toolkens, _, labelled, both, _ = scored
    at = places(scored)
    for one, positions in zip(toolkens, both, strict=True):
        fired = decide(positions, Policy("toolkengpt", K)).fired
        assert 0 < fired.sum() < len(fired)
        for kind in ("own", "none", "shuffled"):
            documentation = Documentation(TOKENIZER, TOOLS, kind)
            scores = torch.as_tensor(positions.second[kind])
            assert (scores.isnan().all(1) == torch.as_tensor(~fired)).all() and (scores.isnan().any(1) == torch.as_tensor(~fired)).all()
            for row in fired.nonzero()[0]:
                problem, place = at[row]
                best = torch.as_tensor(positions.first[row]).sort(descending=True, stable=True).indices[:K].tolist()
                text = [*labelled[problem].ids[:place], *documentation.ids(best, 2000)]
                hidden, _ = read_texts(model, [text], torch.tensor([0]), torch.tensor([len(text) - 1]))
                torch.testing.assert_close(scores[row], (one.rerank_rows @ hidden[0])[[*best, -1]], atol=1e-4, rtol=1e-4)


def test_a_seed_has_the_same_scores_alone_and_beside_others(scored):
    *_, both, (alone,) = scored
    for kind, scores in alone.second.items():
        torch.testing.assert_close(torch.as_tensor(both[1].second[kind]), torch.as_tensor(scores), atol=1e-5, rtol=1e-5, equal_nan=True)
    assert (both[1].first == alone.first).all() and (both[0].first != both[1].first).any()


def test_gold_tools_and_problems_are_those_of_the_labels(scored):
    _, kept, labelled, (positions, _), _ = scored
    for row, (problem, place) in enumerate(places(scored)):
        assert positions.problem[row] == problem
        assert positions.gold[row] == max(labelled[problem].targets[place - labelled[problem].first], -1)
    assert positions.groups == tuple(one.group for one in kept) and positions.needs_tool.tolist() == [bool(one.calls) for one in kept]


def of_kind(kind: str):
    """Models whose logits come about in other ways."""
    if kind.startswith("softcap"):
        model = tiny_model("gemma2", dtype=torch.float32, vocab_size=257, max_position_embeddings=2048, bos_token_id=0, eos_token_id=0,
                           final_logit_softcapping=4.0)  # fmt: skip
    else:
        model = tiny(head_rows=272 if "padded" in kind else 257)
    return model.bfloat16() if "bfloat16" in kind else model


KINDS_OF_MODEL = ["llama", "bfloat16", "padded head", "softcap", "softcap, bfloat16"]


class GoldResults:
    """Writer and caller of decoding in one: whichever tool is called gives the gold result of its problem."""

    def __init__(self, kept):
        self.results = {one.prompt: one.solution[one.calls[0].start : one.calls[0].end] if one.calls else "7" for one in kept}

    def write(self, asked):
        return [Written(next(result for prompt, result in self.results.items() if prompt in text)) for text, _ in asked]

    def call(self, name, arguments):
        return SimpleNamespace(text=arguments, error=None, kind="done", seconds=0.0)


@pytest.fixture(scope="module", params=KINDS_OF_MODEL)
def other(request, tmp_path_factory):
    model = of_kind(request.param)
    found = {}
    for seed in (0, 1):
        one = toolkens_of(model, seed, 3.5, tools=CALLABLE)
        kept, labelled, _ = usable(problems(24), TOKENIZER, CALLABLE, model, kinds=KINDS, k=K)
        folder = tmp_path_factory.mktemp("other")
        (positions,) = scored_positions(model, TOKENIZER, [one], kept, labelled, kinds=KINDS, k=K, folder=folder)
        found[seed] = one, kept, labelled, positions
    return request.param, model, found


def test_first_scores_are_rounded_as_the_head_rounds_them(other):
    """Tools are compared with words that have the model's dtype: an unrounded score would win ties that decoding loses."""
    name, model, found = other
    one, _, labelled, positions = found[0]
    first = torch.as_tensor(positions.first)
    assert torch.equal(first, first.to(model.dtype).float())
    with ToolkenHead(model, one.rows, one.vocabulary), torch.no_grad():
        logits = model(torch.tensor([labelled[0].ids])).logits[0]
    assert logits.shape[1] == model.get_output_embeddings().weight.shape[0] + len(TOOLS)
    place, here = labelled[0].first, slice(one.vocabulary, one.vocabulary + len(TOOLS))
    tolerance = 4 * torch.finfo(model.dtype).eps * logits.abs().max().item()
    torch.testing.assert_close(first[0], logits[place - 1, here].float(), atol=max(tolerance, 1e-5), rtol=0)


@pytest.mark.parametrize("mode", ["toolkengpt", "rerank", "reject", "calibrated", "no_docs", "shuffled_docs"])
def test_decoding_decides_alike_at_the_first_token_and_behind_a_result(other, mode):
    name, model, found = other
    seen = {"first": 0, "behind": 0, "fired behind": 0, "called": 0}
    for one, kept, labelled, positions in found.values():
        gold = GoldResults(kept)
        generated = generate(
            model,
            TOKENIZER,
            one,
            [problem.prompt for problem in kept],
            mode=mode,
            writer=gold,
            caller=gold,
            max_new_tokens=8,
            do_sample=False,
        )
        done = decide(positions, one.policy(mode))
        rows = {key: row for row, key in enumerate((number, place) for number, of in enumerate(labelled) for place in labelled_places(of))}
        for number, (of, trace) in enumerate(zip(labelled, generated.traces, strict=True)):
            steps = {step.place: step for step in reversed(trace.steps)}  # the first at each place
            seen["first"] += agrees(rows[number, of.first], steps.get(0), positions, done, model.dtype)
            if 0 not in steps or steps[0].outcome != "called" or not kept[number].calls:
                continue
            seen["called"] += 1
            behind = 1 + len(kept[number].solution[kept[number].calls[0].start : kept[number].calls[0].end])  # bytes
            row = rows.get((number, of.first + behind))
            if row is not None:
                seen["behind"] += agrees(row, steps.get(behind), positions, done, model.dtype)
                seen["fired behind"] += behind in steps
    assert seen["first"] > 15 and seen["called"] and seen["behind"] and (mode == "calibrated" or seen["fired behind"]), seen


def labelled_places(one) -> list[int]:
    return [one.first + offset for offset, target in enumerate(one.targets) if target != -2]


def agrees(row: int, step, positions, done, dtype) -> bool:
    """Whether decoding did at this position what was decided from the scores; False where it is too near to be told in bfloat16."""
    tolerance = 0 if dtype == torch.float32 else 8 * torch.finfo(dtype).eps
    ordered = sorted([*positions.first[row].tolist(), float(positions.best_word[row])])
    if min(high - low for low, high in zip(ordered, ordered[1:], strict=False)) <= tolerance * abs(ordered[-1]):
        return False
    assert bool(step) == bool(done.fired[row])
    if step is not None and dtype == torch.float32:
        called = None if done.tool[row] == NONE else TOOLS.names[done.tool[row]]
        assert (None if step.outcome == "rejected" else step.tool) == called
        assert step.confidence == pytest.approx(done.confidence[row], abs=1e-4)
    elif step is not None:
        assert step.confidence == pytest.approx(done.confidence[row], abs=0.05)
    return True


def test_what_cannot_be_scored_is_left_out_and_said(model):
    unknown = Problem("u", "Question: ?\nAnswer:", " 7", (GoldCall("cube", "1", 1, 2),), "7")
    long = Problem("l", "word " * 500, " 7", answer="7")
    empty = replace(problems(1)[0], id="fine")
    kept, labelled, left_out = usable([unknown, long, empty], TOKENIZER, TOOLS, tiny(context_tokens=600), kinds=KINDS, k=K)
    assert [one.id for one in kept] == ["fine"] and len(labelled) == 1
    assert left_out == [
        "1 problems call a tool that has no toolken and are left out; the first: u.",
        "1 problems leave no room in the context for the documentation and are left out; the first: l.",
    ]


def test_a_text_is_left_out_where_the_longest_tools_in_tokens_have_no_room():
    """Few characters may be many tokens; and each kind of documentation that is read needs its room."""
    short = Tool("n", "It.", (Parameter("a", "string", choices=("ä" * 30, "ö" * 30)),))  # bytes: two tokens each
    long = Tool("m", "It.", tuple(Parameter(f"name{number}", "number") for number in range(6)))
    tools = Tools([short, long, Tool("o", "It.")])
    assert len(short.signature) < len(long.signature)
    text = Problem("p", "Q:", " 7", answer="7")
    length = len(label(text, TOKENIZER, tools).ids)
    for kinds, least in ((("own", "none"), Documentation(TOKENIZER, tools).least(1)), ((), 0)):
        for room, count in ((least, 1), (least - 1, 0)):
            kept, _, left_out = usable([text], TOKENIZER, tools, tiny(context_tokens=length + room), kinds=kinds, k=1)
            assert len(kept) == count == 1 - len(left_out)


def test_documentation_has_the_room_that_it_had_in_training(model, tmp_path):
    kept, labelled, _ = usable(problems(4), TOKENIZER, TOOLS, model, kinds=KINDS, k=K)
    found = {}
    for tokens in (None, 40, 2):
        one = toolkens_of(model, 0, 3.5, **({} if tokens is None else {"documentation_tokens": tokens}))
        assert documentation_room(one) == (tokens or 40)
        folder = tmp_path / str(tokens)
        (positions,) = scored_positions(model, TOKENIZER, [one], kept, labelled, kinds=("own",), k=K, folder=folder)
        found[tokens] = torch.as_tensor(positions.second["own"])
    torch.testing.assert_close(found[None], found[40], rtol=0, atol=0, equal_nan=True)
    assert not torch.allclose(found[40].nan_to_num(), found[2].nan_to_num(), atol=1e-3)


def test_without_documentation_nothing_is_read(model, tmp_path):
    kept, labelled, _ = usable(problems(4), TOKENIZER, TOOLS, model, kinds=KINDS, k=K)
    (positions,) = scored_positions(model, TOKENIZER, [toolkens_of(model, 0)], kept, labelled, kinds=(), k=K, folder=tmp_path)
    assert positions.second == {} and not list(tmp_path.glob("second*"))


def test_where_no_tool_fires_no_documentation_is_read(model, tmp_path):
    kept, labelled, _ = usable(problems(4), TOKENIZER, TOOLS, model, kinds=KINDS, k=K)
    (positions,) = scored_positions(model, TOKENIZER, [toolkens_of(model, 0, 0.0)], kept, labelled, kinds=("own",), k=K, folder=tmp_path)
    assert torch.as_tensor(positions.second["own"]).isnan().all() and not list(tmp_path.glob("second*"))
