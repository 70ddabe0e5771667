"""The linears of pruned models are nn.Linear to everyone: exact type, values in every dtype not served, copies, adapters, quantizers, compilers."""

import copy
import gc
import io
import pickle
import weakref

import pytest
import torch
from families import MODELS, random_plan, tiny_model
from torch import nn
from torch._subclasses import FakeTensorMode
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

from pydisp import ops
from pydisp.modeling import linear
from pydisp.modeling.linear import ServedForward, serve_linears_
from pydisp.ops.upcast_linear import FEW_ROWS, NARROW
from pydisp.spec import ModelSpec
from pydisp.surgery import prune_model, to_dense


@pytest.fixture(autouse=True)
def on_this_cpu(monkeypatch):
    """As on a CPU without 16-bit instructions, whatever this one has."""
    monkeypatch.setattr(linear, "FASTER", frozenset(NARROW))
    torch.compiler.reset()  # the compilations of one forward have a limit, over all modules


@pytest.fixture
def served(monkeypatch):
    """The dtypes that went through the op, in order."""
    dtypes = []

    def record(x, weight, bias):
        dtypes.append(x.dtype)
        return ops.upcast_linear(x, weight, bias)

    monkeypatch.setattr(linear, "unchecked", record)
    return dtypes


def is_served(module) -> bool:
    return type(module) is nn.Linear and type(vars(module).get("forward")) is ServedForward


def made(dtype=torch.bfloat16, bias=True, **kwargs):
    torch.manual_seed(0)
    module = nn.Linear(6, 4, bias=bias, dtype=dtype, **kwargs)
    serve_linears_(module)
    assert is_served(module) or not linear.FASTER
    return module


@pytest.mark.parametrize("dtype", NARROW, ids=["bf16", "f16"])
@pytest.mark.parametrize("bias", [True, False])
def test_narrow_dtypes_are_up_cast(dtype, bias, served):
    module, x = made(dtype, bias), torch.randn(2, 3, 6).to(dtype)
    assert torch.equal(module(x), ops.upcast_linear(x, module.weight, module.bias)) and served == [dtype]


def test_few_rows_of_float32_without_gradients_take_the_op(served, monkeypatch):
    monkeypatch.setattr(linear, "FASTER", frozenset([torch.float32]))
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
    hessian = torch.autograd.functional.hessian(lambda x: module(x).square().sum(), few[0, :1])  # second derivatives stay torch's
    assert served == [] and hessian.abs().sum() > 0


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
    monkeypatch.setattr(linear, "FASTER", frozenset())
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
            product, wanted = run(x), F.linear(x, module.weight, module.bias)
        assert product.dtype == wanted.dtype == cast and served == ([kind] if kind == cast else [])
        torch.testing.assert_close(product, wanted, rtol=2**-7, atol=2**-7)


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
        products = module(torch.nested.nested_tensor(rows, layout=layout))
        for one, x in zip(products.unbind(), rows, strict=True):
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
    for copied in copies:
        assert is_served(copied) and torch.equal(copied(x), expected)
    with torch.no_grad():
        for copied in copies:  # each copy computes with its own weights
            copied.weight.zero_()
            copied.bias.fill_(3)
            assert copied(x).eq(3).all()
    assert len(served) == 1 + 2 * len(copies) and torch.equal(module(x), expected)


def test_gradients_reach_weight_bias_and_input():
    module, x = made(), torch.randn(5, 6).bfloat16().requires_grad_()
    module(x).float().square().sum().backward()
    plain, y = copy.deepcopy(module).float(), x.detach().float().requires_grad_()
    plain.zero_grad()
    plain(y).square().sum().backward()
    for grad, expected in ((x.grad, y.grad), (module.weight.grad, plain.weight.grad), (module.bias.grad, plain.bias.grad)):
        torch.testing.assert_close(grad.float(), expected, rtol=0.05, atol=0.05)


def test_fullgraph_compile():
    module, x = made(), torch.randn(2, 6).bfloat16()
    compiled = torch.compile(module, fullgraph=True, backend="aot_eager")
    assert torch.equal(compiled(x), module(x))
    with torch.no_grad():
        assert torch.equal(compiled(x), module(x))
    assert torch.equal(torch.compile(made(torch.float32), fullgraph=True, backend="aot_eager")(x.float()), made(torch.float32)(x.float()))


