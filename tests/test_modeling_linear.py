"""UpcastLinear is an nn.Linear to everyone: the same values in every dtype it does not serve, state dicts, copies, adapters, compilers."""

import copy
import io
import pickle

import pytest
import torch
from families import MODELS, random_plan, tiny_model
from torch import nn
from torch.nn import functional as F

from pydisp import ops
from pydisp.modeling import linear
from pydisp.modeling.linear import UpcastLinear, use_upcast_
from pydisp.ops.upcast_linear import FEW_ROWS, NARROW
from pydisp.spec import ModelSpec
from pydisp.surgery import prune_model, to_dense


@pytest.fixture(autouse=True)
def on_this_cpu(monkeypatch):
    """As on a CPU without 16-bit instructions, whatever this one has."""
    monkeypatch.setattr(UpcastLinear, "faster", frozenset(NARROW))
    torch.compiler.reset()  # the compilations of one forward have a limit, over all modules


@pytest.fixture
def served(monkeypatch):
    """The dtypes that went through the op, in order."""
    found = []

    def record(x, weight, bias):
        found.append(x.dtype)
        return ops.upcast_linear(x, weight, bias)

    monkeypatch.setattr(linear, "unchecked", record)
    return found


def made(dtype=torch.bfloat16, bias=True, **kwargs):
    torch.manual_seed(0)
    return UpcastLinear(6, 4, bias=bias, dtype=dtype, **kwargs)


@pytest.mark.parametrize("dtype", NARROW, ids=["bf16", "f16"])
@pytest.mark.parametrize("bias", [True, False])
def test_narrow_dtypes_are_up_cast(dtype, bias, served):
    module, x = made(dtype, bias), torch.randn(2, 3, 6).to(dtype)
    assert torch.equal(module(x), ops.upcast_linear(x, module.weight, module.bias)) and served == [dtype]


