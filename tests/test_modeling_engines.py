"""Pruned models under engines that give weights their values in ways of their own: the index lists, which are buffers, come along."""

import copy

import pytest
import torch
from families import MODELS, random_plan, tiny_model
from transformers import AutoModelForCausalLM

from pydisp.modeling import classes_of
from pydisp.modeling.feature_index import FeatureIndex, check_loaded_indices, indices_of
from pydisp.spec import ModelSpec
from pydisp.surgery import prune_model

accelerate = pytest.importorskip("accelerate")
IDS = torch.randint(3, 97, (2, 9), generator=torch.Generator().manual_seed(0))
CPU = torch.device("cpu")


def pruned(name: str, dtype=torch.float32):
    dense = tiny_model(name, dtype=dtype)
    return prune_model(dense, random_plan(ModelSpec.from_model(dense), 1, no_attention=(1,), no_mlp=(2,)))


@torch.no_grad()
def logits(model):
    return model(input_ids=IDS).logits


def load_as_an_engine(model, checkpoint: dict) -> None:
    """Copy a checkpoint into a model: a module with a `load_weights` gets its own tensors by it, all else is copied in place."""
    for name, module in model.named_modules():
        for leaf, parameter in list(module.named_parameters(recurse=False)):
            if parameter.is_meta:  # an engine allocates parameters, and nothing else
                setattr(module, leaf, torch.nn.Parameter(torch.empty_like(parameter, device="cpu"), requires_grad=False))
        own = {key.rpartition(".")[2]: tensor for key, tensor in checkpoint.items() if key.rpartition(".")[0] == name}
        if hasattr(module, "load_weights"):
            assert module.load_weights(own.items()) == own.keys()
            continue
        for leaf, tensor in own.items():
            getattr(module, leaf).data.copy_(tensor)
    model.tie_weights()


@pytest.mark.parametrize("name", MODELS)
def test_parameters_on_meta_and_buffers_elsewhere(name):
    source = pruned(name)
    with accelerate.init_empty_weights(include_buffers=False):
        model = classes_of(source.config.model_type)[2](copy.deepcopy(source.config)).eval()
    assert all(parameter.is_meta for parameter in model.parameters())
    assert indices_of(model) and not any(module.index.is_meta for module in indices_of(model).values())
    load_as_an_engine(model, source.state_dict())
    check_loaded_indices(model)
    assert torch.equal(logits(model), logits(source))


@pytest.mark.parametrize("name", MODELS)
def test_all_on_meta(name):
    source = pruned(name)
    with torch.device("meta"):
        model = classes_of(source.config.model_type)[2](copy.deepcopy(source.config)).eval()
    load_as_an_engine(model, source.state_dict())
    for name, buffer in source.named_buffers():  # rotary frequencies are in no checkpoint
        if not isinstance(model.get_submodule(name.rpartition(".")[0]), FeatureIndex):
            model.get_submodule(name.rpartition(".")[0]).register_buffer(name.rpartition(".")[2], buffer.clone(), persistent=False)
    check_loaded_indices(model)
    assert torch.equal(logits(model), logits(source))


@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_an_index_is_replaced_where_it_has_no_values(device):
    with torch.device(device):
        module = FeatureIndex(3, 9)
    given = torch.tensor([1, 4, 7])
    assert module.index.device.type == device and module.load_weights([("index", given)]) == {"index"}
    assert module.index.tolist() == [1, 4, 7] and module.index.dtype == torch.int32 and module.mask.tolist() == [0b10010010, 0]
    given[0] = 0
    assert module.index.tolist() == [1, 4, 7]
    for wrong, words in (
        ([1, 4], r"of \(2,\) values was given for one of 3"),
        ([1, 4, 4], "features: index"),
        ([1, 4, 9], "features: index"),
    ):
        with pytest.raises(ValueError, match=words):
            module.load_weights([("index", torch.tensor(wrong))])


def test_offloaded_buffers_come_back_for_a_forward(tmp_path):
    source = pruned("llama")
    source.save_pretrained(tmp_path / "model")
    want = logits(source)

    def load(**options):
        return AutoModelForCausalLM.from_pretrained(tmp_path / "model", **options)

    def in_memory():
        model = load()
        accelerate.cpu_offload(model, execution_device=CPU, offload_buffers=True)
        return model

    def on_disk():
        model = load()
        accelerate.disk_offload(model, str(tmp_path / "offloaded"), execution_device=CPU, offload_buffers=True)
        return model

    def by_a_map():
        return load(device_map={"": "disk"}, offload_folder=str(tmp_path / "mapped"), offload_buffers=True)

    for place in (in_memory, on_disk, by_a_map):
        model = place()
        assert all(module._buffers["index"].is_meta for module in indices_of(model).values()), place
        for _ in range(2):
            assert torch.allclose(logits(model), want, atol=1e-5), place  # other kernels where weights wait
