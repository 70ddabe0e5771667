"""Pruned models of every family under the quantizers that run on a CPU: their memory shrinks, and their outputs stay near the float ones."""

import io
from collections.abc import Iterator

import pytest
import torch
import transformers
from families import MODELS, random_plan, tiny_model
from torch import Tensor, nn

from pydisp.indices import IndexSet
from pydisp.plan import AttentionPlan, LayerPlan, MLPPlan, PruningPlan
from pydisp.spec import ModelSpec
from pydisp.surgery import prune_model

IDS = torch.arange(1, 11)[None]
# What random weights lose, relative to the logits: 4 bits up to 0.56, 8 bits up to 0.14 (both olmo2, whose norm follows the products).
NEAR = {"bitsandbytes-8bit": 0.2, "bitsandbytes-nf4": 0.7, "torchao-int8": 0.2, "torchao-int8-dynamic": 0.2}


def tiny_pruned(name: str) -> nn.Module:
    dense = tiny_model(name, dtype=torch.float32)
    return prune_model(dense, random_plan(ModelSpec.from_model(dense), 1, (0,), (2,)))


def config_of(kind: str):
    """The quantization config of transformers; skips where the library is absent."""
    if kind.startswith("bitsandbytes"):
        pytest.importorskip("bitsandbytes", reason="bitsandbytes is not installed (the extra 'quantize')")
        how = {"load_in_8bit": True} if kind.endswith("8bit") else {"load_in_4bit": True, "bnb_4bit_quant_type": "nf4"}
        return transformers.BitsAndBytesConfig(**how)
    torchao = pytest.importorskip("torchao.quantization", reason="torchao is not installed (the extra 'quantize')")
    made = torchao.Int8DynamicActivationInt8WeightConfig if kind.endswith("dynamic") else torchao.Int8WeightOnlyConfig
    return transformers.TorchAoConfig(made())


def quantized(folder, kind: str) -> nn.Module:
    return transformers.AutoModelForCausalLM.from_pretrained(folder, quantization_config=config_of(kind), dtype=torch.float32)


def parts(tensor: Tensor) -> Iterator[Tensor]:
    """The plain tensors that hold a weight: itself, or those of torchao's class, and the scales that bitsandbytes keeps beside it."""
    if hasattr(type(tensor), "__tensor_flatten__"):
        for name in tensor.__tensor_flatten__()[0]:
            yield from parts(getattr(tensor, name))
        return
    yield tensor
    state = getattr(tensor, "quant_state", None)
    scales = [getattr(tensor, "SCB", None), *(getattr(state, name, None) for name in ("absmax", "code"))]
    yield from (scale for scale in scales if isinstance(scale, Tensor))


def storage_bytes(module: nn.Module) -> int:
    """Bytes of all storages that a module's tensors hold; one that several tensors share counts once."""
    tensors = [part for tensor in (*module.parameters(), *module.buffers()) for part in parts(tensor)]
    return sum({s.data_ptr(): s.nbytes() for s in (tensor.untyped_storage() for tensor in tensors)}.values())


@torch.no_grad()
def difference(model: nn.Module, expected: Tensor) -> float:
    return ((model(IDS).logits.float() - expected).norm() / expected.norm()).item()


@pytest.mark.parametrize("kind", NEAR)
@pytest.mark.parametrize("name", MODELS)
def test_memory_shrinks_and_logits_stay_near(name, kind, tmp_path):
    config_of(kind)
    model = tiny_pruned(name)
    model.save_pretrained(tmp_path)
    with torch.no_grad():
        expected = model(IDS).logits
    small = quantized(tmp_path, kind)
    blocks, small_blocks = model.get_decoder().layers, small.get_decoder().layers
    linears = [m.weight.nbytes for m in blocks.modules() if isinstance(m, nn.Linear)]
    saved = storage_bytes(blocks) - storage_bytes(small_blocks)
    # float32 to 8 or 4 bits, less the scales: float32 for each output, or for each 64 values and 16 codes
    assert sum(linears) * (0.75 if kind.endswith("nf4") else 0.55) < saved < sum(linears) * (0.875 if kind.endswith("nf4") else 0.75)
    assert 0 < difference(small, expected) < NEAR[kind]
    small.save_pretrained(tmp_path / "again")
    again = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "again")
    with torch.no_grad():
        assert torch.equal(again(IDS).logits, small(IDS).logits)
    assert storage_bytes(again.get_decoder().layers) < storage_bytes(blocks) - saved // 2


