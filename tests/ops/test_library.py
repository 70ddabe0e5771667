"""What all ops take from pydisp.ops.library: here the ways around torch's autograd layer, and around values that cannot be read."""

from types import SimpleNamespace

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.autograd import forward_ad
from torch.fx.experimental.proxy_tensor import make_fx

from pydisp import ops
from pydisp.ops import library
from pydisp.ops.library import FUSED_ROWS

INDEX = torch.tensor([0, 3, 4], dtype=torch.int32)
NUMBERS = ("size", "eps", "num_buckets", "num_groups", "reduction")  # what the ops take besides tensors


def in_place(op):
    """`op` of a copy of its first argument, and that copy."""

    def function(residual, *others):
        residual = residual.clone()
        return op(residual, *others), residual

    return function


# a function of tensors by the op, the same in torch's words, and the shapes
OPS = {
    "norm_select": (
        lambda x, w: ops.norm_select(x, w, None, INDEX, 0.1),
        lambda x, w: (x * (x.square().mean(-1, keepdim=True) + 0.1).rsqrt() * w)[..., INDEX.long()],
        ((2, 5), (5,)),
    ),
    "index_select": (lambda x: ops.index_select(x, INDEX), lambda x: x[..., INDEX.long()], ((2, 5),)),
    "index_add": (lambda x, u: ops.index_add(x, u, INDEX), lambda x, u: x.index_add(-1, INDEX, u), ((2, 5), (2, 3))),
    "index_add_": (
        in_place(lambda x, u: ops.index_add_(x, u, INDEX)),
        lambda x, u: (x.index_add(-1, INDEX, u),) * 2,
        ((2, 5), (2, 3)),
    ),
    "add_norm_select": (
        lambda x, u: ops.add_norm_select(x, u, INDEX, None, None, INDEX, 0.1),
        lambda x, u: (y := x.index_add(-1, INDEX, u), (y * (y.square().mean(-1, keepdim=True) + 0.1).rsqrt())[..., INDEX.long()]),
        ((2, 5), (2, 3)),
    ),
    "add_norm_select_": (
        in_place(lambda x, u: ops.add_norm_select_(x, u, INDEX, None, None, INDEX, 0.1)),
        lambda x, u: ((y := x.index_add(-1, INDEX, u)).mul((y.square().mean(-1, keepdim=True) + 0.1).rsqrt())[..., INDEX.long()], y),
        ((2, 5), (2, 3)),
    ),
    "upcast_linear": (ops.upcast_linear, torch.nn.functional.linear, ((2, 5), (4, 5), (4,))),
}


@pytest.mark.parametrize("way", ["jvp", "no_grad", "inference_mode", "compiled", "dual_level"])
@pytest.mark.parametrize("name", OPS)
def test_forward_mode_tangents_are_those_of_torch(name, way, draw):
    op, by_torch, shapes = OPS[name]
    primals, tangents = (tuple(draw(*shape) for shape in shapes) for _ in range(2))

    def run(function):
        if way == "dual_level":
            with forward_ad.dual_level():
                duals = function(*map(forward_ad.make_dual, primals, tangents))
                pairs = [forward_ad.unpack_dual(t) for t in (duals if isinstance(duals, tuple) else (duals,))]
                return [t for pair in pairs for t in pair]
        return torch.func.jvp(function, primals, tangents)

    context = {"no_grad": torch.no_grad, "inference_mode": torch.inference_mode}.get(way, torch.enable_grad)
    with context():
        results = torch.compile(run, backend="eager")(op) if way == "compiled" else run(op)
        torch.testing.assert_close(results, run(by_torch))


def test_a_batch_of_vmap_passes_its_gradient_on(draw):
    x = draw(4, 3, 5, requires_grad=True)
    selected = torch.vmap(lambda rows: ops.index_select(rows, INDEX))(x)
    selected.sum().backward()
    assert torch.equal(x.grad, torch.zeros(4, 3, 5, dtype=x.dtype).index_fill(-1, INDEX.long(), 1))


