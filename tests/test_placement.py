"""A model that accelerate has spread over memory and disk gives the same numbers as one in memory, from its spec to its recovery."""

import json

import pytest
import torch
from tiny_text import PARTLY_ON_DISK, TEXT, tiny_llama, tiny_tokenizer
from transformers import AutoModelForCausalLM, LlamaForCausalLM

import pydisp
from pydisp import placement
from pydisp.evaluation import evaluate_text
from pydisp.loading import load_model
from pydisp.progress import silence
from pydisp.pruning import METHODS, PruneSettings, RecoverySettings, make_plan, planning
from pydisp.pruning.corpora import Corpora
from pydisp.pruning.estimate import try_recovery
from pydisp.pruning.run import Run
from pydisp.pruning.start import squared_gradients
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
    assert placement.map_of_copy(spread) is None and placement.placed_like(pruned[1], spread) is pruned[1]
    assert all(p.is_meta for p in spread.model.layers[2].parameters())  # the dense model is as it was


def test_checkpointing_is_the_default_where_weights_wait(spread, windows, monkeypatch):
    """So that no graph holds the weights of all layers."""
    corpora = Corpora(*(tokenize(Text("text", (TEXT * 9,)), tiny_tokenizer()) for _ in range(3)), "")
    spec = ModelSpec.from_model(spread)

    def asked(**changes):
        return PruneSettings(keep_ratio=0.5, ratio_of="block", round_to=4, context_tokens=32, **changes)

    def chosen(model, **changes):
        return Run.checked("tiny", model, spec, asked(**changes), corpora, None, silence).settings.gradient_checkpointing

    assert chosen(spread) is True and chosen(spread, gradient_checkpointing=False) is False and chosen(tiny_llama()) is False
    seen, scored = [], planning.squared_gradients
    monkeypatch.setattr(planning, "squared_gradients", lambda *a, **k: (seen.append(k["gradient_checkpointing"]), scored(*a, **k))[1])
    for model in (spread, tiny_llama()):
        make_plan(model, spec, windows, asked(method="gradient").resolved(spec, 128))
    assert seen == [True, False]


def test_the_model_is_left_as_it_was(spread, windows):
    """accelerate makes new parameters in every forward, so the old ones say nothing of the model."""
    spread.model.layers[1].mlp.up_proj.weight.requires_grad_(False)
    before = {name: p.requires_grad for name, p in spread.named_parameters()}
    squared_gradients(spread, ModelSpec.from_model(spread), windows[:2], gradient_checkpointing=True)
    assert {name: p.requires_grad for name, p in spread.named_parameters()} == before
    try_recovery(spread, windows, RecoverySettings().resolved(1, 1, 32, CPU), 0.5)
    assert {name: p.requires_grad for name, p in spread.named_parameters()} == before and len(set(before.values())) == 2


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


def test_a_copy_is_at_the_places_of_the_model(spread, monkeypatch):
    import accelerate

    calls = []
    monkeypatch.setattr(accelerate, "dispatch_model", lambda model, places, **_options: (calls.append(places), model)[1])
    spread.hf_device_map = {"model.embed_tokens": 0, "model.layers.0": 0, "model.layers.1": 1, "model.layers.2": "disk"}
    copied = {"model.embed_tokens": 0, "model.layers.0": 0, "model.layers.1": 1, "model.layers.2": "cpu"}
    pruned = tiny_llama()
    assert placement.placed_like(pruned, spread) is pruned and calls == [copied] == [placement.map_of_copy(spread)]
    assert placement.places(spread) == "0, 1, disk"


def test_what_is_on_disk_is_not_trained(folder, whole, spread, tmp_path):
    text = tmp_path / "notes.txt"
    text.write_text(TEXT * 12)
    spec = ModelSpec.from_model(whole)
    plan = make_plan(
        whole, spec, torch.ones(4, 32, dtype=torch.long), PruneSettings(keep_ratio=0.5, method="random").resolved(spec, 128)
    ).plan
    prune_model(whole, plan).save_pretrained(tmp_path / "pruned")
    pruned = load_model(str(tmp_path / "pruned"), device=CPU, dtype=torch.float32, device_map=PARTLY_ON_DISK)
    with pytest.raises(ValueError, match="no values in memory, so it cannot be trained"):
        pydisp.recover(pruned, tiny_tokenizer(), teacher=whole, text=str(text), steps=1, say=silence)


def test_weights_that_wait_beside_a_gpu_are_not_trained(spread, monkeypatch):
    monkeypatch.setattr(type(spread), "device", torch.device("cuda:0"))
    with pytest.raises(ValueError, match="must stay on a GPU, but [0-9,]+ of the dense model's are in memory or on disk"):
        placement.refuse_untrainable(spread)


def test_maps_that_cannot_be_used(folder, tmp_path):
    assert placement.read_device_map(None, "cpu") is None and placement.read_device_map("auto") == "auto"
    assert placement.read_device_map(str(folder / "map.json")) == DISK and placement.device_of_map(DISK) == "cpu"
    assert placement.device_of_map("auto") is None and placement.device_of_map({"a": "cpu", "b": 1}) == "cuda:1"
    for number, (values, words) in enumerate((
        ([1], "holds no device map"), ({"": True}, "holds no device map"), ({}, "holds no device map"),
        ({"": "nowhere"}, "names the place 'nowhere', which cannot be used here"), ({"": "meta"}, "holds no values"),
        ({"": 10**20}, "names the place 100000000000000000000, which cannot be used here"),
        ({"": -7}, "names the place -7, which cannot be used"),
        ({"": 2**31}, "names the place 2147483648, which cannot be used here"), ({"": "cuda:" + "9" * 30}, "which cannot be used here"),
        ({"": "cpu\ud800"}, "which cannot be used here"),
    )):  # fmt: skip
        (tmp_path / f"{number}.json").write_text(json.dumps(values))
        with pytest.raises(ValueError, match=words):
            placement.read_device_map(str(tmp_path / f"{number}.json"))
    for given, device, words in (
        ("everywhere", None, "choose auto, balanced"), ("auto", "cpu", "--device cpu and --device-map auto exclude each other"),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=words):
            placement.read_device_map(given, device)
    with pytest.raises(FileNotFoundError, match="there is no file"):
        placement.read_device_map("no.json")


def test_maps_that_do_not_fit_the_model(folder):
    parts = {"model.layers.1": None, "model.layers.1.mlp": "disk", "model.layers.1.self_attn": "cpu"}
    for changes, words in (
        ({"model.layers.7": "cpu"}, "names 'model.layers.7', which is no part of this model"),
        ({"model.layers.0": None}, "has no place for model.layers.0"), (parts, "splits the layer model.layers.1; give the whole layer one place"),
        ({"model.embed_tokens": "disk"}, "leaves the embeddings in memory or on disk"),
    ):  # fmt: skip
        places = {part: place for part, place in (DISK | changes).items() if place is not None}
        with pytest.raises(ValueError, match=words):
            load_model(str(folder), device=CPU, dtype=torch.float32, device_map=places)
    with pytest.raises(ValueError, match="are one matrix, which the device map puts at two places"):
        placement.check_device_map(tiny_llama(), DISK)
