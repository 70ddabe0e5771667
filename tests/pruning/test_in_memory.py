"""What notebooks hand over to prune, recover and evaluate: it works rightly, or one sentence comes before the first step."""

import pytest
import torch
import transformers
from tiny_text import TEXT, tiny_llama, tiny_tokenizer, write_text
from torch.nn.utils import parametrizations

import pydisp
from pydisp.progress import silence
from pydisp.pruning import corpora, recovery, search
from pydisp.text import Text

SETTINGS = dict(keep_ratio=0.6, ratio_of="block", steps=3, batch_size=2, context_tokens=32, round_to=4)
RECOVERY = dict(steps=2, batch_size=2, context_tokens=32, learning_rate=1e-2, bfloat16=True)
MODES = {
    "no_grad": torch.no_grad,
    "inference_mode": torch.inference_mode,
    "autocast": lambda: torch.autocast("cpu", torch.bfloat16),
    "default device": lambda: torch.device("meta"),
}


@pytest.fixture(autouse=True)
def short_other_text(monkeypatch):
    monkeypatch.setattr(corpora, "other_text", lambda: Text("other", (TEXT[:2000].upper(),)))


@pytest.fixture
def no_step(monkeypatch):
    """Nothing long may begin."""

    def begin(*_args, **_kwargs):
        raise AssertionError("work began")

    monkeypatch.setattr(search, "start_logits", begin)
    monkeypatch.setattr(recovery.Recovery, "run", begin)
    monkeypatch.setattr(corpora, "evaluate_text", begin)


@pytest.fixture
def text(tmp_path):
    return str(write_text(tmp_path / "notes.txt"))


def prune(model, text, **changes):
    return pydisp.prune(model, tiny_tokenizer(), text=text, say=silence, **{**SETTINGS, **changes})[0]


def recover(model, teacher, text):
    return pydisp.recover(model, tiny_tokenizer(), teacher=teacher, text=text, say=silence, **RECOVERY)[0]


def loss(model, text):
    return pydisp.evaluate(model, tiny_tokenizer(), text=text, context_tokens=32).nats_per_token


def same(first, second) -> bool:
    first, second = first.state_dict(), second.state_dict()
    return first.keys() == second.keys() and all(torch.equal(first[key], second[key]) for key in first)


def returning_tuples(model):
    model.config.return_dict = False
    return model


def in_training(model):
    model.gradient_checkpointing_enable()
    return model.train().requires_grad_(False)


@pytest.mark.parametrize("mode", MODES)
def test_modes_around_the_call_change_nothing(text, mode):
    dense = tiny_llama()
    pruned = prune(dense, text)
    recovered = recover(pruned, dense, text)
    losses = loss(dense, text), loss(recovered, text)
    assert not same(recovered, pruned)
    with MODES[mode]():
        again = prune(dense, text)
        recovered_again = recover(pruned, dense, text)
        losses_again = loss(dense, text), loss(recovered, text)
    assert same(again, pruned) and same(recovered_again, recovered) and losses_again == losses
    assert all(p.requires_grad and not p.is_inference() for p in again.parameters())


@pytest.mark.parametrize("method", ["gradient", "wanda", "flap"])
def test_other_methods_under_no_grad_and_autocast(text, method):
    pruned = prune(tiny_llama(), text, method=method)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        assert same(prune(tiny_llama(), text, method=method), pruned)


@pytest.mark.parametrize("form", [torch.compile, returning_tuples, in_training])
def test_other_forms_of_the_same_model(text, form):
    pruned = prune(tiny_llama(), text)
    recovered = recover(pruned, tiny_llama(), text)
    assert same(prune(form(tiny_llama()), text), pruned)
    assert same(recover(form(prune(tiny_llama(), text)), form(tiny_llama()), text), recovered)


def with_adapters(model, **options):
    peft = pytest.importorskip("peft")
    return peft.get_peft_model(model, peft.LoraConfig(task_type="CAUSAL_LM", target_modules=["q_proj"], **options))


def with_value_head(model):
    model.v_head = torch.nn.Linear(32, 1)
    return model


def with_compiled_layer(model):
    model.model.layers[0] = torch.compile(model.model.layers[0])
    return model


def with_weight_norm(model):
    parametrizations.weight_norm(model.model.layers[1].mlp.up_proj)
    return model


def with_more_words(model):
    config = model.config.vocab_size
    model.resize_token_embeddings(300)
    model.config.vocab_size = config
    return model


class OtherTensor(torch.Tensor):
    pass


def of_other_tensors(model):
    model.model.norm.weight = torch.nn.Parameter(torch.ones(32).as_subclass(OtherTensor))
    return model


WRONG = {
    "adapters": (with_adapters, "is a PeftModelForCausalLM, a model with adapters; give what its merge_and_unload"),
    "inner of adapters": (lambda m: with_adapters(m, layers_to_transform=[2]).get_base_model(), r"has model.layers.2.*base_layer.*merged"),
    "AutoModel": (lambda m: m.model, "which gives no logits over words; load it with AutoModelForCausalLM"),
    "value head": (with_value_head, "has v_head.weight, which is no part of a"),
    "compiled layer": (with_compiled_layer, "has model.layers.0._orig_mod.*no part of it compiled or wrapped"),
    "weight norm": (with_weight_norm, "has model.layers.1.mlp.up_proj.parametrizations.*which is no part of a"),
    "resized": (with_more_words, "has model.embed_tokens.weight of the shape 300 x 32, its config makes it 257 x 32"),
    "meta": (lambda m: m.to("meta"), "on the meta device and has no values; load the model's weights"),
    "other tensors": (of_other_tensors, "model.norm.weight of .* is a OtherTensor, not a plain tensor"),
    "wrapped": (torch.nn.DataParallel, r"is a DataParallel; give a model in memory .*model.module"),
    "name": (lambda m: "demo", "is a str; give a model in memory that AutoModelForCausalLM loads"),
}