@pytest.mark.parametrize("way", ["vmap", "grad", "vmap of grad", "jacrev", "hessian", "compiled"])
@pytest.mark.parametrize("name", [name for name in OPS if not name.endswith("_")])
def test_transforms_of_torch_func_are_those_of_torch(name, way, draw):
    op, by_torch, shapes = OPS[name]
    numbers = tuple(range(len(shapes)))
    leaves = [
        draw(*shape, requires_grad=way == "vmap") for shape in (((4, *s) for s in shapes) if "vmap" in way or way == "compiled" else shapes)
    ]

    def run(function):
        def total(*tensors):
            outputs = function(*tensors)
            return sum(out.sin().sum() for out in (outputs if isinstance(outputs, tuple) else (outputs,)))

        if way == "vmap":
            return torch.autograd.grad(torch.vmap(total)(*leaves).square().sum(), leaves)
        transform = {
            "grad": lambda: torch.func.grad(total, numbers),
            "vmap of grad": lambda: torch.vmap(torch.func.grad(total, numbers)),
            "jacrev": lambda: torch.func.jacrev(total, numbers),
            "hessian": lambda: torch.func.hessian(total, numbers),
            "compiled": lambda: torch.compile(torch.vmap(torch.func.grad(total, numbers)), backend="eager"),
        }[way]()
        return transform(*leaves)

    torch.testing.assert_close(run(op), run(by_torch))


@pytest.mark.parametrize("name", ["index_add_", "add_norm_select_"])
def test_the_forms_in_place_refuse_torch_func_grad_and_follow_vmap(name, draw):
    op, by_torch, shapes = OPS[name]
    with pytest.raises(RuntimeError, match=f"{name}: a tensor requires grad"):
        torch.func.grad(lambda *tensors: op(*tensors)[1].sum())(*(draw(*shape) for shape in shapes))
    leaves = [draw(4, *shape) for shape in shapes]
    torch.testing.assert_close(torch.vmap(op)(*leaves), torch.vmap(by_torch)(*leaves))


def arguments():
    """For every op of the package, all the tensors that it takes."""
    x, update, vector, q, mask = torch.ones(2, 5), torch.ones(2, 3), torch.ones(5), torch.ones(1, 2, 4, 8), torch.ones(1, 4).bool()
    norm, added, attention = dict(weight=vector, bias=vector, eps=0.1), dict(residual=x, update=update), dict(q=q, k=q)
    targets, masks = torch.tensor([0, 1]), dict(key_mask=mask, query_mask=mask)
    return {
        "features": dict(index=INDEX, size=5),
        "index_select": dict(x=x, index=INDEX),
        "index_add": dict(added, index=INDEX),
        "index_add_": dict(added, index=INDEX),
        "norm_select": dict(x=x, index=INDEX, **norm),
        "add_norm_select": dict(added, add_index=INDEX, select_index=INDEX, **norm),
        "add_norm_select_": dict(added, add_index=INDEX, select_index=INDEX, **norm),
        "upcast_linear": dict(x=x, weight=torch.ones(3, 5), bias=torch.ones(3)),
        "linear_cross_entropy": dict(
            dict(hidden=x, weight=torch.ones(3, 5), targets=targets, bias=torch.ones(5), appended=torch.ones(2, 5)),
            **dict(reduction="buckets", buckets=targets, num_buckets=2),
        ),
        "attention_mass": dict(attention, groups=mask.long(), num_groups=1, sinks=torch.ones(2), **masks),
        "attention_key_mass": dict(attention, lse=torch.ones(1, 2, 4), **masks),
        "reinmax": dict(logits=vector, draws=vector),
    }


@pytest.mark.parametrize(
    ("kind", "what"),
    [
        (lambda tensor: tensor.numpy(), "is of type ndarray, it must be a tensor"),
        (torch.Tensor.to_sparse, "has layout torch.sparse_coo, it must be dense"),
        (lambda tensor: torch.nested.nested_tensor([tensor]), "is a nested tensor, it must be dense; pad it"),
        (lambda tensor: torch.nested.nested_tensor([tensor, tensor], layout=torch.jagged), "is a nested tensor, it must be dense; pad it"),
    ],
    ids=["numpy", "sparse", "nested", "jagged"],
)
@pytest.mark.parametrize(("op", "name"), [(op, name) for op, given in arguments().items() for name in given if name not in NUMBERS])
def test_what_is_no_dense_tensor_is_refused_by_name(op, name, kind, what):
    given = arguments()[op]
    getattr(ops, op)(**given)
    with pytest.raises(TypeError, match=f"^{op}: {name} {what}"):
        getattr(ops, op)(**given | {name: kind(arguments()[op][name])})


