"""A folder whose index lists are valid but not its own is refused, however it is loaded; a model with new lists is saved with their digest."""

import json
import subprocess
import sys

import pytest
import torch
from families import random_plan, tiny_model
from safetensors.torch import load_file, save_file
from transformers import AutoModel, AutoModelForCausalLM

from pydisp.indices import IndexSet
from pydisp.modeling.feature_index import index_digest, index_digest_of_model, index_digest_of_plan, indices_of
from pydisp.plan import AttentionPlan, LayerPlan, MLPPlan, PruningPlan
from pydisp.pruning.folder import describe
from pydisp.spec import ModelSpec
from pydisp.surgery import prune_model

INDEX = "model.layers.{}.{}.index"


def plan_of_equal_widths(spec):
    """Sets of one width in every layer, so that any two may be exchanged."""

    def pick(start):
        return IndexSet(torch.arange(start, start + 40, 2, dtype=torch.int32), 48)

    layers = [
        LayerPlan(AttentionPlan(pick(n), pick(n + 1)), MLPPlan(pick(n + 2), IndexSet.full(80), pick(n + 3))) for n in range(len(spec.costs))
    ]
    return PruningPlan(spec.family.model_type, 48, 80, tuple(layers), spec.digest)


@pytest.fixture
def folder(tmp_path):
    dense = tiny_model("llama", dtype=torch.float32)
    spec = ModelSpec.from_model(dense)
    prune_model(dense, plan_of_equal_widths(spec), spec).save_pretrained(tmp_path / "pruned", max_shard_size="40KB")
    return tmp_path / "pruned"


def change(folder, edit):
    """Edit the index lists of a sharded folder."""
    shards = {path: load_file(path) for path in folder.glob("*.safetensors")}
    assert len(shards) > 1
    lists = {name: tensor for tensors in shards.values() for name, tensor in tensors.items() if name.endswith(".index")}
    edit(lists)
    for path, tensors in shards.items():
        save_file({name: lists.get(name, tensor) for name, tensor in tensors.items()}, path, metadata={"format": "pt"})


def exchange_layers(lists):
    one, other = INDEX.format(0, "mlp_input"), INDEX.format(1, "mlp_input")
    lists[one], lists[other] = lists[other], lists[one]


def exchange_sets(lists):
    one, other = INDEX.format(2, "attention_input"), INDEX.format(2, "attention_output")
    lists[one], lists[other] = lists[other], lists[one]


def move_one(lists):
    lists[INDEX.format(3, "mlp_output")][-1] += 1


def flip_a_low_bit(lists):
    lists[INDEX.format(1, "attention_output")][4] ^= 1


CHANGES = [exchange_layers, exchange_sets, move_one, flip_a_low_bit]
REFUSED = "index lists .* are not those that config.json was written with"


@pytest.mark.parametrize("edit", CHANGES, ids=lambda edit: edit.__name__)
def test_lists_that_are_valid_but_others_are_refused(folder, edit):
    AutoModelForCausalLM.from_pretrained(folder)
    describe(folder)
    change(folder, edit)
    for load in (AutoModelForCausalLM.from_pretrained, AutoModel.from_pretrained, describe):
        with pytest.raises(ValueError, match=REFUSED):
            load(folder)


def test_an_offloaded_model_is_refused_too(folder, tmp_path):
    pytest.importorskip("accelerate")

    def load(**kwargs):
        return AutoModelForCausalLM.from_pretrained(folder, device_map={"": "disk"}, offload_folder=tmp_path / "offloaded", **kwargs)

    load()
    change(folder, flip_a_low_bit)
    with pytest.raises(ValueError, match=REFUSED):
        load()


def test_the_shim_refuses_it_too(folder):
    code = "import sys\nfrom transformers import AutoModelForCausalLM\nAutoModelForCausalLM.from_pretrained(sys.argv[1], trust_remote_code=True)"
    change(folder, flip_a_low_bit)
    ran = subprocess.run([sys.executable, "-c", code, str(folder)], capture_output=True, text=True)
    assert ran.returncode == 1 and "are not those that config.json was written with" in ran.stderr.splitlines()[-1]