@pytest.mark.parametrize("kind", WRONG)
def test_what_cannot_be_used_is_told_before_the_work(text, no_step, monkeypatch, kind):
    make, words = WRONG[kind]
    error = TypeError if kind in ("wrapped", "name") else ValueError
    for call, name in (
        (lambda: prune(make(tiny_llama()), text), "model"),
        (lambda: recover(small_pruned(), make(tiny_llama()), text), "teacher"),
        (lambda: recover(make(small_pruned()), tiny_llama(), text), "model"),
    ):
        with pytest.raises(error, match=words) as refused:
            call()
        assert name in str(refused.value) and "\n" not in str(refused.value)


def small_pruned():
    from families import random_plan

    from pydisp.spec import ModelSpec
    from pydisp.surgery import prune_model

    dense = tiny_llama()
    return prune_model(dense, random_plan(ModelSpec.from_model(dense), 1))


def test_a_classifier_and_a_model_made_in_inference_mode(text, no_step):
    classifier = transformers.LlamaForSequenceClassification(tiny_llama().config)
    with torch.inference_mode():
        made = tiny_llama()
    for model, words in ((classifier, "which gives no logits over words"), (made, "was made inside torch.inference_mode")):
        with pytest.raises(ValueError, match=f"^model {'is a .*' if model is classifier else ''}{words}"):
            prune(model, text)
        with pytest.raises(ValueError, match=words):
            recover(small_pruned(), model, text)
    assert loss(made, text) == loss(tiny_llama(), text)
    with pytest.raises(TypeError, match="LlamaForSequenceClassification gives no logits for every token"):
        loss(classifier, text)


def test_evaluate_scores_what_has_logits_and_values(text):
    dense = loss(tiny_llama(), text)
    assert loss(with_adapters(tiny_llama()), text) == pytest.approx(dense, abs=1e-6)
    assert loss(torch.compile(tiny_llama(), backend="eager"), text) == pytest.approx(dense, abs=1e-6)
    assert loss(returning_tuples(tiny_llama()), text) == dense
    for model, error, words in (
        (tiny_llama().to("meta"), ValueError, "on the meta device and has no values"),
        (torch.nn.DataParallel(tiny_llama()), TypeError, r"model is a DataParallel.*\(model.module\)"),
        (tiny_llama().model, TypeError, "LlamaModel gives no logits for every token"),
    ):
        with pytest.raises(error, match=words):
            loss(model, text)


@pytest.mark.parametrize("tokenizer", [None, "demo", tiny_tokenizer().backend_tokenizer, len])
def test_the_tokenizer_is_checked(text, no_step, tokenizer):
    words = "without its tokenizer" if tokenizer is None else "give the model's tokenizer of transformers"
    for call in (
        lambda: pydisp.prune(tiny_llama(), tokenizer, text=text, **SETTINGS),
        lambda: pydisp.recover(small_pruned(), tokenizer, teacher=tiny_llama(), text=text, **RECOVERY),
        lambda: pydisp.evaluate(tiny_llama(), tokenizer, text=text),
    ):
        with pytest.raises((TypeError, ValueError), match=words):
            call()


@pytest.mark.parametrize(
    "changes",
    [
        {"keep_ratio": "0.5"}, {"plan": "plan.safetensors"}, {"plan": {}}, {"recover": "yes"}, {"recover": 5}, {"minutes": "3", "steps": None},
        {"say": None}, {"steps": 2.5}, {"steps": "3"}, {"seed": None}, {"context_tokens": "64"}, {"round_to": 0.5}, {"bfloat16": "yes"},
        {"gradient_checkpointing": 2}, {"learning_rate": "1e-3"}, {"accumulate": None}, {"hypernetwork": None},
    ],
    ids=str,
)  # fmt: skip
def test_values_of_wrong_types_are_named(text, no_step, changes):
    name, value = next(iter(changes.items()))
    with pytest.raises((TypeError, ValueError), match=f"{name} is {value!r}; (it must|give)"):
        pydisp.prune(tiny_llama(), tiny_tokenizer(), text=text, **{"say": silence, **SETTINGS, **changes})


@pytest.mark.parametrize(
    ("name", "value"), [("steps", "2"), ("learning_rate", "x"), ("trains_head", "x"), ("seed", None), ("cross_entropy", "1")]
)
def test_values_of_a_recovery_too(text, no_step, name, value):
    with pytest.raises(ValueError, match=f"recovery: {name} is {value!r}; it must"):
        pydisp.recover(small_pruned(), tiny_tokenizer(), teacher=tiny_llama(), text=text, **{**RECOVERY, name: value})


def test_numbers_of_numpy_are_taken_as_plain_ones(text):
    import numpy as np

    given = {name: np.int64(value) if type(value) is int else value for name, value in SETTINGS.items()} | {"keep_ratio": np.float64(0.6)}
    model, report = pydisp.prune(tiny_llama(), tiny_tokenizer(), text=text, say=silence, **given)
    assert same(model, prune(tiny_llama(), text)) and '"steps": 3' in report.to_json()
    evaluated = pydisp.evaluate(tiny_llama(), tiny_tokenizer(), text=text, context_tokens=np.int64(32))
    assert evaluated.report.to_json() and type(evaluated.context_tokens) is int
