import pytest
import torch
from families import tiny_model

from pydisp.plan import SETS
from pydisp.pruning.conversion import convert, ranked, tied, untied
from pydisp.spec import ModelSpec


@pytest.fixture(params=["llama", "phi", "opt-350m"])
def spec(request):
    return ModelSpec.from_model(tiny_model(request.param))


def scores(spec, generator, spread=1.0):
    sizes = [spec.middle_size if name == "mlp_middle" else spec.hidden_size for name in SETS]
    return [[torch.randn(size, generator=generator) * spread for size in sizes] for _ in spec.costs]


@pytest.mark.parametrize("round_to", [1, 4, 8])
@pytest.mark.parametrize("keep", [0.3, 0.5, 0.8])
def test_the_budget_is_met_from_below_and_used_up(spec, generator, keep, round_to):
    budget = spec.block_budget(keep, "block")
    plan = convert(untied(scores(spec, generator)), spec, budget, round_to)
    kept = spec.kept_block(plan)
    # The dearest group that may not fit: round_to middle features, or round_to inputs of q, k and v.
    dearest = max(
        max(c.mlp_input_middle * spec.hidden_size + c.mlp_middle + spec.hidden_size, c.attention_input, spec.middle_size * 2)
        for c in spec.costs
    )
    assert budget - dearest * round_to < kept <= budget
    for layer in plan.layers:
        for kept_set in layer.sets().values():
            assert kept_set is None or len(kept_set) % round_to == 0 or kept_set.is_full


def test_the_best_features_are_kept(spec, generator):
    drawn = scores(spec, generator)
    plan = convert(untied(drawn), spec, spec.block_budget(0.5, "block"), 1)
    for layer, layer_scores in zip(plan.layers, drawn, strict=True):
        for kept, score in zip(layer.sets().values(), layer_scores, strict=True):
            if kept is not None and not kept.is_full:
                assert score[kept.mask()].min() > score[~kept.mask()].max()


def test_a_block_whose_masks_say_so_is_removed_whole(generator):
    spec = ModelSpec.from_model(tiny_model("llama"))
    drawn = scores(spec, generator, 0.1)
    drawn[1][0] -= 100
    drawn[2][3] -= 100
    plan = convert(untied(drawn), spec, spec.block_budget(0.5, "block"), 8)
    assert plan.layers[1].attention is None and plan.layers[1].mlp is not None
    assert plan.layers[2].mlp is None and plan.layers[2].attention is not None


def test_tied_masks_are_one_mask(generator):
    spec = ModelSpec.from_model(tiny_model("llama"))
    residual = torch.randn(spec.hidden_size, generator=generator)
    middles = [torch.randn(spec.middle_size, generator=generator) for _ in spec.costs]
    plan = convert(tied(residual, middles), spec, spec.block_budget(0.5, "block"), 4)
    sets = [kept for layer in plan.layers for name, kept in layer.sets().items() if name != "mlp_middle"]
    assert all(kept == sets[0] for kept in sets) and not sets[0].is_full
    assert 0.47 < spec.kept_shares(plan)["block"] <= 0.5


def test_ranked_scores_keep_the_same_share_of_every_mask(generator):
    spec = ModelSpec.from_model(tiny_model("llama"))
    layers = [[ranked(s * (n + 1) ** 3) for s in layer] for n, layer in enumerate(scores(spec, generator))]
    plan = convert(untied(layers), spec, spec.block_budget(0.4, "block"), 1)
    shares = [len(kept) / kept.size for layer in plan.layers for kept in layer.sets().values()]
    assert max(shares) - min(shares) < 0.06


def test_nan_scores_and_wrong_rounding_are_refused(generator):
    spec = ModelSpec.from_model(tiny_model("llama"))
    drawn = scores(spec, generator)
    with pytest.raises(ValueError, match="round_to is 0"):
        convert(untied(drawn), spec, 1000, 0)
    drawn[1][3][2] = float("nan")
    with pytest.raises(ValueError, match="mlp_middle in layer 1 hold NaN"):
        convert(untied(drawn), spec, 1000, 8)