def test_the_digest_is_that_of_the_plan_and_of_every_list(folder):
    model = AutoModelForCausalLM.from_pretrained(folder)
    plan = plan_of_equal_widths(ModelSpec.from_model(tiny_model("llama", dtype=torch.float32)))
    assert model.config.pydisp["index_digest"] == index_digest_of_plan(plan) == index_digest_of_model(model)
    lists = {name: module.index.clone() for name, module in indices_of(model).items()}
    assert len(lists) == 16 and index_digest(dict(reversed(lists.items()))) == index_digest(lists)
    digests = {index_digest(lists)}
    for name in lists:
        lists[name][0] += 1
        digests.add(index_digest(lists))
    assert len(digests) == 17


def test_a_model_that_got_other_lists_is_saved_with_their_digest(folder, tmp_path):
    model = AutoModelForCausalLM.from_pretrained(folder)
    before = dict(model.config.pydisp)
    model.get_decoder().layers[1].mlp_input.index = torch.arange(20, dtype=torch.int32)
    model.save_pretrained(tmp_path / "changed")
    again = AutoModelForCausalLM.from_pretrained(tmp_path / "changed")
    assert again.get_decoder().layers[1].mlp_input.index.tolist() == list(range(20))
    told = again.config.pydisp
    assert told["index_digest"] != before["index_digest"] and told["plan_digest"] is None is describe(tmp_path / "changed")["plan_digest"]
    assert {**told, "index_digest": 0, "plan_digest": 0} == {**before, "index_digest": 0, "plan_digest": 0}


def test_a_model_with_removed_blocks_has_a_digest_of_the_lists_left():
    dense = tiny_model("gemma2", dtype=torch.float32)
    pruned = prune_model(dense, random_plan(ModelSpec.from_model(dense), 1, (0,), (2,)))
    assert len(indices_of(pruned)) == 12 and pruned.config.pydisp["index_digest"] == index_digest_of_model(pruned)


def edit_config(folder, **values):
    config = json.loads((folder / "config.json").read_text())
    config["pydisp"].update(values)
    config["pydisp"] = {name: value for name, value in config["pydisp"].items() if value is not ...}
    (folder / "config.json").write_text(json.dumps(config))


def test_a_folder_of_before_there_was_a_digest_loads_and_gets_one_when_it_is_saved(folder, tmp_path):
    plan_digest = json.loads((folder / "config.json").read_text())["pydisp"]["plan_digest"]
    edit_config(folder, index_digest=...)
    model = AutoModelForCausalLM.from_pretrained(folder)
    model.save_pretrained(tmp_path / "again")
    told = json.loads((tmp_path / "again" / "config.json").read_text())["pydisp"]
    assert told["index_digest"] == index_digest_of_model(model) and told["plan_digest"] == plan_digest


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("model_digest", value) for value in (None, 7, "abc", ["0" * 64], ...)),
        *(("plan_digest", value) for value in (7, "", {}, ...)),
        *(("index_digest", value) for value in (7, "0" * 63, "G" * 64)),
        *(("dense_parameters", value) for value in (None, 7, [1, 2], {}, {"total": "9", "block": 1}, {"total": 9, "block": True}, ...)),
        *(("dense_parameters", {"total": total, "block": block}) for total, block in ((0, 0), (9, 0), (9, 10), (9, -1), (9.5, 2))),
    ],
)
def test_totals_and_digests_of_a_wrong_kind_are_refused(folder, name, value):
    edit_config(folder, **{name: value})
    for load in (AutoModelForCausalLM.from_pretrained, describe):
        with pytest.raises(ValueError, match=f"config.json(: pydisp.{name} is| of .* does not say how large).*copy the whole folder again"):
            load(folder)


@pytest.mark.parametrize(
    "layer", ["x", None, [], 3, {}, {"attention": None}, {"attention": 3, "mlp": None}, {"attention": [], "mlp": None}]
)
def test_a_layer_that_is_no_description_is_refused(folder, layer):
    layers = json.loads((folder / "config.json").read_text())["pydisp"]["layers"]
    edit_config(folder, layers=[layer, *layers[1:]])
    for load in (AutoModelForCausalLM.from_pretrained, describe):
        with pytest.raises(ValueError, match="config.json: layer 0 has no "):
            load(folder)


def test_a_model_without_any_attention_is_refused(folder):
    layers = json.loads((folder / "config.json").read_text())["pydisp"]["layers"]
    edit_config(folder, layers=[{**layer, "attention": None} for layer in layers])
    with pytest.raises(ValueError, match="every layer's attention is null"):
        AutoModelForCausalLM.from_pretrained(folder)
