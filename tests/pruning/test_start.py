"""The start of a search: scores against float64 autograd, by hand on small cases, and for every kind and family."""

from dataclasses import replace

import pytest
import torch
from families import MODELS, tiny_model
from tiny_text import TEXT, tiny_llama, tiny_tokenizer

from pydisp.gates import Gates, LayerGates
from pydisp.pruning.baselines import flap_scores, record_activations, standardised
from pydisp.pruning.planning import make_plan
from pydisp.pruning.settings import STARTS, PruneSettings
from pydisp.pruning.start import MOST_DEVIATIONS, SLOPE, feature_costs, gradient_scores, squared_gradients, start_logits
from pydisp.spec import ModelSpec
from pydisp.surgery import gated
from pydisp.text import Text, tokenize

IDS = torch.randint(3, 97, (3, 11), generator=torch.Generator().manual_seed(0))
SETTINGS = PruneSettings(keep_ratio=0.5, ratio_of="block", batch_size=2, context_tokens=11, round_to=4, start_windows=3)


def test_squared_gradients_are_those_of_autograd_in_float64():
    model = tiny_llama(dtype=torch.float64)
    spec = ModelSpec.from_model(model)
    got = squared_gradients(model, spec, IDS)
    want = [LayerGates(*(torch.zeros_like(x) for x in layer)) for layer in got]
    ones = [LayerGates(*(torch.ones_like(x).requires_grad_() for x in layer)) for layer in got]
    leaves = [x for layer in ones for x in layer]
    with gated(model, spec) as use:
        use(Gates(tuple(ones), spec))
        for window in IDS:
            logits = model(input_ids=window[None], use_cache=False).logits[0, :-1]
            gradients = torch.autograd.grad(torch.nn.functional.cross_entropy(logits, window[1:]), leaves)
            for total, gradient in zip((x for layer in want for x in layer), gradients, strict=True):
                total += gradient.square()
    for a, b in zip(got, want, strict=True):
        for x, y in zip(a, b, strict=True):
            assert torch.allclose(x, y, rtol=1e-3, atol=1e-9) and x.any()  # the gates and the loss are float32


def test_scores_divide_by_what_a_feature_costs():
    spec = ModelSpec.from_model(tiny_llama())
    costs = feature_costs(spec)
    assert costs[0].attention_input[0] == 32 + 2 * 16  # rows of q, k and v
    assert costs[0].attention_output[0] == 32
    assert costs[0].mlp_input[0] == 2 * 48 and costs[0].mlp_output[0] == 48
    assert costs[0].mlp_middle[0] == 3 * 32
    squares = [LayerGates(*(torch.full(x.shape, 2.0, dtype=torch.float64) for x in layer)) for layer in costs]
    scores = gradient_scores(squares, costs)
    assert torch.allclose(scores[2].mlp_middle, torch.tensor(2 / 96, dtype=torch.float64).log())
    tied = feature_costs(spec, is_tied=True)
    assert tied[0].attention_input[0] == sum(c[0] for layer in costs for n, c in layer._asdict().items() if n != "mlp_middle")


def test_flap_scores_are_variances_times_squared_norms():
    model = tiny_llama()
    spec = ModelSpec.from_model(model)
    inputs = []
    handle = model.model.layers[1].mlp.down_proj.register_forward_pre_hook(lambda _m, args: inputs.append(args[0].detach()))
    seen = record_activations(model, spec, [IDS[:1], IDS[1:]])
    handle.remove()
    rows = torch.cat([x.flatten(0, 1) for x in inputs]).double()
    want = rows.var(0) * model.model.layers[1].mlp.down_proj.weight.double().square().sum(0)
    assert torch.allclose(flap_scores(model, spec, seen)[1].mlp_middle, want.detach(), rtol=1e-5)
    z = standardised(want.detach())
    assert abs(z.mean()) < 1e-12 and abs(z.std(correction=0) - 1) < 1e-12
    assert not standardised(torch.ones(5)).any()


@pytest.mark.parametrize("method", ["disp", "constrained"])
@pytest.mark.parametrize("start", STARTS)
def test_every_start_gives_logits_within_bounds(start, method):
    model = tiny_llama()
    spec = ModelSpec.from_model(model)
    seen = []
    scored = start_logits(model, spec, IDS, replace(SETTINGS, start=start, method=method), seen.append)
    assert seen == ([] if start == "none" else [1, 2, 3])
    assert (scored.forwards, scored.tokens) == ((0, 0) if start == "none" else (3, 33))
    assert scored.backwards == (3 if start == "gradient" else 0)
    masks = {id(x): x for layer in scored.logits for x in layer}
    assert len(masks) == (4 if method == "constrained" else 15)
    assert max(x.abs().max() for x in masks.values()) <= SLOPE * MOST_DEVIATIONS
    assert any(x.std() > 0 for x in masks.values()) == (start != "none")


@pytest.mark.parametrize("name", MODELS)
def test_the_gradient_plan_of_every_family(name):
    model = tiny_model(name, dtype=torch.float32)
    spec = ModelSpec.from_model(model)
    for method in ("gradient", "flap"):
        settings = replace(SETTINGS, method=method, round_to=1, bfloat16=False)
        planned = make_plan(model, spec, IDS, settings)
        assert planned.plan == make_plan(model, spec, IDS, settings).plan
        assert 0.49 < spec.kept_shares(planned.plan)["block"] <= 0.5
        assert planned.progress.forwards == (3 if method == "gradient" else 2)


def test_gradients_in_bfloat16_are_near_those_in_float32():
    scores = []
    windows = tokenize(Text("text", (TEXT,)), tiny_tokenizer()).windows(32)[:8]
    for dtype in (torch.float32, torch.bfloat16):
        model = tiny_llama(dtype=torch.bfloat16).to(dtype)
        spec = ModelSpec.from_model(model)
        squares = squared_gradients(model, spec, windows)
        scores.append(torch.cat([x for layer in gradient_scores(squares, feature_costs(spec)) for x in layer]))
    assert torch.corrcoef(torch.stack(scores))[0, 1] > 0.98


def test_gradients_that_are_not_finite_are_refused():
    model = tiny_llama()
    model.model.norm.weight.data.fill_(float("nan"))
    with pytest.raises(ValueError, match="a gradient at the start of the search is not finite"):
        squared_gradients(model, ModelSpec.from_model(model), IDS)
