"""Bytes and products of a model, written out by hand."""

from families import random_plan, tiny_model
from torch import nn

from pydisp.cost import Cost, cost_of
from pydisp.spec import ModelSpec
from pydisp.surgery import prune_model


def made(name, **removed):
    dense = tiny_model(name)
    spec = ModelSpec.from_model(dense)
    return dense, prune_model(dense, random_plan(spec, **removed), spec)


def test_costs_of_a_model_written_out_by_hand():
    dense, pruned = made("llama")  # hidden 48, middle 80, 4 heads of 12 (2 for keys), vocabulary 97, 4 layers; every linear has a bias
    layer = 48 * (48 + 24 + 24) + 48 * 48 + 3 * 48 * 80
    biases = 48 + 24 + 24 + 48 + 80 + 80 + 48
    parameters = 4 * (layer + biases + 2 * 48) + 48 + 97 * 48
    assert cost_of(dense, 5) == Cost(parameters * 8, 5 * 4 * layer + 97 * 48 + 4 * (2 * 15 * 48))
    assert cost_of(dense, 5, itemsize=2).bytes_per_token == parameters * 2
    narrow = cost_of(pruned, 5)
    linears = [m.weight.numel() for n, m in pruned.named_modules() if isinstance(m, nn.Linear) and n != "lm_head"]
    assert narrow.products_per_prompt == 5 * sum(linears) + 97 * 48 + 4 * 2 * 15 * 48
    untied = narrow.bytes_per_token - sum(p.numel() for p in pruned.parameters()) * 8
    assert untied == -97 * 48 * 8  # all but the embedding
    tied = tiny_model("llama-tied")
    assert cost_of(tied, 1).bytes_per_token == sum(p.numel() for p in tied.parameters()) * 8


def test_a_removed_attention_costs_nothing():
    _, whole = made("qwen2")
    _, less = made("qwen2", no_attention=(0,))
    assert cost_of(less, 7).products_per_prompt < cost_of(whole, 7).products_per_prompt - 2 * 28 * 48
