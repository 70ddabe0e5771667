"""The search: gradients of the budget, one draw for both terms, accumulation, seeds, stopping and going on."""

import copy

import pytest
import torch
from tiny_text import TEXT, tiny_llama, tiny_tokenizer

from pydisp.gates import Gates
from pydisp.pruning.calibration import at_budget, expected_kept
from pydisp.pruning.conversion import convert, untied
from pydisp.pruning.hypernetwork import HyperNetwork, draw_gates
from pydisp.pruning.search import Search, SearchDiverged
from pydisp.pruning.settings import STARTS, PruneSettings
from pydisp.spec import ModelSpec
from pydisp.surgery import gated, prune_model
from pydisp.text import Text, tokenize
from pydisp.token_nll import token_nll


@pytest.fixture(scope="module")
def windows():
    return tokenize(Text("text", (TEXT,)), tiny_tokenizer()).windows(32)


def settings(**changes):
    values = dict(keep_ratio=0.5, ratio_of="block", steps=6, batch_size=2, context_tokens=32, learning_rate=0.05, round_to=4)
    return PruneSettings(**{**values, **changes})


def search(windows, model=None, **changes):
    model = model or tiny_llama()
    return Search(model, ModelSpec.from_model(model), windows, settings(**changes))


def states_equal(a, b):
    if isinstance(a, torch.Tensor):
        return torch.equal(a, b)
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(states_equal(a[k], b[k]) for k in a)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(states_equal, a, b))
    return a == b


def test_the_same_seed_gives_the_same_plan_and_another_does_not(windows):
    plans = [search(windows, seed=seed).run() for seed in (3, 3, 4)]
    assert plans[0] == plans[1] and plans[0] != plans[2]


@pytest.mark.parametrize("method", ["disp", "constrained"])
@pytest.mark.parametrize("accumulate", [1, 2])
def test_a_stopped_search_goes_on_to_the_same_result(windows, tmp_path, method, accumulate):
    kwargs = dict(steps=14, method=method, accumulate=accumulate)
    whole = search(windows, **kwargs)
    plan = whole.run()

    def stop_at_5(s):
        if s.progress.step == 5:
            torch.save(s.state_dict(), tmp_path / "state")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        search(windows, **kwargs).run(stop_at_5)
    resumed = search(windows, **kwargs)
    resumed.load_state_dict(torch.load(tmp_path / "state", weights_only=True))
    assert resumed.progress.step == 5
    assert resumed.run() == plan
    assert states_equal(resumed.network.state_dict(), whole.network.state_dict())
    assert resumed.progress.history == whole.progress.history
    assert resumed.progress.tokens == whole.progress.tokens == (14 * accumulate * 2 + 16) * 32  # 16 windows of the start
    assert resumed.progress.forwards == whole.progress.backwards == 14 * accumulate + 16


def test_accumulated_gradients_are_those_of_one_batch(windows):
    model = tiny_llama()
    networks = []
    for batch_size, accumulate in ((4, 1), (1, 4), (2, 2)):
        one = search(windows, model, batch_size=batch_size, accumulate=accumulate, steps=1, start="none")
        one.run()
        networks.append(torch.cat([p.grad.flatten() for p in one.network.parameters()]))
    assert networks[0].abs().sum() > 0
    assert all(torch.allclose(networks[0], other, atol=1e-6, rtol=1e-3) for other in networks[1:])


def test_loss_and_budget_see_one_draw(windows, monkeypatch):
    one = search(windows, steps=1)
    one.begin()
    made, counted = [], []
    post_init, kept_block = Gates.__post_init__, Gates.kept_block
    monkeypatch.setattr(Gates, "__post_init__", lambda gates: (post_init(gates), made.append(gates))[0])
    monkeypatch.setattr(Gates, "kept_block", lambda gates: (counted.append(gates), kept_block(gates))[1])
    before = one.draws.get_state()
    one.run()
    in_budget, drawn, in_loss = made  # probabilities for the offset, the draw, and the same values cut off the hypernetwork for the loss
    assert counted == [in_budget, drawn]
    for a, b in zip(drawn.layers, in_loss.layers, strict=True):
        assert all(torch.equal(x, y) for x, y in zip(a, b, strict=True))
    replayed = torch.Generator()
    replayed.set_state(before)
    draw_gates(HyperNetwork(one.spec, torch.Generator().manual_seed(0))(), one.spec, replayed)
    assert torch.equal(replayed.get_state(), one.draws.get_state())


