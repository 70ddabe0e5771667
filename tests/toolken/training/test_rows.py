"""Rows: the softmax over some word and the tools, and rows that tell tools apart."""

import pytest
import torch
import transformers
from families import tiny_model
from torch.nn.functional import cross_entropy

from pydisp.toolken.head import ToolkenHead
from pydisp.toolken.training.features import Features, read_texts
from pydisp.toolken.training.fitting import FitSettings
from pydisp.toolken.training.logit_form import LogitForm, logit_form
from pydisp.toolken.training.positions import Positions
from pydisp.toolken.training.rows import choice_losses, full_losses, tool_logits, train_rows

T, D, V = 3, 8, 50
FORMS = [LogitForm(), LogitForm(0.25), LogitForm(1.0, 5.0), LogitForm(2.0, 5.0)]


def sample(count: int, seed: int = 0, form: LogitForm = LogitForm()) -> tuple[Features, torch.Tensor]:  # noqa: B008
    """States around one centre for words and one for each tool; and the logits of the words."""
    generator = torch.Generator().manual_seed(seed)
    centres = torch.randn(T + 1, D, generator=torch.Generator().manual_seed(9)) * 2
    target = torch.arange(count) % (T + 1) - 1
    hidden = centres[target] + torch.randn(count, D, generator=generator)
    words = form(hidden @ torch.randn(V, D, generator=torch.Generator().manual_seed(8)).T + 3)
    word = torch.where(target < 0, torch.arange(count) % V, -1)
    own = torch.where(word < 0, words.logsumexp(1), words.gather(1, word.clamp(min=0)[:, None])[:, 0])
    positions = Positions(torch.arange(count), torch.ones(count, dtype=torch.int64), target, word, torch.ones(count, dtype=torch.bool))
    return Features(positions, hidden, words.logsumexp(1), own, words.amax(1)), words


@pytest.mark.parametrize("form", FORMS)
def test_the_loss_is_cross_entropy_over_all_words_and_tools(form):
    features, words = sample(40, form=form)
    rows = torch.randn(T, D, generator=torch.Generator().manual_seed(1)) * 0.5
    logits = torch.cat([words, form(features.hidden @ rows.T)], 1)
    target = features.positions.target
    expected = cross_entropy(logits, torch.where(target < 0, features.positions.word, V + target), reduction="none")
    torch.testing.assert_close(full_losses(rows, features, form), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("form", FORMS)
def test_gradients_are_those_of_the_whole_softmax(form):
    features, words = sample(40, form=form)
    one = torch.randn(T, D, generator=torch.Generator().manual_seed(1)).requires_grad_()
    two = one.detach().clone().requires_grad_()
    target = features.positions.target
    choice_losses(one, features.hidden, features.lse, target, form).sum().backward()
    logits = torch.cat([words, tool_logits(features.hidden, two, form)], 1)
    cross_entropy(logits, torch.where(target < 0, features.positions.word, V + target), reduction="sum").backward()
    torch.testing.assert_close(one.grad, two.grad, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("coordinates", ["scaled", "whitened"])
def test_rows_learn_to_choose(coordinates):
    train, test = sample(400)[0], sample(400, seed=5)[0]
    settings = FitSettings(coordinates, learning_rate=0.05, batch_size=64, epochs=60)
    fit = train_rows(train, sample(100, seed=4)[0], T, LogitForm(), settings, seed=0)
    assert fit.rows.shape == (T, D) and fit.rows.dtype == torch.float32
    logits = torch.cat([test.lse[:, None], test.hidden @ fit.rows.T], 1)
    assert (logits.argmax(1) - 1 == test.positions.target).float().mean() > 0.9
    expected = choice_losses(fit.rows, train.hidden, train.lse, train.positions.target, LogitForm()).mean().item()
    assert fit.training_loss == pytest.approx(expected, rel=1e-3)
    assert fit.validation_loss < fit.first_validation_loss / 2


def test_rows_learn_through_a_softcap():
    form = LogitForm(1.0, 30.0)
    train = sample(400, form=form)[0]
    fit = train_rows(train, sample(100, seed=4, form=form)[0], T, form, FitSettings(learning_rate=0.05, epochs=30), seed=0)
    assert fit.validation_loss < fit.first_validation_loss / 2


def test_equal_seeds_give_equal_rows_and_others_do_not():
    train, validation = sample(100)[0], sample(40, seed=4)[0]
    fits = [train_rows(train, validation, T, LogitForm(), FitSettings(epochs=3, batch_size=32), seed=seed) for seed in (1, 1, 2)]
    assert torch.equal(fits[0].rows, fits[1].rows) and not torch.equal(fits[0].rows, fits[2].rows)


def test_one_tool_is_enough():
    features, _ = sample(40)
    positions = features.positions
    target = positions.target.clamp(max=0)
    one = Features(
        Positions(positions.problem, positions.place, target, positions.word, positions.is_decision), *list(vars(features).values())[1:]
    )
    fit = train_rows(one, one, 1, LogitForm(), FitSettings(learning_rate=0.05, epochs=30), seed=0)
    assert fit.validation_loss < fit.first_validation_loss


def of_kind(kind: str):
    if kind == "cohere":
        torch.manual_seed(0)
        sizes = dict(vocab_size=97, hidden_size=32, intermediate_size=48, num_hidden_layers=1, num_attention_heads=4, pad_token_id=0)
        return transformers.CohereForCausalLM(transformers.CohereConfig(**sizes, logit_scale=0.3)).eval()
    return tiny_model("gemma2" if kind == "softcap" else "llama")


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("kind", ["llama", "softcap", "cohere"])
def test_logits_of_tools_are_rounded_as_in_the_model_with_its_head(kind, dtype):
    model = of_kind(kind).to(dtype)
    ids = torch.tensor([[5, 9, 17, 3, 60, 61, 62, 2]])
    hidden, _ = read_texts(model, ids.tolist(), torch.zeros(8, dtype=torch.int64), torch.arange(8))
    rows = torch.randn(40, hidden.shape[1], generator=torch.Generator().manual_seed(1))
    form = logit_form(model, ids)
    with ToolkenHead(model, rows, 90), torch.no_grad():
        expected = model(ids).logits[0, :, 90:130].float()
    found = tool_logits(hidden.float(), rows, form)
    assert found.dtype == torch.float32
    if dtype == torch.bfloat16:
        assert torch.equal(found, expected)
        assert not torch.equal(form(hidden.float() @ rows.T), expected)
    else:
        torch.testing.assert_close(found, expected)