def test_few_rows_of_float32_without_gradients_take_the_op(served, monkeypatch):
    monkeypatch.setattr(UpcastLinear, "faster", frozenset([torch.float32]))
    module = made(torch.float32)
    few, many = torch.randn(2, FEW_ROWS // 2, 6), torch.randn(FEW_ROWS + 1, 6)
    for without_gradients in (torch.no_grad, torch.inference_mode):
        served.clear()
        with without_gradients():
            torch.testing.assert_close(module(few), F.linear(few, module.weight, module.bias))
            assert served == [torch.float32]
            assert torch.equal(module(many), F.linear(many, module.weight, module.bias)) and served == [torch.float32]
            with torch.autocast("cpu", dtype=torch.bfloat16):
                assert module(few).dtype == torch.bfloat16 and served == [torch.float32]
            if without_gradients is torch.no_grad:
                compiled = torch.compile(module, fullgraph=True, backend="aot_eager")
                assert torch.equal(compiled(few), module(few)) and torch.equal(compiled(many), module(many))
            if without_gradients is torch.no_grad:  # where the number of rows is open it stays so
                torch.compiler.reset()
                open_rows = torch.randn(30, 6)
                torch._dynamo.mark_dynamic(open_rows, 0, min=2, max=4096)
                compiled = torch.compile(module, fullgraph=True, backend="aot_eager")
                for rows in (open_rows, many[:3]):
                    torch.testing.assert_close(compiled(rows), F.linear(rows, module.weight, module.bias))
    served.clear()
    found = torch.autograd.functional.hessian(lambda x: module(x).square().sum(), few[0, :1])  # second derivatives stay torch's
    assert served == [] and found.abs().sum() > 0


def test_everything_else_is_torch_s_linear(served, monkeypatch):
    module = made()
    for other in (module.float(), copy.deepcopy(module).double()):
        x = torch.randn(2, 6).to(other.weight.dtype)
        assert torch.equal(other(x), F.linear(x, other.weight, other.bias))
    with pytest.raises(RuntimeError, match="dtype"):
        module(torch.randn(2, 6).bfloat16())  # float32 weights: what torch's linear says of it
    meta = made(device="meta")
    assert meta(torch.empty(2, 6, dtype=torch.bfloat16, device="meta")).shape == (2, 4)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert module(torch.randn(2, 6)).dtype == torch.bfloat16
    monkeypatch.setattr(UpcastLinear, "faster", frozenset())
    module, x = made(), torch.randn(2, 6).bfloat16()
    assert torch.equal(module(x), F.linear(x, module.weight, module.bias))
    assert served == []


@pytest.mark.parametrize("kind", NARROW, ids=["bf16", "f16"])
@pytest.mark.parametrize("cast", NARROW, ids=["to_bf16", "to_f16"])
def test_autocast_decides_on_the_dtype_as_for_torch_s_linear(kind, cast, served):
    module, x = made(kind), torch.randn(2, 6).to(kind)
    for run in (module, torch.compile(module, fullgraph=True, backend="aot_eager")):
        served.clear()
        with torch.autocast("cpu", dtype=cast):
            found, wanted = run(x), F.linear(x, module.weight, module.bias)
        assert found.dtype == wanted.dtype == cast and served == ([kind] if kind == cast else [])
        torch.testing.assert_close(found, wanted, rtol=2**-7, atol=2**-7)


class Quantized(torch.Tensor):
    """A tensor of its own kind, as torchao's weights are: it answers torch.nn.functional.linear itself."""

    @classmethod
    def __torch_function__(cls, func, types, args=(), kwargs=None):
        return "quantized" if func is F.linear else super().__torch_function__(func, types, args, kwargs or {})


def test_a_weight_of_its_own_kind_answers_itself(served):
    module = made()
    module.weight = nn.Parameter(module.weight.detach().as_subclass(Quantized), requires_grad=False)
    assert module(torch.randn(2, 6).bfloat16()) == "quantized" and served == []


def test_an_input_of_its_own_kind_answers_itself(served):
    assert made()(torch.randn(2, 6).bfloat16().as_subclass(Quantized)) == "quantized" and served == []


@pytest.mark.parametrize("layout", [torch.jagged, torch.strided], ids=["jagged", "strided"])
def test_a_nested_input_goes_to_torch_s_linear(layout, served):
    module, rows = made(), [torch.randn(length, 6).bfloat16() for length in (2, 5)]
    with torch.no_grad():
        found = module(torch.nested.nested_tensor(rows, layout=layout))
        for one, x in zip(found.unbind(), rows, strict=True):
            torch.testing.assert_close(one, F.linear(x, module.weight, module.bias))
    assert served == []


def test_it_is_copied_stored_and_converted_like_a_linear(served):
    module, x = made(), torch.randn(2, 6).bfloat16()
    expected = module(x)
    plain = nn.Linear(6, 4, dtype=torch.bfloat16)
    plain.load_state_dict(module.state_dict(), strict=True)
    module_again = made(bias=True)
    module_again.load_state_dict(plain.state_dict(), strict=True)
    stored = io.BytesIO()
    torch.save(module, stored)
    stored.seek(0)
    copies = [module_again, copy.deepcopy(module), pickle.loads(pickle.dumps(module)), torch.load(stored, weights_only=False)]
    copies.append(copy.deepcopy(module).float().bfloat16())
    for found in copies:
        assert type(found) is UpcastLinear and isinstance(found, nn.Linear) and torch.equal(found(x), expected)
    assert len(served) == 1 + len(copies)


def test_gradients_reach_weight_bias_and_input():
    module, x = made(), torch.randn(5, 6).bfloat16().requires_grad_()
    module(x).float().square().sum().backward()
    plain, y = copy.deepcopy(module).float(), x.detach().float().requires_grad_()
    plain.zero_grad()
    plain(y).square().sum().backward()
    for found, expected in ((x.grad, y.grad), (module.weight.grad, plain.weight.grad), (module.bias.grad, plain.bias.grad)):
        torch.testing.assert_close(found.float(), expected, rtol=0.05, atol=0.05)


def test_fullgraph_compile():
    module, x = made(), torch.randn(2, 6).bfloat16()
    compiled = torch.compile(module, fullgraph=True, backend="aot_eager")
    assert torch.equal(compiled(x), module(x))
    with torch.no_grad():
        assert torch.equal(compiled(x), module(x))
    assert torch.equal(torch.compile(made(torch.float32), fullgraph=True, backend="aot_eager")(x.float()), made(torch.float32)(x.float()))


def test_use_upcast_changes_plain_linears_only():
    class Own(nn.Linear):
        pass

    model = nn.Sequential(nn.Linear(2, 2), Own(2, 2), nn.Sequential(nn.Linear(2, 2)), nn.LayerNorm(2))
    before = model.state_dict()
    use_upcast_(model)
    assert [type(m) for m in model] == [UpcastLinear, Own, nn.Sequential, nn.LayerNorm] and type(model[2][0]) is UpcastLinear
    assert all(torch.equal(before[k], v) for k, v in model.state_dict().items())


@pytest.mark.parametrize("name", MODELS)
def test_every_linear_of_a_pruned_model_is_up_cast(name, served, tmp_path):
    dense = tiny_model(name, dtype=torch.float32)
    spec = ModelSpec.from_model(dense)
    pruned = prune_model(dense, random_plan(spec), spec)
    linears = {key for key, module in pruned.named_modules() if isinstance(module, nn.Linear)}
    assert linears and linears == {key for key, module in pruned.named_modules() if isinstance(module, UpcastLinear)}
    assert isinstance(pruned.get_output_embeddings(), UpcastLinear)
    ids = torch.arange(1, 11)[None]
    expected = pruned(ids).logits
    assert not served
    pruned.to(torch.bfloat16).save_pretrained(tmp_path)
    loaded = type(pruned).from_pretrained(tmp_path, dtype=torch.bfloat16)
    found = loaded(ids).logits
    assert len(served) == len(linears)
    assert (found.float() - expected).abs().max() <= 0.1 * expected.abs().max()
    assert not any(isinstance(module, UpcastLinear) for module in to_dense(pruned).modules())


def test_lora_trains_on_up_cast_linears(served):
    peft = pytest.importorskip("peft")
    dense = tiny_model("llama", dtype=torch.bfloat16)
    spec = ModelSpec.from_model(dense)
    model = peft.get_peft_model(prune_model(dense, random_plan(spec), spec), peft.LoraConfig(r=2, target_modules="all-linear"))
    loss = model(input_ids=torch.arange(1, 11)[None], labels=torch.arange(1, 11)[None]).loss
    loss.backward()
    grads = [p.grad for name, p in model.named_parameters() if "lora_B" in name]
    assert served and grads and all(g is not None and g.isfinite().all() for g in grads)
    merged = model.merge_and_unload()
    assert any(isinstance(module, UpcastLinear) for module in merged.modules())


def test_env_says_which_linear_runs_and_why():
    from pydisp.environment import environment
    from pydisp.ops.upcast_linear import DECISIONS

    told = environment()["linear"]
    assert told.keys() == {"bfloat16", "float16", "float32"}
    for dtype, (is_faster, why) in DECISIONS.items():
        assert told[str(dtype).removeprefix("torch.")] == f"{'upcast_linear' if is_faster else 'torch'}: {why}"
