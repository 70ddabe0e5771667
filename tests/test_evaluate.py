import math

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from pydisp.evaluate import evaluate_text
from pydisp.text import Tokens

VOCABULARY = 50


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=64,
        initializer_range=0.5,
    )
    return LlamaForCausalLM(config).eval()


@pytest.fixture(scope="module")
def tokens():
    ids = torch.randint(0, VOCABULARY, (16 * 7 + 5,), generator=torch.Generator().manual_seed(1))
    return Tokens("notes", ids, text_bytes=300, has_bos=True)


def test_loss_is_the_mean_over_targets_of_every_window(model, tokens):
    rows = tokens.ids[: 7 * 16].view(7, 16)
    with torch.no_grad():
        losses = torch.stack([model(input_ids=row[None], labels=row[None]).loss for row in rows]).double()
    found = evaluate_text(model, tokens, 16)
    assert found.nats_per_token == pytest.approx(losses.mean().item(), rel=1e-6)
    assert found.standard_error == pytest.approx((losses.var() / 7).sqrt().item(), rel=1e-4)
    assert found.tokens == 7 * 15 and found.context_tokens == 16
    assert found.perplexity == pytest.approx(math.exp(losses.mean()), rel=1e-6)
    assert found.bits_per_byte == pytest.approx(losses.mean().item() * (16 * 7 + 5 - 1) / 300 / math.log(2), rel=1e-6)


@pytest.mark.parametrize("batch_size", [1, 2, 3, 7, 50])
def test_batch_size_changes_rounding_only(model, tokens, batch_size):
    assert evaluate_text(model, tokens, 16, batch_size=batch_size).nats_per_token == pytest.approx(
        evaluate_text(model, tokens, 16).nats_per_token, rel=1e-6
    )


def test_float64_model_is_scored_in_float64(model, tokens):
    exact = LlamaForCausalLM(model.config).double()
    exact.load_state_dict(model.state_dict())
    rows = tokens.ids[: 7 * 16].view(7, 16)
    with torch.no_grad():
        expected = torch.nn.functional.cross_entropy(exact(input_ids=rows).logits[:, :-1].flatten(0, 1), rows[:, 1:].flatten())
    for batch_size in (1, 7):
        assert evaluate_text(exact, tokens, 16, batch_size=batch_size).nats_per_token == pytest.approx(expected.item(), rel=1e-13)


def test_chunks_of_rows_change_nothing(model, tokens, monkeypatch):
    whole = evaluate_text(model, tokens, 16)
    monkeypatch.setattr("pydisp.evaluate._ROWS_PER_CHUNK", 11)
    assert evaluate_text(model, tokens, 16).nats_per_token == pytest.approx(whole.nats_per_token, rel=1e-7)


def test_one_window_has_no_standard_error(model, tokens):
    assert evaluate_text(model, tokens, 60).standard_error is None


def test_modes_and_gradients_are_left_as_they_were(model, tokens):
    model.train()
    model.model.layers[1].eval()
    evaluate_text(model, tokens, 16)
    assert model.training and model.model.layers[0].training and not model.model.layers[1].training
    assert all(p.requires_grad and p.grad is None for p in model.parameters())
    with pytest.raises(ValueError):
        evaluate_text(_with_nan(model), tokens, 16)
    model.eval()


def _with_nan(model):
    broken = LlamaForCausalLM(model.config)
    broken.load_state_dict(model.state_dict())
    with torch.no_grad():
        broken.model.embed_tokens.weight[3] = math.nan
    return broken


def test_nan_names_the_window_and_keeps_the_mode(model):
    ids = torch.full((16 * 4,), 5)
    ids[16 * 2 + 4] = 3
    broken = _with_nan(model).train()
    with pytest.raises(ValueError, match="notes: the loss of window 3 of 4 is nan; check the weights") as error:
        evaluate_text(broken, Tokens("notes", ids, 100, has_bos=False), 16, batch_size=2)
    assert broken.training and error.value is not None


def test_bad_input_is_refused(model, tokens):
    with pytest.raises(ValueError, match="notes: found 117 tokens, one window needs 118"):
        evaluate_text(model, tokens, 118)
    with pytest.raises(ValueError, match="a context of 65 tokens was asked for, the model has 64 positions"):
        evaluate_text(model, tokens, 65)
    with pytest.raises(ValueError, match="batch_size is 0; it must be 1 or more"):
        evaluate_text(model, tokens, 16, batch_size=0)
    with pytest.raises(ValueError, match="token id 50 is outside the model's vocabulary of 50"):
        evaluate_text(model, Tokens("notes", torch.full((32,), 50), 10, has_bos=False), 16)


def test_no_bar_without_a_terminal(model, tokens, capsys):
    evaluate_text(model, tokens, 16, progress=True)
    assert capsys.readouterr().err == ""