FLAGS = [(op, "center") for op in ("norm_select", "add_norm_select", "add_norm_select_")]
FLAGS += [("linear_cross_entropy", f"return_{what}") for what in ("lse", "entropy", "rank", "argmax")]
FLAGS += [("attention_mass", "causal"), ("attention_mass", "per_query"), ("attention_key_mass", "causal")]


@pytest.mark.parametrize("value", [1, 0, None, "no"])
@pytest.mark.parametrize(("op", "name"), FLAGS)
def test_a_flag_is_true_or_false(op, name, value):
    with pytest.raises(TypeError, match=f"^{op}: {name} is {value!r}, it must be True or False"):
        getattr(ops, op)(**arguments()[op], **{name: value})


READERS = {
    "a bare index": lambda x, index: ops.norm_select(x, None, None, index, 1e-6),
    "features": lambda x, index: ops.norm_select(x, None, None, ops.features(index, 5), 1e-6),
    "groups": lambda x, index: ops.attention_mass(x[None, None], x[None, None], index.long()[None, :2] % 2, num_groups=1).mass_sum,
}


@pytest.mark.parametrize("name", READERS)
@pytest.mark.parametrize("way", ["fake", "make_fx", "make_fx of fakes", "make_fx of symbols", "export"])
def test_values_are_not_read_while_tracing(name, way, draw):
    function, x = READERS[name], draw(2, 5, dtype=torch.float32)
    wanted = function(x, INDEX)
    if way == "fake":
        with FakeTensorMode() as mode:
            result = function(mode.from_tensor(x), mode.from_tensor(INDEX))
        assert result.shape == wanted.shape and result.dtype == wanted.dtype
        return
    if way == "export":

        class Model(torch.nn.Module):
            def forward(self, x, index):
                return function(x, index)

        traced = torch.export.export(Model(), (x, INDEX)).module()
    else:
        kind = {"make_fx": "real", "make_fx of fakes": "fake", "make_fx of symbols": "symbolic"}[way]
        traced = make_fx(function, tracing_mode=kind)(x, INDEX)
    torch.testing.assert_close(traced(x, INDEX), wanted)


JUNCTIONS = {
    "index_select": lambda x, update, kept: ops.index_select(x, kept),
    "index_add": ops.index_add,
    "norm_select": lambda x, update, kept: ops.norm_select(x, None, None, kept, 1e-6),
    "add_norm_select": lambda x, update, kept: ops.add_norm_select(x, update, kept, None, None, kept, 1e-6)[1],
}


def recording_backend():
    """A list, and a backend of torch.compile that adds each graph's pydisp ops to it."""
    called = []

    def backend(graph, inputs):
        called.append({node.target for node in graph.graph.nodes if "pydisp" in str(node.target)})
        return graph.forward

    return called, backend


@pytest.mark.parametrize("name", JUNCTIONS)
def test_few_rows_are_left_to_the_compiler(name, draw):
    called, backend = recording_backend()
    op, kept = getattr(torch.ops.pydisp, name).default, ops.features(INDEX, 5)
    for rows, in_graph in ((1, set()), (FUSED_ROWS, set()), (FUSED_ROWS + 1, {op})):
        torch.compiler.reset()
        inputs = draw(rows, 5, dtype=torch.float32), draw(rows, len(INDEX), dtype=torch.float32), kept
        results = torch.compile(JUNCTIONS[name], backend=backend, fullgraph=True)(*inputs)
        torch.testing.assert_close(results, JUNCTIONS[name](*inputs))
        assert called.pop() == in_graph


@pytest.mark.parametrize("name", JUNCTIONS)
def test_few_rows_elsewhere_than_on_a_cpu_stay_with_the_op(name):
    called, backend = recording_backend()
    kept = ops.Features(*(form.to("meta") for form in ops.features(INDEX, 5)))
    inputs = torch.ones(1, 5, device="meta"), torch.ones(1, len(INDEX), device="meta"), kept
    torch.compiler.reset()
    torch.compile(JUNCTIONS[name], backend=backend, fullgraph=True)(*inputs)
    assert called == [{getattr(torch.ops.pydisp, name).default}]


