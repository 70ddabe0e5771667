"""The dense model of the same smaller shapes: the pruned one where its indices change nothing, with its very linears and no index."""

import pytest
import torch
from families import MODELS, random_plan, tiny_model
from torch import nn

from pydisp.indices import IndexSet
from pydisp.modeling.feature_index import FeatureIndex
from pydisp.modeling.plain import plain_model
from pydisp.plan import AttentionPlan, LayerPlan, MLPPlan, PruningPlan
from pydisp.spec import ModelSpec
from pydisp.speed.timing import _decode, _prefill
from pydisp.surgery import prune_model


def made(name, plan=None, **removed):
    dense = tiny_model(name)
    spec = ModelSpec.from_model(dense)
    return dense, prune_model(dense, plan(spec) if plan else random_plan(spec, **removed), spec)


def prefixes(written: int | None = None):
    """A plan that reads everything and writes the first `written` features (all, unless told); half of the middle stays."""

    def plan(spec: ModelSpec) -> PruningPlan:
        full = IndexSet.full(spec.hidden_size)
        write = IndexSet(torch.arange(written or spec.hidden_size, dtype=torch.int32), spec.hidden_size)
        middle = IndexSet(torch.arange(0, spec.middle_size, 2, dtype=torch.int32), spec.middle_size)
        layer = LayerPlan(AttentionPlan(full, write), MLPPlan(full, middle, write))
        return PruningPlan(spec.family.model_type, spec.hidden_size, spec.middle_size, (layer,) * len(spec.costs), spec.digest)

    return plan


@torch.no_grad()
def logits(model, ids):
    return model(ids, use_cache=False).logits


IDS = torch.arange(1, 13)[None]


@pytest.mark.parametrize("name", MODELS)
def test_the_plain_model_is_the_pruned_one_where_indices_change_nothing(name):
    writes = [None] if MODELS[name][0] in ("Gemma2", "Gemma3", "Olmo2") else [None, 20]  # their norms see what a block wrote
    for written in writes:
        dense, pruned = made(name, prefixes(written))
        # the stock norms work in float32 whatever their input
        torch.testing.assert_close(logits(plain_model(pruned, dense.config), IDS), logits(pruned, IDS), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", MODELS)
def test_the_plain_model_has_the_same_linears_and_no_index(name):
    for removed in ({}, dict(no_attention=(0,), no_mlp=(1,)), dict(no_attention=(2,), no_mlp=(2,))):
        dense, pruned = made(name, **removed)
        before = logits(pruned, IDS)
        plain = plain_model(pruned, dense.config)
        linears = [{key: m for key, m in model.named_modules() if isinstance(m, nn.Linear)} for model in (pruned, plain)]
        assert linears[0] == linears[1]  # modules are equal only to themselves
        assert not any(isinstance(m, FeatureIndex) for m in plain.modules())
        seconds, cache = _prefill(plain, IDS)
        assert seconds > 0 and _decode(plain, IDS, cache, range(3)) > 0 and cache.get_seq_length() == IDS.shape[1] + 3
        assert logits(plain, IDS).isfinite().all()
        assert torch.equal(logits(pruned, IDS), before)
