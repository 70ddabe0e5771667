"""The loss of every token is that of the model's own logits, whichever way it is scored, and no logits are made where none are needed."""

import pytest
import torch
import transformers
from families import MODELS, random_plan, tiny_model
from torch import nn

from pydisp import token_nll as module
from pydisp.spec import ModelSpec
from pydisp.surgery import prune_model
from pydisp.token_nll import scorer, token_nll, token_nll_by_logits

_SMALL = dict(vocab_size=97, hidden_size=48, num_hidden_layers=2, num_attention_heads=4, max_position_embeddings=64, initializer_range=0.3)
_TOKENS = dict(pad_token_id=0, bos_token_id=1, eos_token_id=2)
# Families without a row: PLAIN ones return the products of hidden states and output matrix as their logits, ALTERED ones do not.
PLAIN = {
    "gpt2": lambda: transformers.GPT2Config(
        vocab_size=97, n_embd=48, n_layer=2, n_head=4, n_positions=64, initializer_range=0.3, **_TOKENS
    ),
    "gpt_neox": lambda: transformers.GPTNeoXConfig(**_SMALL, **_TOKENS, intermediate_size=80),
}
ALTERED = {
    "cohere": lambda: transformers.CohereConfig(**_SMALL, **_TOKENS, intermediate_size=80, logit_scale=0.3),
    "granite": lambda: transformers.GraniteConfig(**_SMALL, **_TOKENS, intermediate_size=80, logits_scaling=8.0),
}


@pytest.fixture
def ids(generator):
    return torch.randint(3, 97, (3, 20), generator=generator)


def foreign(config, dtype=torch.float64):
    torch.manual_seed(0)
    return transformers.AutoModelForCausalLM.from_config(config()).to(dtype).eval()


def plain_nll(model, ids):
    """Cross-entropy of the model's logits in float64."""
    with torch.no_grad():
        logits = model(input_ids=ids).logits[:, :-1].double()
    return nn.functional.cross_entropy(logits.flatten(0, 1), ids[:, 1:].flatten(), reduction="none").view(len(ids), -1)


@pytest.fixture
def no_logits(monkeypatch):
    monkeypatch.setattr(module, "logits_of", lambda *_: pytest.fail("logits were made"))


@pytest.mark.parametrize("name", MODELS)
def test_a_known_family_is_scored_without_logits(name, ids, no_logits):
    dense = tiny_model(name)
    spec = ModelSpec.from_model(dense)
    for model in (dense, prune_model(dense, random_plan(spec, no_attention=(1,)), spec)):
        assert scorer(model, ids) is token_nll
        assert (token_nll(model, ids) - plain_nll(model, ids)).abs().max() < 1e-12


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("name", ["llama", "gemma2", "phi"])
def test_other_dtypes_are_scored_to_their_own_rounding(name, dtype, ids):
    model = tiny_model(name, dtype=dtype)
    nll = token_nll(model, ids)
    assert nll.dtype == torch.float32
    limit = 1e-5 if dtype == torch.float32 else 0.1  # bfloat16 logits of up to 10 are rounded by up to 0.03
    assert (nll - plain_nll(model, ids)).abs().max() < limit


def test_a_softcap_counts(ids, no_logits):
    model = tiny_model("gemma2", final_logit_softcapping=0.5)
    got = token_nll(model, ids)
    assert (got - plain_nll(model, ids)).abs().max() < 1e-12
    model.config.final_logit_softcapping = None
    assert (got - plain_nll(model, ids)).abs().max() > 0.1


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
@pytest.mark.parametrize("name", PLAIN)
def test_an_unknown_family_with_plain_logits_is_scored_from_hidden_states(name, dtype, ids, caplog):
    model = foreign(PLAIN[name], dtype)
    assert scorer(model, ids) is token_nll and not caplog.records
    limit = {torch.float64: 1e-12, torch.float32: 1e-4, torch.bfloat16: 0.2}[dtype]
    assert (token_nll(model, ids) - plain_nll(model, ids)).abs().max() < limit


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
@pytest.mark.parametrize("name", ALTERED)
def test_altered_logits_are_scored_as_they_are_and_that_is_said(name, dtype, ids, caplog):
    model = foreign(ALTERED[name], dtype)
    assert scorer(model, ids) is token_nll_by_logits
    assert len(caplog.records) == 1 and "is scored from its own logits" in caplog.text and "by up to" in caplog.text
    want = plain_nll(model, ids)
    assert (token_nll_by_logits(model, ids) - want).abs().max() < (1e-12 if dtype == torch.float64 else 1e-5)
    assert (token_nll(model, ids).double() - want).abs().max() > 0.1  # what the comparison is for