def test_plain_linears_only_are_served():
    class Own(nn.Linear):
        pass

    model = nn.Sequential(nn.Linear(2, 2), Own(2, 2), nn.Sequential(nn.Linear(2, 2)), nn.LayerNorm(2))
    before = model.state_dict()
    serve_linears_(model)
    assert is_served(model[0]) and is_served(model[2][0])
    assert [type(m) for m in model] == [nn.Linear, Own, nn.Sequential, nn.LayerNorm] and "forward" not in vars(model[1])
    assert all(torch.equal(before[k], v) for k, v in model.state_dict().items())


def test_where_nothing_is_faster_a_linear_is_untouched(monkeypatch):
    monkeypatch.setattr(linear, "FASTER", frozenset())
    module = nn.Linear(2, 2)
    serve_linears_(module)
    assert "forward" not in vars(module)


def test_a_linear_that_left_the_cpu_is_torch_s_again():
    """A replica for another GPU shares its module's attributes: one that computes with the module's own weights must not be among them."""
    module = made()
    on_cpu = module.weight
    with FakeTensorMode():
        module.weight = nn.Parameter(torch.empty(4, 6, device="cuda"))
        serve_linears_(module)
        assert "forward" not in vars(module)
    module.weight = on_cpu
    serve_linears_(module)
    assert is_served(module)


def test_moving_a_model_asks_again_what_is_served(monkeypatch):
    model, asked = tiny_pruned("llama"), []
    monkeypatch.setattr("pydisp.modeling.serve_linears_", asked.append)
    model.to(torch.float64)
    assert model in asked


def test_a_module_is_freed_with_its_last_name():
    module = made()
    alive = weakref.ref(module)
    gc.disable()
    try:
        del module
        assert alive() is None
    finally:
        gc.enable()


def test_another_class_or_parametrization_computes_itself(served):
    class Negative(nn.Linear):
        def forward(self, x):
            return -super().forward(x)

    module, x = made(), torch.randn(2, 6).bfloat16()
    module.__class__ = Negative
    assert torch.equal(module(x), -F.linear(x, module.weight, module.bias)) and served == []
    module = made()
    torch.nn.utils.parametrize.register_parametrization(module, "weight", nn.ReLU())
    assert torch.equal(module(x), F.linear(x, module.weight, module.bias)) and (module.weight >= 0).all()


def test_hooks_run_and_a_forward_of_somebody_else_stays(served):
    module, x, seen = made(), torch.randn(2, 6).bfloat16(), []
    module.register_forward_pre_hook(lambda _, args: seen.append("before"))
    module.register_forward_hook(lambda *_: seen.append("after"))
    module(input=x)
    assert seen == ["before", "after"] and served == [torch.bfloat16]
    wrapped = module.forward.__func__  # how compressed-tensors wraps: the function behind the method, bound again
    module.forward = lambda x: 2 * wrapped.__get__(module, type(module))(x)
    serve_linears_(module)
    assert torch.equal(module(x), 2 * ops.upcast_linear(x, module.weight, module.bias))


def test_accelerate_s_hooks_come_and_go(served):
    hooks = pytest.importorskip("accelerate.hooks")
    module, x = made(), torch.randn(2, 6).bfloat16()
    expected = module(x)
    hooks.add_hook_to_module(module, hooks.AlignDevicesHook(execution_device="cpu", offload=True))
    assert module.weight.is_meta and torch.equal(module(x), expected)
    hooks.remove_hook_from_module(module)
    assert is_served(module) and served == [torch.bfloat16] * 2


def test_the_flop_counter_counts_what_torch_s_linear_would():
    def counted(module, x):
        with FlopCounterMode(display=False) as counter:
            module(x).sum().backward()
        return counter.get_total_flops()

    def flops_of_a_step(module):
        return counted(module, torch.randn(3, 5, 6).bfloat16().requires_grad_()), counted(module, torch.randn(3, 5, 6).bfloat16())

    assert flops_of_a_step(made()) == flops_of_a_step(nn.Linear(6, 4, dtype=torch.bfloat16)) == (3 * 2 * 15 * 24, 2 * 2 * 15 * 24)
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        made()(torch.randn(5, 6).bfloat16())
    assert counter.get_total_flops() == 2 * 5 * 24


def tiny_pruned(name, dtype=torch.float32):
    dense = tiny_model(name, dtype=dtype)
    spec = ModelSpec.from_model(dense)
    return prune_model(dense, random_plan(spec, 1, (0,), (2,)), spec)


