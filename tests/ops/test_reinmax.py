import pytest
import torch

from pydisp import ops


def by_detach(logits, draws, temperature):
    """The estimator as written for the method, every stop of the gradient spelt out."""
    pi0 = torch.sigmoid(logits)
    pi1 = (draws + torch.sigmoid(logits / temperature)) / 2
    pi1 = torch.sigmoid((torch.logit(pi1) - logits).detach() + logits)
    pi2 = 2 * pi1 - pi0 / 2
    return pi2 - pi2.detach() + draws


@pytest.mark.parametrize("shape", [(1,), (63,), (3, 5), (0,)])
def test_forward_is_the_draws(shape, dtype, draw, generator):
    logits = draw(*shape, dtype=dtype)
    draws = torch.bernoulli(torch.sigmoid(logits.float()), generator=generator)
    assert torch.equal(ops.reinmax(logits, draws), draws.to(dtype))


@pytest.mark.parametrize("temperature", [1.0, 0.5, 2.0])
@pytest.mark.parametrize("strided", [False, True])
def test_gradient_is_that_of_the_detach_formula(strided, temperature, draw, generator):
    logits = 3 + 2 * draw(17, 33, strided=strided)
    draws, cotangent = torch.bernoulli(torch.sigmoid(logits), generator=generator), draw(17, 33)
    ours, theirs = logits.clone().requires_grad_(), logits.clone().requires_grad_()
    (ops.reinmax(ours, draws, temperature) * cotangent).sum().backward()
    (by_detach(theirs, draws, temperature) * cotangent).sum().backward()
    torch.testing.assert_close(ours.grad, theirs.grad, rtol=1e-10, atol=1e-14)


def test_gradient_in_narrow_dtypes_is_the_rounded_one(dtype, draw, generator):
    logits = (3 + 2 * draw(257)).to(dtype)
    draws = torch.bernoulli(torch.sigmoid(logits.float()), generator=generator)
    ours, gold = logits.clone().requires_grad_(), logits.double().requires_grad_()
    ops.reinmax(ours, draws.to(dtype)).sum().backward()
    by_detach(gold, draws.double(), 1.0).sum().backward()
    torch.testing.assert_close(ours.grad.double(), gold.grad, rtol=torch.finfo(dtype).eps * 4, atol=1e-7)


def test_expected_gradient_of_a_linear_loss_is_exact():
    """At logit 3 it is sigmoid'(3) = 0.0452; with ln for logit, as the paper prints it, 0.474."""
    logits = torch.full((2,), 3.0, dtype=torch.float64, requires_grad=True)
    ops.reinmax(logits, torch.tensor([1.0, 0.0])).sum().backward()
    kept = torch.sigmoid(logits.detach()[0])
    expected = kept * logits.grad[0] + (1 - kept) * logits.grad[1]
    torch.testing.assert_close(expected, kept * (1 - kept), rtol=1e-12, atol=0)
    assert round(expected.item(), 4) == 0.0452


def test_gradient_survives_large_logits():
    logits = torch.tensor([40.0, -40.0, 90.0], requires_grad=True)
    ops.reinmax(logits, torch.tensor([1.0, 0.0, 1.0])).sum().backward()
    assert (logits.grad[:2] > 0).all() and logits.grad.isfinite().all()


def test_a_tangent_is_refused(draw):
    with pytest.raises(NotImplementedError, match="logits has a forward-mode tangent"):
        torch.func.jvp(lambda x: ops.reinmax(x, torch.ones(3)), (draw(3),), (draw(3),))


def test_a_second_derivative_is_refused(draw):
    logits = draw(5, requires_grad=True)
    (grad,) = torch.autograd.grad(ops.reinmax(logits, torch.ones(5)).sum(), logits, create_graph=True)
    with pytest.raises(NotImplementedError, match="reinmax has no second derivative; take the formula"):
        grad.square().sum().backward()


def test_opcheck_and_compile(draw):
    logits, draws = draw(5, requires_grad=True), torch.tensor([0.0, 1, 1, 0, 1])
    torch.library.opcheck(torch.ops.pydisp.reinmax.default, (logits, draws, 1.0))
    strided = draw(3, 5, strided=True)
    torch.library.opcheck(torch.ops.pydisp.reinmax_backward.default, (draw(3, 5), strided, torch.ones(3, 5), 1.0))
    compiled = torch.compile(ops.reinmax, fullgraph=True, backend="aot_eager")
    assert torch.equal(compiled(logits, draws), draws.double())


def test_wrong_shape_and_temperature_are_refused(draw):
    with pytest.raises(ValueError, match="one gate for each logit"):
        ops.reinmax(draw(3), torch.ones(2))
    with pytest.raises(ValueError, match="temperature is 0"):
        ops.reinmax(draw(3), torch.ones(3), 0)


@pytest.mark.parametrize(
    ("change", "error", "problem"),
    [
        ({"logits": [1.0]}, TypeError, "logits is of type list"),
        ({"logits": torch.ones(3, dtype=torch.int64)}, TypeError, "logits are torch.int64"),
        ({"draws": torch.ones(3, device="meta")}, ValueError, "draws are on meta, logits on cpu"),
        ({"draws": torch.ones(3, dtype=torch.complex64)}, TypeError, "draws are torch.complex64"),
        ({"draws": torch.tensor([0.0, 0.5, 1.0])}, ValueError, "something else than 0 and 1"),
        ({"temperature": "1"}, TypeError, "temperature is '1'"),
    ],
    ids=str,
)
def test_bad_arguments_are_refused(change, error, problem):
    with pytest.raises(error, match=problem):
        ops.reinmax(**{"logits": torch.ones(3), "draws": torch.ones(3), "temperature": 1.0} | change)