@pytest.fixture
def avx512bf16(monkeypatch):
    """bitsandbytes as on a processor with AVX512-BF16, where it packs 4-bit weights anew unless it is told not to."""
    bitsandbytes = pytest.importorskip("bitsandbytes", reason="bitsandbytes is not installed (the extra 'quantize')")
    monkeypatch.setattr(bitsandbytes.nn.modules, "has_avx512bf16", lambda: True)
    return bitsandbytes


def even_widths(width: int) -> nn.Module:
    """A pruned llama of which each block reads and writes `width` of 128 features, with twice as many in the middle."""
    dense = tiny_model("llama", dtype=torch.float32, hidden_size=128, intermediate_size=256, attention_bias=False)
    kept, middle = IndexSet(torch.arange(width, dtype=torch.int32), 128), IndexSet(torch.arange(2 * width, dtype=torch.int32), 256)
    layer = LayerPlan(AttentionPlan(kept, kept), MLPPlan(kept, middle, kept))
    return prune_model(dense, PruningPlan("llama", 128, 256, (layer,) * 4, ModelSpec.from_model(dense).digest))


@pytest.mark.parametrize("width", [64, 40], ids=["packs-of-32", "other-widths"])
def test_nf4_computes_with_the_rounded_weights_also_after_saving(width, avx512bf16, tmp_path):
    model = even_widths(width)
    model.save_pretrained(tmp_path)
    small = quantized(tmp_path, "bitsandbytes-nf4")
    linears = [(key, m) for key, m in small.named_modules() if isinstance(m, avx512bf16.nn.Linear4bit)]
    assert len(linears) == 4 * 7
    with torch.no_grad():
        for key, module in linears:
            rounded = avx512bf16.functional.dequantize_4bit(module.weight.data, module.weight.quant_state)
            model.get_submodule(key).weight.copy_(rounded)
        expected = model(IDS).logits
    assert difference(small, expected) < 1e-5
    small.save_pretrained(tmp_path / "again")
    assert difference(small, expected) < 1e-5
    assert difference(transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "again"), expected) < 1e-5


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")
@pytest.mark.parametrize("name", MODELS)
def test_quantize_dynamic_quantizes_every_linear(name):
    import torch.ao.nn.quantized.dynamic as dynamic

    if not torch.backends.quantized.supported_engines:
        pytest.skip("this torch has no engine for quantized linears")
    model = tiny_pruned(name)
    with torch.no_grad():
        expected = model(IDS).logits
    linears = {key: m.weight.nbytes for key, m in model.named_modules() if isinstance(m, nn.Linear)}
    small = torch.ao.quantization.quantize_dynamic(model, {nn.Linear})
    weights = {key: m.weight() for key, m in small.named_modules() if isinstance(m, dynamic.Linear)}
    assert {key: 4 * weight.untyped_storage().nbytes() for key, weight in weights.items()} == linears
    stored = []
    for each in (model, small):
        stored.append(io.BytesIO())
        torch.save(each.get_decoder().layers.state_dict(), stored[-1])
    assert stored[1].tell() < stored[0].tell()
    assert 0 < difference(small, expected) < 0.2


@pytest.mark.parametrize("width", [64, 40], ids=["packs-of-32", "other-widths"])
def test_qlora_trains_on_a_pruned_model(width, avx512bf16, tmp_path):
    """Adapters learn, the 4-bit weights stay, and the adapter gives the same logits on the model that was loaded again."""
    peft = pytest.importorskip("peft", reason="peft is not installed (the extra 'peft')")
    even_widths(width).save_pretrained(tmp_path)
    model = peft.prepare_model_for_kbit_training(quantized(tmp_path, "bitsandbytes-nf4"))
    model = peft.get_peft_model(model, peft.LoraConfig(target_modules="all-linear", r=4, task_type="CAUSAL_LM"))
    frozen = {name: p.detach().clone() for name, p in model.named_parameters() if not p.requires_grad}
    assert any(p.dtype == torch.uint8 for p in frozen.values())
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-2)
    losses = []
    model.train()
    for _ in range(5):
        loss = model(input_ids=IDS, labels=IDS).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0]
    assert all(torch.equal(p, frozen[name]) for name, p in model.named_parameters() if name in frozen)
    with torch.no_grad():
        assert model.eval()(input_ids=IDS, labels=IDS).loss.item() < losses[0]
    model.save_pretrained(tmp_path / "adapter")
    with torch.no_grad():
        again = peft.PeftModel.from_pretrained(quantized(tmp_path, "bitsandbytes-nf4"), tmp_path / "adapter").eval()
        torch.testing.assert_close(again(IDS).logits, model(IDS).logits, rtol=1e-4, atol=1e-4)