@pytest.mark.parametrize("steps", [5, 17, 60, 600])
@pytest.mark.parametrize("start", STARTS)
def test_the_kept_share_follows_the_schedule_to_the_budget(windows, steps, start):
    run = search(windows, steps=steps, start=start, batch_size=1)
    spec, done = run.spec, min(steps, 25)
    run.begin()
    with gated(run.model, spec) as use:
        for step in list(range(done)) if steps < 100 else [0, 1, 2]:
            expected = expected_kept(at_budget(run.logits(), spec, run.wanted_at(step)), spec).item() / spec.parameters_block
            wanted = run.wanted_at(step) / spec.parameters_block
            assert abs(expected - wanted) < 1e-3
            assert abs(wanted - max(0.5, 1 - 0.5 * 3 * (step + 1) / steps)) < 1e-4
            run._step(use)
    if steps > done:
        return
    assert abs(run.progress.history[-1]["kept"] - 0.5) < 0.15
    assert 0.48 < spec.kept_shares(run.plan())["block"] <= 0.5


@pytest.mark.parametrize("stop", range(1, 9))
def test_a_stop_after_any_step_changes_no_byte(windows, tmp_path, stop):
    kwargs = dict(steps=9, batch_size=1)
    whole, stopped, resumed = (search(windows, **kwargs) for _ in range(3))
    plan = whole.run()
    with pytest.raises(KeyboardInterrupt):
        stopped.run(lambda s: _save_and_stop(s, stop, tmp_path / "state"))
    resumed.load_state_dict(torch.load(tmp_path / "state", weights_only=True))
    assert resumed.run() == plan
    kept = ("network", "optimizer", "draws", "start", "sums")
    assert all(states_equal(resumed.state_dict()[name], whole.state_dict()[name]) for name in kept)
    assert resumed.progress.history == whole.progress.history


def _save_and_stop(one, step, path):
    if one.progress.step == step:
        torch.save(one.state_dict(), path)
        raise KeyboardInterrupt


def test_the_plan_is_that_of_the_mean_of_the_last_logits(windows):
    run = search(windows, steps=10, start="none")
    run.begin()
    seen = []
    run.run(lambda s: seen.append([x.detach().clone() for x in s._masks(s.logits())]))
    means = [torch.stack(values).mean(0) for values in zip(*seen[8:], strict=True)]  # the logits after steps 9 and 10
    want = convert(untied([means[i : i + 5] for i in range(0, 15, 5)]), run.spec, run.wanted, 4)
    assert run.plan() == want


@pytest.mark.parametrize("method", ["disp", "constrained"])
def test_plain_logits_in_the_hypernetworks_place(windows, method):
    run = search(windows, steps=8, hypernetwork=False, method=method)
    assert run.run() == search(windows, steps=8, hypernetwork=False, method=method).run()
    logits = sum(p.numel() for p in run.network.parameters())
    assert logits == (32 + 3 * 48 if method == "constrained" else 3 * (4 * 32 + 48))


def test_weights_in_bfloat16(windows):
    run = search(windows, tiny_llama(dtype=torch.bfloat16), steps=6)
    plan = run.run()
    assert 0.48 < run.spec.kept_shares(plan)["block"] <= 0.5
    assert all(x.dtype == torch.float32 for x in run._masks(run.logits()))
    assert run.progress.history[-1]["loss"] > 0 and run.model.dtype == torch.bfloat16


