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


def test_other_files_are_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="there is no plan at"):
        PruningPlan.load(tmp_path / "none")
    (tmp_path / "text").write_text("hello, this is no safetensors file")
    with pytest.raises(ValueError, match="text is not a plan"):
        PruningPlan.load(tmp_path / "text")
    save_file({"x": torch.zeros(1)}, tmp_path / "weights")
    with pytest.raises(ValueError, match="weights is not a plan of version 1"):
        PruningPlan.load(tmp_path / "weights")


def _layer(hidden=8, middle=6, attention=True):
    full = IndexSet.full(hidden)
    return LayerPlan(AttentionPlan(full, full) if attention else None, MLPPlan(full, IndexSet.full(middle), full))


@pytest.mark.parametrize(
    ("layers", "message"),
    [
        ((), "there are no layers"),
        ((_layer(), _layer(hidden=9)), "attention_input of layer 1 indexes a space of 9, the model has 8"),
        ((_layer(middle=5),), "mlp_middle of layer 0 indexes a space of 5, the model has 6"),
        ((_layer(attention=False),), "no attention block is left"),
    ],
)
def test_impossible_plans_are_refused(layers, message):
    with pytest.raises(ValueError, match=message):
        PruningPlan("llama", 8, 6, layers, "digest")
