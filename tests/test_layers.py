"""The derived forms of the indices, and what the layers overwrite: nothing that anyone else may hold."""

import copy
import io
import pickle

import pytest
import torch
from families import MODELS, random_plan, tiny_model
from safetensors import safe_open
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from transformers import AutoModelForCausalLM

from pydisp import ops
from pydisp.modeling.feature_index import FeatureIndex
from pydisp.spec import SEQUENTIAL, ModelSpec, family_of
from pydisp.surgery import prune_model

IDS = torch.randint(3, 97, (2, 14), generator=torch.Generator().manual_seed(0))


def pruned_model(name="llama"):
    dense = tiny_model(name, dtype=torch.float32)
    return prune_model(dense, random_plan(ModelSpec.from_model(dense), 1, (0,), (2,)))


def indices(model) -> list[FeatureIndex]:
    return [module for module in model.modules() if isinstance(module, FeatureIndex)]


def assert_derived(model):
    modules = indices(model)
    assert len(modules) == 12  # 4 layers of 4, one attention and one MLP removed
    for module in modules:
        for form, wanted in zip(module.features, ops.features(module.index, 48), strict=True):
            assert torch.equal(form, wanted)


class Around(torch.nn.Module):
    """A module around another one, which has its attributes too, as PEFT's `modules_to_save` and torch.compile make them."""

    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def __getattr__(self, name):
        try:
            return super().__getattr__(name)
        except AttributeError:
            return getattr(self.inner, name)

    def forward(self, x):
        return 2 * self.inner(x)


@pytest.mark.parametrize("name", ["llama", "gemma", "opt-125m"])
def test_a_norm_in_another_module_is_called(name):
    model = pruned_model(name)
    for layer in model.get_decoder().layers:
        for at in layer.family.attention_norms[:1] + layer.family.mlp_norms[:1]:
            if isinstance(getattr(layer, at, None), torch.nn.Module):
                norm = getattr(layer, at)
                setattr(layer, at, Around(norm))
                assert norm.weight is getattr(layer, at).weight
    around = model(IDS).logits
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, Around):
                module.forward = module.inner.forward
    once = model(IDS).logits
    for layer in model.get_decoder().layers:
        for at, module in list(layer.named_children()):
            if isinstance(module, Around):
                setattr(layer, at, module.inner)
    torch.testing.assert_close(once, model(IDS).logits)
    assert not torch.allclose(around, once, atol=1e-2)


def through_pickle(model, folder):
    return pickle.loads(pickle.dumps(model))


def through_torch_save(model, folder):
    buffer = io.BytesIO()
    torch.save(model, buffer)
    buffer.seek(0)
    return torch.load(buffer, weights_only=False)


def through_folder(model, folder):
    model.save_pretrained(folder)
    return AutoModelForCausalLM.from_pretrained(folder)


def through_state_dict(assign):
    def load(model, folder):
        other = type(model)(model.config)
        assert all(module.mask is None for module in indices(other))  # nothing was loaded: there is nothing to derive from
        other.load_state_dict(model.state_dict(), assign=assign)
        return other.eval()

    return load


def through_empty(model, folder):
    state = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    rotary = copy.deepcopy(model.model.rotary_emb)
    model.to_empty(device="cpu").load_state_dict(state)
    model.model.rotary_emb = rotary
    return model


@pytest.mark.parametrize(
    "way",
    [
        lambda model, folder: model,
        through_folder,
        through_state_dict(True),
        through_state_dict(False),
        through_empty,
        through_pickle,
        through_torch_save,
        lambda model, folder: copy.deepcopy(model),
        lambda model, folder: model.to(torch.float64).to("cpu", torch.float32),
    ],
    ids=["surgery", "folder", "assign", "copy", "to_empty", "pickle", "torch_save", "deepcopy", "to"],
)
def test_derived_forms_are_right_however_a_model_came_to_be(way, tmp_path):
    model = pruned_model()
    with torch.no_grad():
        want = model(input_ids=IDS).logits
        model = way(model, tmp_path)
        assert_derived(model)
        assert torch.equal(model(input_ids=IDS).logits, want)