@pytest.mark.parametrize("name", MODELS)
def test_every_linear_of_a_pruned_model_is_served(name, served, tmp_path):
    dense = tiny_model(name, dtype=torch.float32)
    spec = ModelSpec.from_model(dense)
    pruned = prune_model(dense, random_plan(spec), spec)
    linears = {key for key, module in pruned.named_modules() if isinstance(module, nn.Linear)}
    assert linears and linears == {key for key, module in pruned.named_modules() if is_served(module)}
    assert is_served(pruned.get_output_embeddings())
    ids = torch.arange(1, 11)[None]
    expected = pruned(ids).logits
    assert not served
    pruned.to(torch.bfloat16).save_pretrained(tmp_path)
    loaded = type(pruned).from_pretrained(tmp_path, dtype=torch.bfloat16)
    logits = loaded(ids).logits
    assert len(served) == len(linears)
    assert (logits.float() - expected).abs().max() <= 0.1 * expected.abs().max()
    assert not any(is_served(module) for module in to_dense(pruned).modules())


def test_few_rows_of_a_pruned_model_in_float32_reach_the_op(served, monkeypatch):
    monkeypatch.setattr(linear, "FASTER", frozenset([torch.float32]))
    model, calls = tiny_pruned("llama"), []
    linears = sum(type(m) is nn.Linear for m in model.modules())
    with torch.no_grad():
        model(torch.arange(1, 11)[None])
        assert served == [torch.float32] * linears

        class Calls(TorchDispatchMode):
            def __torch_dispatch__(self, op, types, args=(), kwargs=None):
                calls.append(str(op))
                return op(*args, **(kwargs or {}))

        with Calls():
            model(torch.arange(1, 11)[None])
    assert calls.count("pydisp.upcast_linear.default") == linears and not [c for c in calls if c.startswith(("aten.mm", "aten.addmm"))]


def bytes_of(module) -> int:
    return sum(t.nbytes for t in (*module.parameters(), *module.buffers()))


class Int8Linear(nn.Module):
    """What a quantizer puts in the place of a linear."""

    def __init__(self, of):
        super().__init__()
        self.scale = of.weight.abs().amax(1, keepdim=True) / 127
        self.register_buffer("weight", (of.weight / self.scale).round().to(torch.int8))
        self.bias = of.bias

    def forward(self, x):
        return F.linear(x, self.weight * self.scale, self.bias)


@pytest.mark.parametrize("name", MODELS)
def test_a_quantizer_of_exact_linears_shrinks_a_pruned_model(name):
    model, ids = tiny_pruned(name), torch.arange(1, 11)[None]
    with torch.no_grad():
        expected, before = model(ids).logits, bytes_of(model.get_decoder())
        linears = [(key, m) for key, m in model.get_decoder().named_modules() if type(m) is nn.Linear]
        weights = sum(m.weight.nbytes for _, m in linears)
        for key, module in linears:
            model.get_decoder().set_submodule(key, Int8Linear(module))
        assert bytes_of(model.get_decoder()) == before - weights * 3 // 4
        off = (model(ids).logits - expected).norm() / expected.norm()
    assert 0 < off < 0.1  # the quantized linears compute, the old ones do not


def test_torchao_s_weights_are_used(served):
    torchao = pytest.importorskip("torchao.quantization")
    model, ids = tiny_pruned("llama", torch.bfloat16), torch.arange(1, 11)[None]
    expected = model(ids).logits
    served.clear()
    torchao.quantize_(model, torchao.Int8WeightOnlyConfig())
    assert (model(ids).logits - expected).norm() < 0.1 * expected.norm() and served == []


def test_lora_trains_on_served_linears(served):
    peft = pytest.importorskip("peft")
    dense = tiny_model("llama", dtype=torch.bfloat16)
    spec = ModelSpec.from_model(dense)
    model = peft.get_peft_model(prune_model(dense, random_plan(spec), spec), peft.LoraConfig(r=2, target_modules="all-linear"))
    loss = model(input_ids=torch.arange(1, 11)[None], labels=torch.arange(1, 11)[None]).loss
    loss.backward()
    grads = [p.grad for name, p in model.named_parameters() if "lora_B" in name]
    assert served and grads and all(g is not None and g.isfinite().all() for g in grads)
    merged = model.merge_and_unload()
    assert any(is_served(module) for module in merged.modules())


def test_env_says_which_linear_runs_and_why():
    from pydisp.environment import environment
    from pydisp.ops.upcast_linear import DECISIONS

    told = environment()["linear"]
    assert told.keys() == {"bfloat16", "float16", "float32"}
    for dtype, (is_faster, why) in DECISIONS.items():
        assert told[str(dtype).removeprefix("torch.")] == f"{'upcast_linear' if is_faster else 'torch'}: {why}"