class Doubled(nn.Linear):
    def forward(self, x):
        return 2 * super().forward(x)


def test_a_part_that_was_exchanged_makes_a_known_family_unknown(ids):
    model = tiny_model("llama")
    model.lm_head.__class__ = Doubled
    assert scorer(model, ids) is token_nll_by_logits
    assert (token_nll_by_logits(model, ids) - plain_nll(model, ids)).abs().max() < 1e-12
    for part in ("model", "head"):
        model = tiny_model("llama")
        hooked = model if part == "model" else model.lm_head
        hook = hooked.register_forward_hook(lambda *_: None)
        assert scorer(model, ids) is token_nll  # compared, and the same
        hook.remove()
        model.lm_head.register_forward_hook(lambda _module, _inputs, products: 2 * products)
        assert scorer(model, ids) is token_nll_by_logits


def double_output(module, _inputs, output):
    return 2 * output if type(module) is nn.Linear and module.out_features == 97 else None


def double_input(module, inputs):
    return (2 * inputs[0],) if type(module) is nn.Linear and module.out_features == 97 else None


@pytest.mark.parametrize(
    "hook",
    [
        lambda head: head.register_forward_pre_hook(double_input),
        lambda head: nn.modules.module.register_module_forward_hook(double_output),
        lambda head: nn.modules.module.register_module_forward_pre_hook(double_input),
    ],
    ids=["before the head", "after every module", "before every module"],
)
def test_a_hook_that_changes_the_logits_counts(hook, ids):
    model = tiny_model("llama")
    handle = hook(model.lm_head)
    try:
        want = plain_nll(model, ids)
        assert (token_nll(model, ids) - want).abs().max() > 0.1
        assert (scorer(model, ids)(model, ids) - want).abs().max() < 1e-12
    finally:
        handle.remove()


class Bare(nn.Module):
    """A language model that has nothing but logits."""

    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(97, 97)
        self.config = transformers.PretrainedConfig()

    def get_output_embeddings(self):
        return None

    def forward(self, input_ids, use_cache=False):
        return (self.embedding(input_ids),)


def test_a_model_without_hidden_states_is_scored_from_its_logits(ids, caplog):
    model = Bare().double()
    assert scorer(model, ids) is token_nll_by_logits and "they cannot be had" in caplog.text
    want = nn.functional.cross_entropy(model.embedding.weight[ids[:, :-1]].flatten(0, 1), ids[:, 1:].flatten(), reduction="none")
    assert (token_nll_by_logits(model, ids).flatten() - want).abs().max() < 1e-12


@pytest.mark.parametrize("auto_class", ["AutoModel", "AutoModelForSequenceClassification"])
def test_a_model_without_logits_for_every_token_is_refused(auto_class, ids):
    model = getattr(transformers, auto_class).from_config(tiny_model("llama").config).eval()
    with pytest.raises(TypeError, match="gives no logits for every token; load the model with AutoModelForCausalLM"):
        scorer(model, ids)


def test_chunks_of_rows_change_nothing(ids, monkeypatch):
    model = foreign(ALTERED["granite"])
    whole = token_nll_by_logits(model, ids)
    monkeypatch.setattr(module, "_ROWS_PER_CHUNK", 11)
    assert torch.equal(token_nll_by_logits(model, ids), whole)