@pytest.mark.parametrize("name", JUNCTIONS)
def test_a_bare_index_is_not_left_to_the_compiler_because_only_the_op_checks_it(name, draw):
    compiled = torch.compile(JUNCTIONS[name], backend="eager", fullgraph=True)
    with pytest.raises(RuntimeError, match=r"index\[0\] is -1"):
        compiled(draw(1, 5), draw(1, 3), torch.tensor([-1, 2, 3], dtype=torch.int32))


@torch._dynamo.config.patch(capture_dynamic_output_shape_ops=True)
@pytest.mark.parametrize("way", ["a range", "as many as there are"])
@pytest.mark.parametrize("name", JUNCTIONS)
def test_rows_that_are_not_known_stay_open(name, way, draw):
    torch.compiler.reset()
    x, kept, mask = draw(8, 5), ops.features(INDEX, 5), torch.tensor([True, False] * 4)

    def function(x, mask):
        rows = x if way == "a range" else x[mask.nonzero()[:, 0]]
        return JUNCTIONS[name](rows, rows[:, :3], kept)

    if way == "a range":
        torch._dynamo.mark_dynamic(x, 0, min=2, max=4096)
    torch.testing.assert_close(torch.compile(function, backend="eager", fullgraph=True)(x, mask), function(x, mask))


def test_attention_mass_follows_vmap(draw):
    q, k, groups = draw(3, 1, 2, 4, 5), draw(3, 1, 1, 4, 5), torch.tensor([[1, 2, 0, 3]])
    masses = torch.vmap(lambda q, k: ops.attention_mass(q, k, groups, 2).mass)(q, k)
    torch.testing.assert_close(masses, torch.stack([ops.attention_mass(*pair, groups, 2).mass for pair in zip(q, k, strict=True)]))


@pytest.mark.parametrize("transform", [torch.func.grad, torch.vmap])
@pytest.mark.parametrize(
    ("name", "function"),
    [
        ("reinmax", lambda x: ops.reinmax(x, torch.ones(3)).sum()),
        ("linear_cross_entropy", lambda x: ops.linear_cross_entropy(x, torch.eye(3, dtype=x.dtype), torch.tensor(1))),
    ],
)
def test_transforms_without_a_rule_are_refused_in_one_sentence(name, function, transform, draw):
    with pytest.raises(NotImplementedError, match=f"{name}: there is no rule for the transforms of torch.func; take "):
        transform(function)(draw(3) if transform is torch.func.grad else draw(2, 3))


def test_export_leaves_the_number_of_rows_open(draw):
    class Model(torch.nn.Module):
        def forward(self, x):
            return ops.norm_select(x, None, None, ops.features(INDEX, 5), 1e-6)

    exported = torch.export.export(Model(), (draw(3, 5, dtype=torch.float32),), dynamic_shapes=({0: torch.export.Dim("rows")},))
    for rows in (2, 40):
        x = draw(rows, 5, dtype=torch.float32)
        torch.testing.assert_close(exported.module()(x), Model()(x))


def test_values_are_read_where_nothing_traces():
    with pytest.raises(ValueError, match="bits set from bit 1 on"):
        ops.attention_mass(torch.ones(1, 1, 2, 5), torch.ones(1, 1, 2, 5), torch.full((1, 2), 2), num_groups=1)
    with pytest.raises(ValueError, match="not sorted"):
        ops.features(torch.nn.Parameter(torch.tensor([2, 1], dtype=torch.int32), requires_grad=False), 5)


@pytest.mark.parametrize(("value", "asked"), [(None, False), ("", False), ("0", False), ("1", True)])
def test_values_on_a_gpu_are_read_on_request_alone(value, asked, monkeypatch):
    monkeypatch.setattr(library, "has_values", lambda tensor: True)
    monkeypatch.delenv("PYDISP_CHECK", raising=False)
    if value is not None:
        monkeypatch.setenv("PYDISP_CHECK", value)
    assert library.may_read_values(SimpleNamespace(is_cpu=False)) is asked
    assert library.may_read_values(SimpleNamespace(is_cpu=True))
