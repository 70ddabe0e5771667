"""The loss against its definition in float64: values, each gradient, blocks of every size, softcap and bias, and what is refused."""

import pytest
import torch
from torch.nn import functional as F

from pydisp import distillation
from pydisp.distillation import Head, distillation_loss


def capped(logits, softcap):
    return logits if softcap is None else softcap * torch.tanh(logits / softcap)


def gold(hidden, head, teacher_hidden, teacher_head, targets=None, cross_entropy=0.0):
    """The definition, with whole logits, in float64."""
    bias, teacher_bias = (None if h.bias is None else h.bias.double() for h in (head, teacher_head))
    log_q = capped(F.linear(hidden.double(), head.weight.double(), bias), head.softcap).log_softmax(1)
    log_p = capped(F.linear(teacher_hidden.double(), teacher_head.weight.double(), teacher_bias), teacher_head.softcap).log_softmax(1)
    loss = (1 - cross_entropy) * (log_p.exp() * (log_p - log_q)).sum(1).mean()
    return loss + cross_entropy * F.nll_loss(log_q, targets) if cross_entropy else loss


def example(generator, tokens=7, width=5, teacher_width=6, words=11, dtype=torch.float64, has_bias=True, softcap=None):
    def draw(*shape):
        return torch.randn(*shape, generator=generator, dtype=torch.float64).to(dtype)

    head = Head(draw(words, width), draw(words) if has_bias else None, softcap)
    teacher = Head(draw(words, teacher_width), draw(words) if has_bias else None, softcap)
    targets = torch.randint(words, (tokens,), generator=generator)
    return draw(tokens, width), head, draw(tokens, teacher_width), teacher, targets


