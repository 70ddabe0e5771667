"""A model that accelerate has spread over memory and disk gives the same numbers as one in memory, from its spec to its recovery."""

import json

import pytest
import torch
from tiny_text import PARTLY_ON_DISK, TEXT, tiny_llama, tiny_tokenizer
from transformers import AutoModelForCausalLM, LlamaForCausalLM

import pydisp
from pydisp import placement
from pydisp.evaluation import evaluate_text
from pydisp.loading import LoadingError, load_model
from pydisp.progress import silence
from pydisp.pruning import METHODS, PruneSettings, RecoverySettings, make_plan
from pydisp.pruning.run import Run
from pydisp.spec import ModelSpec
from pydisp.surgery import prune_model
from pydisp.text import Text, tokenize

pytest.importorskip("accelerate")
CPU = torch.device("cpu")
DISK = PARTLY_ON_DISK | {"model.norm": "disk", "lm_head": "disk"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("dense")
    model = tiny_llama()
    model.config.tie_word_embeddings = False
    LlamaForCausalLM(model.config).save_pretrained(folder)
    tiny_tokenizer().save_pretrained(folder)
    (folder / "map.json").write_text(json.dumps(DISK))
    return folder


@pytest.fixture
def spread(folder):
    return load_model(str(folder), device=CPU, dtype=torch.float32, device_map=DISK)


@pytest.fixture(scope="module")
def whole(folder):
    return load_model(str(folder), device=CPU, dtype=torch.float32)


@pytest.fixture(scope="module")
def windows():
    return tokenize(Text("text", (TEXT,)), tiny_tokenizer()).windows(32)


def same(a, b) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def test_what_is_where(spread, whole):
    assert placement.is_offloaded(spread) and placement.is_spread(spread) and placement.places(spread) == "cpu, disk"
    assert not placement.is_offloaded(whole) and not placement.is_spread(whole) and placement.places(whole) == "cpu"
    assert placement.free_bytes_around(spread) == pytest.approx(placement.free_bytes_around(whole), rel=0.2)


def test_values_of_what_is_on_disk(spread, whole):
    for name, parameter in whole.named_parameters():
        assert torch.equal(placement.values(spread, name), parameter)
    assert spread.lm_head.weight.is_meta and not placement.values(spread, "model.embed_tokens.weight").requires_grad


def test_spec_and_loss_are_those_of_the_whole_model(spread, whole, windows):
    assert ModelSpec.from_model(spread) == ModelSpec.from_model(whole)
    tokens = tokenize(Text("text", (TEXT,)), tiny_tokenizer())
    assert evaluate_text(spread, tokens, 32) == evaluate_text(whole, tokens, 32)


@pytest.mark.parametrize("method", METHODS)
def test_every_method_makes_the_same_plan(spread, whole, windows, method):
    plans = []
    for model in (whole, spread):
        settings = PruneSettings(keep_ratio=0.5, ratio_of="block", method=method, steps=3, batch_size=2, context_tokens=32, round_to=4)
        spec = ModelSpec.from_model(model)
        settings = settings.resolved(spec, 128)
        plans.append(make_plan(model, spec, windows, settings).plan)
    assert plans[0] == plans[1]
    pruned = [prune_model(model, plans[0]) for model in (whole, spread)]
    assert same(*(model.state_dict() for model in pruned)) and not placement.is_offloaded(pruned[1])
    assert placement.placed_like(pruned[1], spread).__class__ is pruned[0].__class__
    assert all(p.is_meta for p in spread.model.layers[2].parameters())  # the dense model is as it was


def test_a_backward_holds_the_weights_of_one_layer(spread, windows):
    """Gradient checkpointing is the default where weights wait on disk, so that no graph holds them all."""
    corpora = pydisp.pruning.corpora.Corpora(*(tokenize(Text("text", (TEXT * 9,)), tiny_tokenizer()) for _ in range(3)), "")

    def chosen(model, **changes):
        asked = PruneSettings(keep_ratio=0.5, ratio_of="block", round_to=4, context_tokens=32, **changes)
        return Run.checked("tiny", model, ModelSpec.from_model(model), asked, corpora, None, silence).settings.gradient_checkpointing

    assert chosen(spread) is True and chosen(spread, gradient_checkpointing=False) is False and chosen(tiny_llama()) is False


def test_prune_in_memory(folder, spread, whole, tmp_path):
    text = tmp_path / "notes.txt"
    text.write_text(TEXT * 12)
    options = dict(text=str(text), keep_ratio=0.6, ratio_of="block", steps=3, batch_size=2, context_tokens=32, round_to=4, say=silence)
    recover = RecoverySettings(steps=2)
    (a, first), (b, second) = (pydisp.prune(model, tiny_tokenizer(), recover=recover, **options) for model in (whole, spread))
    assert same(a.state_dict(), b.state_dict())
    results = [json.loads(report.to_json())["facts"]["result"] for report in (first, second)]
    assert results[0]["perplexity"] == results[1]["perplexity"]
    half = AutoModelForCausalLM.from_pretrained(folder, device_map=DISK, dtype=torch.bfloat16)
    with pytest.raises(ValueError, match="on disk in half precision.*load it with dtype=torch.float32"):
        pydisp.prune(half, tiny_tokenizer(), **options)


def test_weights_that_wait_beside_a_gpu_are_not_trained(spread, monkeypatch):
    monkeypatch.setattr(type(spread), "device", torch.device("cuda:0"))
    with pytest.raises(ValueError, match="must stay on a GPU, but [0-9,]+ of the dense model's are in memory or on disk"):
        placement.refuse_untrainable(spread)


def test_maps_that_cannot_be_used(folder, tmp_path):
    assert placement.read_device_map(None, "cpu") is None and placement.read_device_map("auto") == "auto"
    assert placement.read_device_map(str(folder / "map.json")) == DISK
    (tmp_path / "list.json").write_text("[1]")
    for given, device, words in (
        ("everywhere", None, "choose auto, balanced"), (str(tmp_path / "list.json"), None, "list.json holds no device map"),
        ("auto", "cpu", "--device cpu and --device-map auto exclude each other"),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=words):
            placement.read_device_map(given, device)
    with pytest.raises(FileNotFoundError, match="there is no file"):
        placement.read_device_map("no.json")
    with pytest.raises(LoadingError, match="leaves the embeddings .* in memory or on disk"):
        load_model(str(folder), device=CPU, dtype=torch.float32, device_map=DISK | {"model.embed_tokens": "disk"})
