import json
import os

import pytest
import torch
from families import random_plan, tiny_model
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from pydisp.indices import IndexSet
from pydisp.plan import AttentionPlan, LayerPlan, MLPPlan, PruningPlan
from pydisp.spec import ModelSpec


@pytest.fixture(scope="module")
def plan():
    return random_plan(ModelSpec.from_model(tiny_model("llama")), 1, no_attention=(0,), no_mlp=(2,))


def test_save_and_load(plan, tmp_path):
    plan.save(tmp_path / "plan.safetensors")
    again = PruningPlan.load(tmp_path / "plan.safetensors")
    assert again == plan and again.digest() == plan.digest()
    assert again.layers[0].attention is None and again.layers[2].mlp is None
    assert [p.name for p in tmp_path.iterdir()] == ["plan.safetensors"]


def test_the_same_plan_gives_the_same_bytes_under_one_metadata_key(plan, tmp_path):
    for name in "ab":
        plan.save(tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    with safe_open(tmp_path / "a", framework="pt") as file:
        assert list(file.metadata()) == ["pydisp"]


def test_the_digest_tells_plans_apart(plan):
    spec = ModelSpec.from_model(tiny_model("llama"))
    assert random_plan(spec, 1, (0,), (2,)).digest() == plan.digest()
    assert random_plan(spec, 2, (0,), (2,)).digest() != plan.digest()
    assert random_plan(spec, 1, (0,)).digest() != plan.digest()


def _edit(path, change):
    with safe_open(path, framework="pt") as file:
        metadata = file.metadata()
    tensors = load_file(path)
    change(tensors)
    save_file(tensors, path, metadata=metadata)


KEY = "layers.1.mlp_middle"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.pop(KEY), f"{KEY} is missing"),
        (lambda t: t.update({KEY: t[KEY].flip(0).contiguous()}), f"{KEY}: .*not sorted"),
        (lambda t: t[KEY].fill_(3), f"{KEY}: .*index 3 is repeated"),
        (lambda t: t[KEY].__setitem__(-1, 80), f"{KEY}: .*outside a space of size 80"),
        (lambda t: t.update({KEY: t[KEY].long()}), f"{KEY}: .*int32"),
    ],
    ids=["missing", "unsorted", "repeated", "out-of-range", "dtype"],
)
def test_a_damaged_plan_is_refused_with_its_name(plan, tmp_path, change, message):
    path = tmp_path / "plan.safetensors"
    plan.save(path)
    if len(load_file(path)[KEY]) < 2:
        pytest.fail("the fixture's middle must have two features to damage")
    _edit(path, change)
    with pytest.raises(ValueError, match=f"plan.safetensors is damaged: .*{message}"):
        PruningPlan.load(path)


HEADER = {
    "version": 1,
    "family": "llama",
    "hidden_size": 8,
    "middle_size": 6,
    "model_digest": "d",
    "layers": [{"attention": True, "mlp": False}],
}
SETS = {f"layers.0.attention_{name}": torch.arange(8, dtype=torch.int32) for name in ("input", "output")}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({}, None),
        ({"hidden_size": 8.0}, "is damaged: hidden_size is 8.0, it must be a whole number of at least 1; copy"),
        ({"hidden_size": True}, "hidden_size is True"),
        ({"middle_size": 0}, "middle_size is 0"),
        ({"middle_size": 10**30}, "middle_size is 1000"),
        ({"middle_size": None}, "middle_size is None"),
        ({"family": ["llama"]}, r"family is \['llama'\], it must be the type of a model"),
        ({"model_digest": 3}, "model_digest is 3"),
        ({"layers": {"attention": True}}, "layers is {.*, it must be a list that says of each layer"),
        ({"layers": [True]}, "layers is"),
        ({"layers": [{"attention": 1, "mlp": False}]}, "layers is"),
        ({"layers": [{"attention": True}]}, "layers is"),
        ({"layers": []}, "layers is \\(\\); it must be a list of LayerPlan"),
        ({"layers": [{"attention": False, "mlp": False}]}, "no attention block is left"),
        ({"layers": [{"attention": True, "mlp": True}]}, "layers.0.mlp_input is missing"),
        ({"layers": [{"attention": True, "mlp": False}, {"attention": False, "mlp": False}]}, None),
        ({"hidden_size": 7}, "index 7 is outside a space of size 7"),
        ({"version": 2}, "is not a plan of version 1"),
    ],
)
def test_a_header_of_other_values_is_refused(tmp_path, change, message):
    path = tmp_path / "plan.safetensors"
    save_file(SETS, path, metadata={"pydisp": json.dumps({**HEADER, **change})})
    if message is None:
        assert len(PruningPlan.load(path).layers[0].attention.input) == 8
        return
    with pytest.raises(ValueError, match=f"plan.safetensors .*{message}"):
        PruningPlan.load(path)


def test_sets_that_no_layer_keeps_are_refused(tmp_path):
    path = tmp_path / "plan.safetensors"
    save_file({**SETS, "layers.1.mlp_input": torch.arange(8, dtype=torch.int32)}, path, metadata={"pydisp": json.dumps(HEADER)})
    with pytest.raises(ValueError, match="'layers.1.mlp_input' belongs to no block that the plan keeps; copy the whole file again"):
        PruningPlan.load(path)


def test_other_files_are_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="there is no file"):
        PruningPlan.load(tmp_path / "none")
    (tmp_path / "text").write_text("hello, this is no safetensors file")
    with pytest.raises(ValueError, match="text is not a plan"):
        PruningPlan.load(tmp_path / "text")
    save_file({"x": torch.zeros(1)}, tmp_path / "weights")
    with pytest.raises(ValueError, match="weights is not a plan of version 1"):
        PruningPlan.load(tmp_path / "weights")
    save_file({"x": torch.zeros(1)}, tmp_path / "deep", metadata={"pydisp": "[" * 100_000})
    with pytest.raises(ValueError, match="the head of deep holds lists in lists, more than 64 deep; give the plan.safetensors of a pruned"):
        PruningPlan.load(tmp_path / "deep")
    head = json.dumps({"__metadata__": "x" * 5000}).encode()
    (tmp_path / "long").write_bytes(len(head).to_bytes(8, "little") + head)
    with pytest.raises(ValueError, match="^long is not a plan .{,500}$"):
        PruningPlan.load(tmp_path / "long")
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ValueError, match="pipe is a pipe; give the plan.safetensors"):
        PruningPlan.load(tmp_path / "pipe")
    with open(tmp_path / "large", "wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(ValueError, match="large has 1,099,511,627,776 bytes and a plan at most 268,435,456"):
        PruningPlan.load(tmp_path / "large")


def _layer(hidden=8, middle=6, attention=True):
    full = IndexSet.full(hidden)
    return LayerPlan(AttentionPlan(full, full) if attention else None, MLPPlan(full, IndexSet.full(middle), full))


@pytest.mark.parametrize(
    ("layers", "message"),
    [
        ((), "layers is \\(\\); it must be a list of LayerPlan"),
        ((_layer(), _layer(hidden=9)), "attention_input of layer 1 indexes a space of 9, the model has 8"),
        ((_layer(middle=5),), "mlp_middle of layer 0 indexes a space of 5, the model has 6"),
        ((_layer(attention=False),), "no attention block is left"),
    ],
)
def test_impossible_plans_are_refused(layers, message):
    with pytest.raises(ValueError, match=message):
        PruningPlan("llama", 8, 6, layers, "digest")
