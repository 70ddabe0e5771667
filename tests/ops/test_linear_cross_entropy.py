import pytest
import torch
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode

from pydisp import ops

# N tokens, D hidden, V vocabulary, tokens of a chunk
SHAPES = [(1, 1, 1, 1), (1, 63, 2, 8), (63, 5, 65, 16), (64, 33, 129, 64), (130, 7, 31, 1000), (0, 4, 9, 4)]


def by_torch(hidden, weight, targets, bias, softcap=None, ignore_index=-100, **_):
    """All logits at once."""
    logits = F.linear(hidden, weight).to(torch.promote_types(hidden.dtype, torch.float32))
    logits = logits if bias is None else logits + bias
    logits = logits if softcap is None else softcap * torch.tanh(logits / softcap)
    return F.cross_entropy(logits, targets.long(), ignore_index=ignore_index, reduction="none")


@pytest.fixture
def draw_targets(generator):
    def choose(tokens: int, vocabulary: int, ignored: float = 0.3) -> torch.Tensor:
        targets = torch.randint(vocabulary, (tokens,), generator=generator)
        return torch.where(torch.rand(tokens, generator=generator) < ignored, -100, targets)

    return choose


@pytest.mark.parametrize("strided", [False, True])
@pytest.mark.parametrize(("has_bias", "softcap"), [(False, None), (True, None), (True, 2.0)])
@pytest.mark.parametrize(("tokens", "width", "vocabulary", "chunk_tokens"), SHAPES)
def test_forward_and_gradients_equal_the_whole_logits(
    tokens, width, vocabulary, chunk_tokens, has_bias, softcap, strided, dtype, draw, draw_targets, assert_as_good
):
    tensors = [draw(tokens, width, dtype=dtype, strided=strided), draw(vocabulary, width, dtype=dtype, strided=strided)]
    tensors += [draw(vocabulary, dtype=dtype)] if has_bias else []
    targets, cotangent = draw_targets(tokens, vocabulary), draw(tokens, dtype=torch.float32)

    def run(op, wide=None):
        leaves = [t.detach().to(wide or t.dtype).requires_grad_() for t in tensors]
        out = op(leaves[0], leaves[1], targets, leaves[2] if has_bias else None, softcap=softcap, chunk_tokens=chunk_tokens)
        return [out, *torch.autograd.grad(out, leaves, cotangent.to(out.dtype))]

    for found, own, gold in zip(run(ops.linear_cross_entropy), run(by_torch), run(by_torch, torch.float64), strict=True):
        assert_as_good(found, own, gold)


def test_chunks_change_nothing_but_rounding(draw, draw_targets):
    hidden, weight, targets = draw(37, 8), draw(11, 8), draw_targets(37, 11)
    losses = [ops.linear_cross_entropy(hidden, weight, targets, chunk_tokens=chunk) for chunk in (1, 5, 37, 1024)]
    for loss in losses[1:]:
        torch.testing.assert_close(loss, losses[0], rtol=1e-13, atol=1e-13)
    assert losses[0].dtype == torch.float64 and (losses[0][targets == -100] == 0).all()


@pytest.mark.parametrize("softcap", [None, 1.5])
def test_gradcheck(softcap, draw, draw_targets):
    targets = draw_targets(5, 7)
    leaves = draw(5, 3, requires_grad=True), draw(7, 3, requires_grad=True), draw(7, requires_grad=True)

    def run(hidden, weight, bias):
        return ops.linear_cross_entropy(hidden, weight, targets, bias, softcap=softcap, chunk_tokens=2)

    assert torch.autograd.gradcheck(run, leaves)


@pytest.mark.parametrize("wanted", [(True, False, False), (False, True, False), (False, False, True), (True, False, True)])
def test_only_needed_gradients_come(wanted, draw, draw_targets):
    leaves = [draw(*shape).requires_grad_(needed) for shape, needed in zip(((6, 3), (7, 3), (7,)), wanted, strict=True)]
    targets = draw_targets(6, 7)
    ops.linear_cross_entropy(leaves[0], leaves[1], targets, leaves[2], chunk_tokens=4).sum().backward()
    gold = [leaf.detach().clone().requires_grad_() for leaf in leaves]
    by_torch(gold[0], gold[1], targets, gold[2]).sum().backward()
    for leaf, needed, full in zip(leaves, wanted, gold, strict=True):
        assert (leaf.grad is not None) == needed
        if needed:
            torch.testing.assert_close(leaf.grad, full.grad)


class Largest(TorchDispatchMode):
    """Remembers the largest number of elements any op returned."""

    elements = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        for tensor in out if isinstance(out, (tuple, list)) else [out]:
            if isinstance(tensor, torch.Tensor):
                self.elements = max(self.elements, tensor.numel())
        return out


def test_never_more_than_one_chunk_of_logits(draw, draw_targets):
    from pydisp.ops.linear_cross_entropy import backward_reference, reference

    hidden, weight, targets = draw(64, 4), draw(1000, 4), draw_targets(64, 1000)
    with Largest() as seen:
        loss = reference(hidden, weight, targets, None, None, -100, 8)
        backward_reference(loss, hidden, weight, targets, None, None, -100, 8, True, True, False)
    assert seen.elements == 8 * 1000


def test_opcheck(draw, draw_targets):
    hidden, weight, bias, targets = draw(6, 3, requires_grad=True), draw(7, 3, requires_grad=True), draw(7), draw_targets(6, 7)
    torch.library.opcheck(torch.ops.pydisp.linear_cross_entropy.default, (hidden, weight, targets, bias, 3.0, -100, 4))
    grad = draw(6)
    for needs in ((True, True, True), (True, False, False)):
        arguments = (grad, hidden.detach(), weight.detach(), targets, bias, None, -100, 4, *needs)
        torch.library.opcheck(torch.ops.pydisp.linear_cross_entropy_backward.default, arguments)


def test_compiles_without_graph_break(draw, draw_targets):
    hidden, weight, targets = draw(6, 3, requires_grad=True), draw(7, 3), draw_targets(6, 7)
    compiled = torch.compile(ops.linear_cross_entropy, fullgraph=True, backend="aot_eager")
    compiled(hidden, weight, targets, chunk_tokens=4).sum().backward()
    found, hidden.grad = hidden.grad, None
    ops.linear_cross_entropy(hidden, weight, targets).sum().backward()
    torch.testing.assert_close(found, hidden.grad)


def test_shapes_chunks_and_targets_that_do_not_fit_are_refused(draw):
    hidden, weight = draw(6, 3), draw(7, 3)
    with pytest.raises(ValueError, match="flatten batch and tokens first"):
        ops.linear_cross_entropy(hidden[None], weight, torch.zeros(1, 6, dtype=torch.int64))
    with pytest.raises(ValueError, match="chunk_tokens is 0"):
        ops.linear_cross_entropy(hidden, weight, torch.zeros(6, dtype=torch.int64), chunk_tokens=0)
    for outside in (7, -1):
        with pytest.raises((RuntimeError, IndexError)):
            ops.linear_cross_entropy(hidden, weight, torch.full((6,), outside))
