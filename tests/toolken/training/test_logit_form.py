"""LogitForm: a scale and a softcap are found and compared with the model's own logits."""

import pytest
import torch
import transformers
from families import MODELS, tiny_model
from torch import nn

from pydisp.toolken.head import HeadInput
from pydisp.toolken.training.logit_form import LogitForm, logit_form

IDS = torch.tensor([[5, 9, 17, 3, 60]])
SMALL = dict(vocab_size=97, hidden_size=32, intermediate_size=48, num_hidden_layers=1, num_attention_heads=4, pad_token_id=0)


@pytest.mark.parametrize("name", MODELS)
def test_every_family_has_its_form(name):
    model = tiny_model(name)
    cap = getattr(model.config, "final_logit_softcapping", None)
    assert logit_form(model, IDS) == LogitForm(1.0, cap, model.dtype)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(
    ("name", "changes", "scale"), [("Cohere", {"logit_scale": 0.25}, 0.25), ("Granite", {"logits_scaling": 8.0}, 0.125)]
)
def test_a_scale_is_found_and_applied(name, changes, scale, dtype):
    torch.manual_seed(0)
    config = getattr(transformers, f"{name}Config")(**SMALL, **changes)
    model = getattr(transformers, f"{name}ForCausalLM")(config).to(dtype).eval()
    form = logit_form(model, IDS)
    assert form == LogitForm(scale, None, dtype)
    with HeadInput(model) as head, torch.no_grad():
        logits = model(IDS).logits
        torch.testing.assert_close(form(head.output), logits)


def test_a_value_of_the_config_that_the_model_does_not_use_is_not_applied():
    model = tiny_model("llama", dtype=torch.float32)
    model.config.final_logit_softcapping = 30.0
    model.config.logit_scale = 0.5
    assert logit_form(model, IDS) == LogitForm()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("cap", [5.0, 30.0, 1000.0])
def test_a_softcap_is_found_in_every_precision_though_the_logits_are_small(cap, dtype):
    model = tiny_model("gemma2", dtype=dtype, final_logit_softcapping=cap)
    with torch.no_grad():
        model.get_output_embeddings().weight.mul_(0.01)
        assert model(IDS).logits.abs().max() < 1
    assert logit_form(model, IDS) == LogitForm(1.0, cap, dtype)
    model.config.final_logit_softcapping = None
    assert logit_form(model, IDS) == LogitForm(1.0, None, dtype)


def test_a_softcap_that_is_not_in_the_config_is_refused():
    model = tiny_model("llama", dtype=torch.bfloat16)
    plain = model.forward

    def capped(*args, **kwargs):
        output = plain(*args, **kwargs)
        output.logits = 30 * torch.tanh(output.logits / 30)
        return output

    model.forward = capped
    with pytest.raises(ValueError, match="neither the products of its head nor these"):
        logit_form(model, IDS)


def test_the_model_is_as_before():
    model = tiny_model("gemma2")
    with torch.no_grad():
        before = model(IDS).logits
        logit_form(model, IDS)
        assert torch.equal(model(IDS).logits, before) and not model.get_output_embeddings()._forward_hooks


def test_a_softcap_and_a_scale_are_applied_in_this_order():
    products = torch.tensor([-4.0, 0.5, 9.0])
    torch.testing.assert_close(LogitForm(2.0, 5.0)(products), 5 * torch.tanh(2 * products / 5))


def test_other_logits_are_refused():
    model = tiny_model("llama")
    plain = model.forward

    def squared(*args, **kwargs):
        output = plain(*args, **kwargs)
        output.logits = output.logits**2
        return output

    model.forward = squared
    with pytest.raises(ValueError, match="neither the products of its head nor these with the scale or softcap"):
        logit_form(model, IDS)


class PastTheHead(nn.Module):
    """A model that reads its head's weight without calling the head."""

    def __init__(self, model):
        super().__init__()
        self.model, self.config = model, model.config

    def get_output_embeddings(self):
        return self.model.lm_head

    def get_input_embeddings(self):
        return self.model.get_input_embeddings()

    def forward(self, input_ids, use_cache=False):
        hidden = self.model.model(input_ids).last_hidden_state
        return (nn.functional.linear(hidden, self.model.lm_head.weight),)


def test_logits_made_past_the_head_are_refused():
    with pytest.raises(ValueError, match="PastTheHead makes its logits otherwise than by its head"):
        logit_form(PastTheHead(tiny_model("llama")), IDS)