def test_only_the_index_is_saved(tmp_path):
    model = pruned_model()
    model.save_pretrained(tmp_path)
    with safe_open(tmp_path / "model.safetensors", "pt") as file:
        assert not [name for name in file.keys() if name.endswith((".inverse", ".mask"))]  # noqa: SIM118  safe_open is no dict
        assert sum(name.endswith(".index") for name in file.keys()) == 12  # noqa: SIM118
    assert not [name for name in model.state_dict() if name.endswith((".inverse", ".mask"))]


def test_an_index_that_is_set_anew_voids_what_was_derived():
    module = FeatureIndex(2, 5)
    module.derive_()
    module.index = torch.tensor([1, 4], dtype=torch.int32)
    assert module.features is module.index
    module.derive_()
    assert module.features.mask.tolist() == [0b10010]


def test_an_offloaded_index_has_no_derived_forms():
    module = FeatureIndex(2, 5)
    module.derive_()
    module.to("meta")
    module.derive_()
    assert module.features is module.index and module.mask is None


@pytest.mark.parametrize("way", ["cpu", "disk", "device_map", "all_on_disk"])
@pytest.mark.parametrize("name", ["llama", "gemma2", "phi"])
def test_an_index_that_is_offloaded_with_the_other_buffers_is_brought_back(name, way, tmp_path):
    accelerate = pytest.importorskip("accelerate")
    model = pruned_model(name)
    with torch.no_grad():
        wanted = model(input_ids=IDS).logits
    model.save_pretrained(tmp_path / "model")
    place = dict(execution_device=torch.device("cpu"), offload_buffers=True)
    if way == "cpu":
        accelerate.cpu_offload(model, **place)
    elif way == "disk":
        accelerate.disk_offload(model, tmp_path / "offloaded", **place)
    else:
        everywhere = {"device_map": {"": "disk"}, "offload_folder": tmp_path / "offloaded", "offload_buffers": way == "all_on_disk"}
        model = AutoModelForCausalLM.from_pretrained(tmp_path / "model", **everywhere)
    assert all(module.index.is_meta for module in indices(model)) or way == "device_map"
    for _ in range(2):
        with torch.no_grad():
            logits = model(input_ids=IDS).logits
        torch.testing.assert_close(logits, wanted, rtol=1e-4, atol=1e-4)  # an offloaded norm is called, others are fused


def test_a_loaded_index_that_is_wrong_is_refused():
    with pytest.raises(ValueError, match="not sorted"):
        FeatureIndex(2, 5).load_state_dict({"index": torch.tensor([4, 1], dtype=torch.int32)})


@pytest.mark.parametrize("name", MODELS)
def test_without_gradients_no_tensor_changes_that_a_hook_has_seen(name):
    """Without gradients layers add in place, but only to what nobody else holds; the results are those with gradients."""
    model, seen = pruned_model(name), []
    decoder = model.model.decoder if name.startswith("opt") else model.model

    def keep(_module, args, kwargs, output):
        values = (*args, *kwargs.values(), *(output if isinstance(output, tuple) else (output,)))
        seen.extend((v, v.clone()) for v in values if isinstance(v, torch.Tensor) and v.is_floating_point())

    for module in decoder.modules():
        if module is not decoder:
            module.register_forward_hook(keep, with_kwargs=True)

    def run():
        seen.clear()
        return model(input_ids=IDS, use_cache=False).logits, [copied for _, copied in seen]

    wanted = run()
    with torch.no_grad():
        torch.testing.assert_close(run(), wanted)
    assert len(seen) > 40 and all(torch.equal(value, copied) for value, copied in seen)


class OverTheStream(TorchDispatchMode):
    """Names of the ops that take the residual stream, or another tensor of its shape, in order; what only views it is left out."""

    VIEWS = ("aten.alias", "aten.detach", "aten.split", "aten.view")

    def __init__(self, shape):
        super().__init__()
        self.shape, self.names = shape, []

    def __torch_dispatch__(self, op, types, args=(), kwargs=None):
        name = f"{op.namespace}.{op.__name__.partition('.')[0]}"
        values = tree_leaves((args, kwargs))
        if name not in self.VIEWS and any(isinstance(value, torch.Tensor) and value.shape == self.shape for value in values):
            self.names.append(name)
        return op(*args, **(kwargs or {}))