@pytest.mark.parametrize("softcap", [None, 2.0])
@pytest.mark.parametrize("cross_entropy", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("has_bias", [True, False])
def test_gradients_in_float64(generator, softcap, cross_entropy, has_bias):
    hidden, head, teacher_hidden, teacher, targets = example(generator, has_bias=has_bias, softcap=softcap)
    leaves = [t.requires_grad_() for t in (hidden, head.weight, head.bias) if t is not None]

    def loss(*values):
        bias = values[2] if has_bias else None
        return distillation_loss(values[0], Head(values[1], bias, softcap), teacher_hidden, teacher, targets, cross_entropy=cross_entropy)

    assert torch.allclose(loss(*leaves), gold(hidden, head, teacher_hidden, teacher, targets, cross_entropy), rtol=1e-12)
    assert torch.autograd.gradcheck(loss, leaves)


@pytest.mark.parametrize(("tokens", "words"), [(1, 1), (1, 3), (63, 257), (64, 7)])
@pytest.mark.parametrize("rows", [1, 5, 64])
def test_blocks_change_nothing_but_rounding(generator, monkeypatch, tokens, words, rows):
    monkeypatch.setattr(distillation, "BLOCK_BYTES", 5 * 8 * words * rows)
    assert distillation.block_rows(words, torch.float64) == rows
    hidden, head, teacher_hidden, teacher, targets = example(generator, tokens, words=words, softcap=3.0)
    leaves = (hidden.requires_grad_(), head.weight.requires_grad_(), head.bias.requires_grad_())
    ours = distillation_loss(hidden, head, teacher_hidden, teacher, targets, cross_entropy=0.2)
    wanted = gold(hidden, head, teacher_hidden, teacher, targets, 0.2)
    torch.testing.assert_close(ours, wanted, rtol=1e-12, atol=1e-14)
    for grad, exact in zip(torch.autograd.grad(3 * ours, leaves), torch.autograd.grad(3 * wanted, leaves), strict=True):
        torch.testing.assert_close(grad, exact, rtol=1e-10, atol=1e-14)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("region", [None, torch.float16])
def test_any_dtype_is_computed_in_float32(generator, monkeypatch, dtype, region):
    """Narrow inputs are exact float32 numbers, so only float32's rounding and that of the stored gradient may be seen."""
    monkeypatch.setattr(distillation, "_WIDENED_VALUES", 64)  # more than one part of the words
    hidden, head, teacher_hidden, teacher, _ = example(generator, 9, 16, 12, 130, dtype)
    leaves = (hidden.requires_grad_(), head.weight.requires_grad_(), head.bias.requires_grad_())
    with torch.autocast("cpu", region or torch.bfloat16, enabled=region is not None):
        ours = distillation_loss(hidden, head, teacher_hidden, teacher)
    wanted = gold(hidden, head, teacher_hidden, teacher)
    assert ours.dtype == torch.float32
    torch.testing.assert_close(ours.double(), wanted, rtol=1e-5, atol=1e-6)
    rtol = 4 * torch.finfo(dtype).eps
    for grad, exact in zip(torch.autograd.grad(ours, leaves), torch.autograd.grad(wanted, leaves), strict=True):
        assert grad.dtype == dtype
        torch.testing.assert_close(grad.double(), exact.double(), rtol=rtol, atol=1e-6)


def test_a_region_of_bfloat16_may_round_factors_but_no_result(generator, monkeypatch):
    """Some processors round there, others only multiply faster."""
    setting, seen, logits = torch.backends.mkldnn.matmul, [], distillation._logits
    monkeypatch.setattr(distillation, "_logits", lambda *args: (seen.append(setting.fp32_precision), logits(*args))[1])
    hidden, head, teacher_hidden, teacher, _ = example(generator, 40, 64, 48, 300, torch.float32)
    leaves, before = (hidden.requires_grad_(), head.weight.requires_grad_()), setting.fp32_precision
    with torch.autocast("cpu", torch.bfloat16):
        ours = distillation_loss(hidden, head, teacher_hidden, teacher)
    assert set(seen) == {"bf16"} and setting.fp32_precision == before and ours.dtype == torch.float32
    wanted = gold(hidden, head, teacher_hidden, teacher)
    torch.testing.assert_close(ours.double(), wanted, rtol=0.02, atol=0.0)
    for grad, exact in zip(torch.autograd.grad(ours, leaves), torch.autograd.grad(wanted, leaves), strict=True):
        assert grad.dtype == torch.float32 and (grad.double() - exact).norm() < 0.02 * exact.norm()
    with torch.autocast("cpu", torch.bfloat16), pytest.raises(ValueError, match="40 tokens of the student and 39"):
        distillation_loss(hidden, head, teacher_hidden[1:], teacher)
    assert setting.fp32_precision == before


def test_a_model_like_its_teacher_has_no_loss_and_no_gradient(generator):
    hidden, head, *_ = example(generator, 20, dtype=torch.float32)
    loss = distillation_loss(hidden.requires_grad_(), head, hidden.detach(), head)
    assert 0 <= loss.item() < 1e-6
    assert torch.autograd.grad(loss, hidden)[0].abs().max() < 1e-6


def test_only_what_trains_has_a_gradient(generator):
    hidden, head, teacher_hidden, teacher, _ = example(generator)
    teacher.weight.requires_grad_()
    assert not distillation_loss(hidden, head, teacher_hidden, teacher).requires_grad
    distillation_loss(hidden.requires_grad_(), head, teacher_hidden, teacher).backward()
    assert hidden.grad is not None and teacher.weight.grad is None and head.weight.grad is None


def test_what_does_not_fit_is_refused(generator):
    hidden, head, teacher_hidden, teacher, targets = example(generator)
    for arguments, words in (
        ((hidden[:3], head, teacher_hidden, teacher), "3 tokens of the student and 7 of the teacher"),
        ((hidden, head, teacher_hidden, Head(teacher.weight[:4])), "11 words, the teacher 4"),
        ((hidden[:, :2], head, teacher_hidden, teacher), "takes 5 features, the hidden states have 2"),
        ((hidden[0], head, teacher_hidden, teacher), "two dimensions"),
    ):
        with pytest.raises(ValueError, match=words):
            distillation_loss(*arguments)
    with pytest.raises(ValueError, match="needs one target"):
        distillation_loss(hidden, head, teacher_hidden, teacher, cross_entropy=0.5)
    with pytest.raises(ValueError, match="between 0 and 1"):
        distillation_loss(hidden, head, teacher_hidden, teacher, targets, cross_entropy=1.5)
    with pytest.raises(TypeError, match="hidden is torch.int64"):
        distillation_loss(hidden.long(), head, teacher_hidden, teacher)