def test_every_gate_gets_a_gradient(windows):
    model = tiny_llama()
    spec = ModelSpec.from_model(model)
    network = HyperNetwork(spec, torch.Generator().manual_seed(0))
    logits = network()
    for layer in logits:
        for x in layer:
            x.retain_grad()
    with gated(model, spec) as use:
        use(draw_gates(logits, spec, torch.Generator().manual_seed(1)))
        token_nll(model, windows[:2]).mean().backward()
    assert all((x.grad != 0).float().mean() > 0.9 for layer in logits for x in layer)


def test_the_model_is_left_as_it_was(windows):
    model = tiny_llama()
    before = copy.deepcopy(model.state_dict())
    search(windows, model).run()
    assert states_equal(before, model.state_dict())
    assert all(p.requires_grad and p.grad is None for p in model.parameters())
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())


def test_the_gated_loss_is_that_of_the_pruned_model(windows):
    model = tiny_llama(dtype=torch.float64)
    spec = ModelSpec.from_model(model)
    plan = search(windows, model).run()
    with gated(model, spec) as use, torch.no_grad():
        use(Gates.from_plan(plan, spec, torch.float64))
        want = token_nll(model, windows[:3])
    with torch.no_grad():
        got = token_nll(prune_model(model, plan, spec), windows[:3])
    assert (want - got).abs().max() < 1e-5


def test_nan_stops_and_names_the_step(windows):
    model = tiny_llama()
    run = search(windows, model)

    def poison(s):
        if s.progress.step == 2:
            model.model.norm.weight.data.fill_(float("nan"))

    with pytest.raises(SearchDiverged, match="the loss is nan at step 3"):
        run.run(poison)
    assert run.progress.step == 2 and not any(m._forward_hooks for m in model.modules())


def test_too_little_text_is_refused(windows):
    with pytest.raises(ValueError, match="has 3 windows of 32 tokens, a step needs 4"):
        search(windows[:3], batch_size=2, accumulate=2)


def test_small_models_share_a_low_rank_head_and_tied_masks_are_drawn_once():
    spec = ModelSpec.from_model(tiny_llama())
    network = HyperNetwork(spec, torch.Generator().manual_seed(0))
    assert {head.in_features for head in network.heads} == {16} and len(network.heads) == 15
    tied = HyperNetwork(spec, torch.Generator().manual_seed(0), tied=True)
    gates = draw_gates(tied(), spec, torch.Generator().manual_seed(1))
    first = gates.layers[0].attention_input
    assert all(x is first for g in gates.layers for name, x in g._asdict().items() if name != "mlp_middle")


def test_checkpointing_gives_the_same_plan(windows):
    whole, again = search(windows), search(windows, gradient_checkpointing=True)
    assert whole.run() == again.run() and whole.progress.history == again.progress.history


@pytest.mark.parametrize("method", ["disp", "constrained"])
def test_products_in_bfloat16(windows, method):
    """Start and steps multiply in bfloat16, weights stay float32, and the losses are those of float32 up to rounding."""
    model, seen = tiny_llama(), set()
    model.model.layers[0].self_attn.q_proj.register_forward_hook(lambda _module, _args, out: seen.add(out.dtype))
    exact, rounded = (search(windows, model, method=method, bfloat16=is_half) for is_half in (False, True))
    plan = exact.run()
    assert seen == {torch.float32} and plan == search(windows, method=method).run()
    seen.clear()
    assert rounded.run() == search(windows, method=method, bfloat16=True).run()
    assert seen == {torch.bfloat16} and {p.dtype for p in model.parameters()} == {torch.float32}
    first, again = exact.progress.history[0]["loss"], rounded.progress.history[0]["loss"]
    assert first != again and first == pytest.approx(again, rel=0.01)


def test_rounded_products_with_checkpointing_give_the_same_plan(windows):
    whole, again = search(windows, bfloat16=True), search(windows, bfloat16=True, gradient_checkpointing=True)
    assert whole.run() == again.run() and whole.progress.history == again.progress.history