# What the families' own stack does outside its layers, and of OPT's attention the scale of the queries, whose heads together are as wide.
FINAL_RMS_NORM = ["aten.pow", "aten.mean", "aten.mul", "aten.mul"]
FINAL_LAYER_NORM = ["aten.native_layer_norm"]
BEFORE = {"gemma": ["aten.mul"], "opt-125m": ["aten.add"]}  # the scale of the embeddings; the positions
QUERIES = {"opt-125m": ["aten.mul"]}
SEQUENTIAL = [name for name in MODELS if family_of(tiny_model(name).config).layout == SEQUENTIAL]


@pytest.mark.parametrize("has_gradients", [False, True], ids=["inference", "training"])
@pytest.mark.parametrize("name", SEQUENTIAL)
def test_no_select_norm_or_add_is_left_unfused_on_the_path_of_a_sequential_family(name, has_gradients):
    model = pruned_model(name)
    with torch.set_grad_enabled(has_gradients), OverTheStream((*IDS.shape, 48)) as over:
        model(input_ids=IDS, use_cache=False)
    queries, own = QUERIES.get(name, []), "pydisp.index_add" if has_gradients else "pydisp.index_add_"
    both = ["pydisp.norm_select", *queries, "pydisp.add_norm_select", own]
    layers = ["pydisp.norm_select", "pydisp.index_add", *both, "pydisp.norm_select", *queries, "pydisp.index_add", *both]
    final = FINAL_LAYER_NORM if name.startswith("opt") else FINAL_RMS_NORM
    assert over.names == BEFORE.get(name, []) + layers + final


def test_the_sequential_families_are_those_of_the_documentation():
    assert SEQUENTIAL == ["llama", "llama-tied", "mistral", "qwen2", "qwen3", "gemma", "phi3", "opt-125m"]


@pytest.mark.parametrize("narrow", [torch.bfloat16, torch.float16], ids=["bf16", "f16"])
@pytest.mark.parametrize("name", MODELS)
def test_autocast_is_near_float32_forward_and_backward(name, narrow):
    model = pruned_model(name)

    def run(autocast):
        model.zero_grad()
        with torch.autocast("cpu", dtype=narrow, enabled=autocast):
            output = model(input_ids=IDS, labels=IDS, use_cache=False)
        output.loss.backward()
        with torch.no_grad(), torch.autocast("cpu", dtype=narrow, enabled=autocast):
            alone = model(input_ids=IDS, use_cache=False).logits
        return output.logits.detach(), alone, *(parameter.grad for parameter in model.parameters())

    def norm(tensors):
        return torch.stack([tensor.double().norm() for tensor in tensors]).norm()

    wanted, cast = run(False), run(True)
    assert all(a.shape == b.shape and b.isfinite().all() for a, b in zip(wanted, cast, strict=True))
    # logits with gradients, logits without, and the gradients, which the ReLU of OPT leaves the furthest away (0.037 in bfloat16)
    for part, near in ((slice(0, 1), 0.03), (slice(1, 2), 0.03), (slice(2, None), 0.08)):
        off = norm([a - b for a, b in zip(wanted[part], cast[part], strict=True)]) / norm(wanted[part])
        assert off < near


@pytest.mark.parametrize("name", MODELS)
def test_forward_mode_tangents_are_the_models_differences(name):
    model = pruned_model(name).double()
    model.set_attn_implementation("eager")  # torch's fused attention has no tangents on a CPU
    embedded = model.get_input_embeddings()(IDS).detach()
    direction = torch.randn(embedded.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) * embedded.std()

    def logits(x):
        return model(inputs_embeds=x, use_cache=False).logits

    for has_gradients in (True, False):
        with torch.set_grad_enabled(has_gradients):
            _, tangent = torch.func.jvp(logits, (embedded,), (direction,))
            # a wide step, which meets kinks of OPT's ReLU: parts of some models compute in float32 whatever their dtype
            difference = (logits(embedded + 1e-3 * direction) - logits(embedded - 1e-3 * direction)) / 2e-3
        assert (tangent - difference).norm() < 0.03 * difference.norm()
