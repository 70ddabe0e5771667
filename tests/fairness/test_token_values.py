"""What is said of each token is what the model's own logits say, in float64."""

import numpy as np
import pytest
import torch
from families import tiny_model

from pydisp.fairness import TokenStats, UnitValues
from pydisp.fairness.token_values import token_values
from pydisp.loading import load_model


def of_full_logits(model, windows):
    """nats, first choice, rank, entropy and confidence of each token from all logits, in float64 of the model's own float logits."""
    with torch.no_grad():
        logits = torch.cat([model(input_ids=one[None]).logits for one in windows])[:, :-1].double().flatten(0, 1)
    targets = windows[:, 1:].flatten()
    log_p = logits.log_softmax(1)
    at_target = log_p.gather(1, targets[:, None])
    confidence, first = log_p.max(1)
    columns = -at_target[:, 0], first, (log_p > at_target).sum(1), -(log_p.exp() * log_p).sum(1), confidence.exp()
    return [column.numpy() for column in columns]


def padded(model):
    """More rows of the output matrix than words."""
    model.resize_token_embeddings(97, pad_to_multiple_of=64)
    return model


MODELS = {
    "tied": lambda dtype: tiny_model("llama-tied", dtype=dtype),
    "biased head": lambda dtype: tiny_model("phi", dtype=dtype),
    "soft-capped": lambda dtype: tiny_model("gemma2", dtype=dtype, final_logit_softcapping=2.0),
    "padded": lambda dtype: padded(tiny_model("llama", dtype=dtype)),
    "demo": lambda dtype: load_model("demo", device=torch.device("cpu"), dtype=dtype),
}


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", MODELS)
def test_values_are_those_of_the_full_logits(name, dtype, generator):
    model = MODELS[name](dtype)
    windows = torch.randint(3, 97, (5, 33), generator=generator)
    found, gold = token_values(model, windows, batch_size=2), of_full_logits(model, windows)
    tolerance = 2e-5 if dtype == torch.float32 else 1e-6  # entropy and confidence are float32 values
    for column, wanted in zip((found.nats, found.entropy, found.confidence), (gold[0], gold[3], gold[4]), strict=True):
        assert np.abs(column.ravel() - wanted).max() < tolerance * max(1, np.abs(wanted).max())
    assert (found.first_choice.ravel() == gold[1]).all() and (found.rank.ravel() == gold[2]).all()
    assert ((found.first_choice == windows[:, 1:].numpy()) == (found.rank == 0)).all()


@pytest.mark.parametrize("name", MODELS)
def test_sums_by_type_equal_a_float64_computation_to_1e_6(name, generator):
    model = MODELS[name](torch.float32)
    windows = torch.randint(3, 97, (8, 65), generator=generator)
    found, gold = token_values(model, windows), of_full_logits(model, windows)
    stats = TokenStats.of(
        "token",
        windows[:, 1:].ravel(),
        UnitValues(found.nats.ravel(), (found.rank == 0).ravel(), *(column.ravel() for column in found[2:])),
    )
    types = windows[:, 1:].flatten().numpy()
    for place, key in enumerate(stats.keys.tolist()):
        assert stats.nats[place] == pytest.approx(gold[0][types == key].sum(), rel=1e-6)
        assert stats.entropy[place] == pytest.approx(gold[3][types == key].sum(), rel=1e-5)


def test_a_model_of_no_known_family_is_scored_from_its_own_logits(generator):
    import transformers

    torch.manual_seed(0)
    config = transformers.CohereConfig(
        vocab_size=97, hidden_size=48, num_hidden_layers=2, num_attention_heads=4, max_position_embeddings=64, intermediate_size=80,
        logit_scale=0.3, pad_token_id=0, bos_token_id=1, eos_token_id=2,
    )  # fmt: skip
    model = transformers.AutoModelForCausalLM.from_config(config).double().eval()
    windows = torch.randint(3, 97, (3, 20), generator=generator)
    for column, wanted in zip(token_values(model, windows), of_full_logits(model, windows), strict=True):
        assert np.allclose(column.ravel(), wanted, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("batch_size", [1, 3, 7])
def test_the_batch_size_changes_nothing_but_rounding(batch_size, generator):
    model = tiny_model("qwen2", dtype=torch.float32).train()
    windows = torch.randint(3, 97, (7, 40), generator=generator)
    one, other = token_values(model, windows), token_values(model, windows, batch_size=batch_size)
    assert np.abs(one.nats - other.nats).max() < 1e-5 and one.nats.shape == (7, 39)
    assert model.training
