"""What tokens receive: shares against those of eager attention's whole matrices, in batches, with windows, softcaps, padding, in bfloat16."""

import numpy as np
import pytest
import torch
from families import random_plan, tiny_model

from pydisp.attention_recording import record_attention
from pydisp.legal_probe.received import _batches, receive
from pydisp.spec import ModelSpec
from pydisp.surgery import prune_model

LENGTHS = (5, 19, 12, 1, 30)
# grouped heads; a sliding window; alternating windows; softcap and alternating windows; a head dimension of its own
NAMES = ("llama", "mistral", "gemma3_text", "gemma2", "qwen3", "phi3", "opt-125m")


def texts_of(seed=0):
    generator = np.random.default_rng(seed)
    return [generator.integers(3, 97, size=length) for length in LENGTHS]


@torch.no_grad()
def eager_weights(model, ids):
    """(G, T, T) float64."""
    before = model.config._attn_implementation
    model.set_attn_implementation("eager")
    weights = model(torch.as_tensor(ids)[None], use_cache=False, output_attentions=True).attentions
    model.set_attn_implementation(before)
    return torch.cat([one[0] for one in weights]).double().numpy()


def share_of(mass, concept, counted):
    return mass[:, concept & counted].sum(1) / mass[:, counted].sum(1)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("batch_tokens", [1, 60, 4096])
def test_shares_are_those_of_eager_attention(name, batch_tokens):
    model = tiny_model(name, dtype=torch.float32)
    model.set_attn_implementation("eager" if name == "gemma2" else "sdpa")  # sdpa has no softcap
    texts = texts_of()
    found = dict(receive(model, texts, batch_tokens=batch_tokens))
    assert sorted(found) == list(range(len(texts)))
    for number, ids in enumerate(texts):
        weights, received = eager_weights(model, ids), found[number]
        np.testing.assert_allclose(received.mass, weights.sum(1), rtol=3e-6, atol=3e-6)
        np.testing.assert_allclose(received.own, np.diagonal(weights, axis1=1, axis2=2), atol=3e-6)
        entropy = -np.where(weights > 0, weights * np.log(np.where(weights > 0, weights, 1)), 0).sum(-1).mean(-1)
        np.testing.assert_allclose(received.entropy, entropy, atol=1e-5)
        if len(ids) > 4:
            concept, counted = np.arange(len(ids)) % 3 == 1, np.arange(len(ids)) % 4 != 0
            np.testing.assert_allclose(share_of(received.mass, concept, counted), share_of(weights.sum(1), concept, counted), atol=1e-6)


@pytest.mark.parametrize("name", ["llama", "mistral", "gemma3_text", "gemma2"])
def test_shares_with_left_padding_are_those_without(name):
    model = tiny_model(name, dtype=torch.float32)
    ids = torch.as_tensor(texts_of()[4])[None]
    padded = torch.cat([torch.zeros(1, 7, dtype=torch.int64), ids], 1)
    mask = torch.cat([torch.zeros(1, 7, dtype=torch.int64), torch.ones_like(ids)], 1)
    positions = (mask.cumsum(1) - 1).clamp_min(0)
    with torch.no_grad(), record_attention(model, torch.zeros(1, 1, dtype=torch.int64), 1, per_key=True) as recording:
        model.model(input_ids=padded, attention_mask=mask, position_ids=positions, use_cache=False)
    mass = torch.cat([layer.key_mass[0] for layer in recording.layers.values()]).double().numpy()
    assert (mass[:, :7] == 0).all()
    weights = eager_weights(model, ids[0])
    concept, counted = np.arange(30) % 3 == 1, np.arange(30) % 4 != 0
    np.testing.assert_allclose(share_of(mass[:, 7:], concept, counted), share_of(weights.sum(1), concept, counted), atol=1e-6)


@pytest.mark.parametrize("name", ["llama", "mistral", "gemma3_text", "qwen3"])
def test_shares_in_bfloat16_are_those_of_eager_attention(name):
    """In one and the same forward: under sdpa the layers' inputs round differently, as far from eager's as eager is from float32 (0.004)."""
    model = tiny_model(name, dtype=torch.bfloat16)
    model.set_attn_implementation("eager")
    texts = texts_of()
    found = dict(receive(model, texts))
    for number in (1, 2, 4):
        concept, counted = np.arange(len(texts[number])) % 3 == 1, np.arange(len(texts[number])) % 4 != 0
        want = share_of(eager_weights(model, texts[number]).sum(1), concept, counted)
        np.testing.assert_allclose(share_of(found[number].mass, concept, counted), want, atol=1e-3)


def test_a_pruned_model_lacks_the_layer_without_attention():
    model = tiny_model("llama", dtype=torch.float32)
    pruned = prune_model(model, random_plan(ModelSpec.from_model(model), 1, (1,), (2,)))
    ((_, received),) = receive(pruned, texts_of()[1:2])
    assert [(one.layer, one.heads, one.key_heads, one.kind) for one in received.layers] == [(n, 4, 2, "full") for n in (0, 2, 3)]
    np.testing.assert_allclose(received.mass.sum(1), 19, rtol=1e-5)


def test_layers_say_their_windows():
    ((_, received),) = receive(tiny_model("gemma3_text", dtype=torch.float32), texts_of()[1:2])
    assert [(one.kind, one.window) for one in received.layers] == [("sliding window", 6), ("full", None)] * 2


def test_the_mode_of_the_model_stays_and_dropout_is_off():
    model = tiny_model("phi", dtype=torch.float32).train()
    first, second = (dict(receive(model, texts_of()[:2])) for _ in range(2))
    assert model.training and all(np.array_equal(first[n].mass, second[n].mass) for n in first)


def test_a_nan_names_what_is_wrong():
    model = tiny_model("llama", dtype=torch.float32)
    with torch.no_grad():
        model.model.layers[1].self_attn.q_proj.weight.fill_(float("nan"))
    with pytest.raises(ValueError, match="the attention of the model is NaN on a passage"):
        list(receive(model, texts_of()[:1]))


def test_batches_hold_similar_lengths_and_no_more_than_they_may():
    lengths = [30, 5, 7, 100, 6, 31, 5]
    batches = list(_batches(lengths, 64))
    assert sorted(n for batch in batches for n in batch) == list(range(7))
    assert all(len(batch) == 1 or len(batch) * max(lengths[n] for n in batch) <= 64 for batch in batches)
    assert batches[0] == [1, 6, 4, 2] and batches[-1] == [3]
