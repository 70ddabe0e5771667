import os
import subprocess
import sys

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch.utils._python_dispatch import TorchDispatchMode

from pydisp.ops import native
from pydisp.ops.token_statistics import BLOCK_TOKENS, TokenStatistics, backward_reference, reference

OP = torch.ops.pydisp.token_statistics.default
BACKWARD = torch.ops.pydisp.token_statistics_backward.default
ENTROPY_BACKWARD = torch.ops.pydisp.token_statistics_entropy_backward.default

# N tokens, D hidden, V vocabulary, E appended rows; a block is 64 (plain), 128 or 48 (float64) tokens, and at least 128 words
SHAPES = [
    (1, 1, 1, 0), (1, 63, 2, 3), (63, 5, 65, 0), (64, 33, 129, 1), (65, 16, 1025, 0), (130, 7, 31, 40), (3, 4, 2200, 7), (0, 4, 9, 0),
    (96, 8, 127, 2), (127, 5, 65, 0), (128, 16, 129, 1), (129, 300, 300, 0), (3, 0, 5, 2),
]  # fmt: skip
# bias, softcap, scale, padding rows
VARIANTS = [(False, None, 1.0, 0), (True, None, 1.0, 0), (False, 2.0, 1.0, 0), (True, 3.0, 0.5, 4), (False, None, -0.25, 1)]
# every shape with two of the variants, every variant with several shapes, strided and not
CASES = [(*SHAPES[i], *VARIANTS[(i + 2 * j) % len(VARIANTS)], j == 1) for i in range(len(SHAPES)) for j in range(2)]


@pytest.fixture(params=["upcast", "native"])
def products(request, monkeypatch) -> str:
    """How bfloat16 is multiplied; the processor decides otherwise."""
    monkeypatch.setenv("PYDISP_BF16_MM", request.param)
    return request.param


@pytest.fixture
def problem(draw, generator):
    """Arguments of the op but for what is wanted: random, some targets ignored."""

    def make(tokens, width, vocabulary, added=0, *, dtype=torch.float64, has_bias=False, softcap=None, scale=1.0, padding=0, strided=False):
        hidden, weight = draw(tokens, width, dtype=dtype, strided=strided), draw(vocabulary + padding, width, dtype=dtype, strided=strided)
        appended = draw(added, width, dtype=dtype) if added else None
        bias = draw(vocabulary + (added or padding), dtype=dtype) if has_bias else None
        targets = torch.randint(vocabulary + added, (tokens,), generator=generator)
        targets = torch.where(torch.rand(tokens, generator=generator) < 0.2, -100, targets)
        return hidden, weight, appended, bias, targets, softcap, scale, vocabulary, -100

    return make


def by_definition(hidden, weight, appended, bias, targets, softcap, scale, vocab_size, ignore_index) -> TokenStatistics:
    """All logits at once, in hidden's dtype as far as F.linear goes; for valid targets."""
    words = weight[:vocab_size] if appended is None else torch.cat([weight[:vocab_size], appended])
    logits = (hidden @ words.t()).to(torch.promote_types(hidden.dtype, torch.float32))
    logits = (logits + (0 if bias is None else bias[: words.shape[0]])) * scale
    logits = logits if softcap is None else softcap * torch.tanh(logits / softcap)
    log_p = logits.log_softmax(1)
    is_word = targets != ignore_index
    at_target = logits.gather(1, torch.where(is_word, targets, 0)[:, None])
    return TokenStatistics(
        logits.logsumexp(1),
        torch.where(is_word, at_target.squeeze(1), 0),
        logits.mean(1),
        -(log_p.exp() * log_p).sum(1),
        torch.where(is_word, (logits > at_target).sum(1), 0),
        logits.argmax(1),
        logits.new_empty(0, hidden.shape[0]),
    )


def widened(arguments):
    return [value.double() if isinstance(value, torch.Tensor) and value.is_floating_point() else value for value in arguments]


@pytest.mark.parametrize(("tokens", "width", "vocabulary", "added", "has_bias", "softcap", "scale", "padding", "strided"), CASES)
def test_statistics_are_those_of_the_whole_logits(
    tokens, width, vocabulary, added, has_bias, softcap, scale, padding, strided, dtype, problem, isa, assert_as_good
):
    given = problem(
        tokens, width, vocabulary, added, dtype=dtype, has_bias=has_bias, softcap=softcap, scale=scale, padding=padding, strided=strided
    )
    gold = by_definition(*widened(given))
    for run in (OP, reference):
        ours = TokenStatistics(*run(*given, True, True, True, True))
        for name in ("lse", "target_logit", "mean_logit", "entropy"):
            terms = gold.lse.abs().amax().item() if tokens and name == "entropy" else 1.0  # it is a difference of logits
            assert_as_good(getattr(ours, name), getattr(by_definition(*given), name), getattr(gold, name), terms=terms)
        if tokens and dtype == torch.float32:  # the products of 16-bit types round, so words change places
            least = 0.9 if softcap is None else 0.7  # a softcap makes ties of the largest
            assert (ours.argmax == gold.argmax).double().mean() > least and (ours.rank == gold.rank).double().mean() > least
            assert (ours.rank - gold.rank).abs().max() <= max(1, vocabulary // 50)


@pytest.mark.parametrize(("tokens", "width", "vocabulary", "added"), SHAPES)
def test_float64_is_exact(tokens, width, vocabulary, added, problem, isa):
    given = problem(tokens, width, vocabulary, added, has_bias=True, softcap=3.0, scale=0.5)
    for ours, gold in zip(OP(*given, True, True, True, True), by_definition(*given), strict=True):
        torch.testing.assert_close(ours, gold, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(("tokens", "width", "vocabulary", "added", "has_bias", "softcap", "scale", "padding", "strided"), CASES)
def test_gradients_are_those_of_the_whole_logits(
    tokens, width, vocabulary, added, has_bias, softcap, scale, padding, strided, dtype, problem, draw, isa, assert_as_good
):
    given = problem(
        tokens, width, vocabulary, added, dtype=dtype, has_bias=has_bias, softcap=softcap, scale=scale, padding=padding, strided=strided
    )
    cotangents = [draw(tokens) for _ in range(3)]

    def gradients(arguments, op):
        leaves = [t.detach().clone().requires_grad_() if t is not None else None for t in arguments[:4]]
        outputs = op(*leaves, *arguments[4:])[:3]
        wanted = [leaf for leaf in leaves if leaf is not None]
        result = torch.autograd.grad(outputs, wanted, [c.to(o.dtype) for c, o in zip(cotangents, outputs, strict=True)])
        assert [g.dtype for g in result] == [leaf.dtype for leaf in wanted]
        return result

    def plain(*arguments):
        needs = [arguments[0], arguments[1], *(t for t in arguments[2:4] if t is not None)]
        lse = reference(*arguments, False, False, False, False).lse
        c = [value.to(lse.dtype) for value in cotangents]
        result = backward_reference(*c, lse, *arguments, True, True, arguments[2] is not None, arguments[3] is not None)
        return [g for g in result if g.numel()] if tokens and width else [torch.zeros_like(t) for t in needs]

    own, gold = gradients(given, by_definition), gradients(widened(given), by_definition)
    ours = gradients(given, lambda *arguments: OP(*arguments, True, False, False, False))
    # exp(logit - LSE) is as exact as the rounding of the larger of them leaves it
    terms = by_definition(*widened(given)).lse.abs().amax().item() if tokens else 1.0
    for result, same_dtype, exact in zip(ours, own, gold, strict=True):
        assert_as_good(result, same_dtype, exact, terms=terms)
    for result, same_dtype, exact in zip(plain(*given), own, gold, strict=True):
        assert_as_good(result, same_dtype, exact, terms=terms)


@pytest.mark.parametrize("cast", [torch.bfloat16, torch.float16])
def test_autocast_does_not_round_the_sums(cast, problem, draw):
    given = problem(70, 5, 300, 9, dtype=torch.float32, has_bias=True)
    cotangents = [draw(70).float() for _ in range(3)]

    def everything():
        ours = OP(*given, True, True, True, True), reference(*given, True, True, True, True)
        needs = cotangents + [ours[0][0], *given] + [True] * 4
        return *ours[0], *ours[1], *BACKWARD(*needs), *backward_reference(*needs)

    expected = everything()
    with torch.autocast("cpu", dtype=cast):
        ours = everything()
    for one, other in zip(ours, expected, strict=True):
        assert one.dtype == other.dtype and torch.equal(one, other)


@pytest.mark.parametrize("needs", [(True, False, False, False), (False, True, False, False), (False, False, True, True)])
def test_only_needed_gradients_come(needs, problem, draw, isa):
    given = problem(70, 5, 300, 9, has_bias=True)
    arguments = *(draw(70) for _ in range(3)), OP(*given, False, False, False, False)[0], *given
    whole = BACKWARD(*arguments, True, True, True, True)
    for ours, full, needed in zip(BACKWARD(*arguments, *needs), whole, needs, strict=True):
        assert torch.equal(ours, full) if needed else ours.numel() == 0


# all words, some of them, not one whole block of them; 1,100 tokens are more than the backward takes at once
@pytest.mark.parametrize(("tokens", "width", "words"), [(201, 64, 1400), (520, 200, 1100), (70, 64, 100), (1100, 3, 1100)])
@pytest.mark.parametrize("kind", [torch.float64, torch.float32, torch.bfloat16], ids=str)
def test_kept_products_change_no_gradient(tokens, width, words, kind, problem, draw, isa, products):
    given = problem(tokens, width, 1370, 30, dtype=kind, has_bias=True, softcap=2.0, scale=0.7)
    hidden, weight, appended, *_ = given
    plain, result = (
        OP(*given, True, False, True, False),
        TokenStatistics(*OP(*given, True, False, True, False, words * tokens * (8 if kind == torch.float64 else 4))),
    )
    for ours, without in zip(result[:6], plain[:6], strict=True):
        assert torch.equal(ours, without)
    gold = (hidden.double() @ torch.cat([weight, appended]).double().t())[:, :words].t()
    assert result.kept.shape == (words, tokens)
    rounding = {"rtol": 1e-2, "atol": 1e-1} if kind == torch.bfloat16 else {"rtol": 1e-4, "atol": 1e-4}
    torch.testing.assert_close(result.kept.double(), gold, **rounding)
    arguments = *(draw(tokens).to(result.lse.dtype) for _ in range(3)), result.lse, *given, True, True, True, True
    again = BACKWARD(*arguments)
    for ours, without in zip(BACKWARD(*arguments, result.kept), again, strict=True):
        assert torch.equal(ours, without)
    if native.is_loaded():  # they are used: other products give other gradients, from a whole block of words on
        changed = BACKWARD(*arguments, result.kept + 1)
        assert torch.equal(changed[0], again[0]) == (words < 1024)


@pytest.mark.parametrize("kind", [torch.float64, torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("tokens", [256, 1300])
def test_gradients_over_several_passes_and_chunks(tokens, kind, problem, draw, isa, products, assert_as_good):
    given = problem(tokens, 40, 1100, 9, dtype=kind, has_bias=True)
    cotangents = [draw(tokens) for _ in range(3)]

    def gradients(arguments, op):
        leaves = [t.detach().clone().requires_grad_() for t in arguments[:4]]
        outputs = op(*leaves, *arguments[4:])[:3]
        return torch.autograd.grad(outputs, leaves, [c.to(o.dtype) for c, o in zip(cotangents, outputs, strict=True)])

    result = gradients(given, lambda *arguments: OP(*arguments, True, False, False, False))
    own, gold = gradients(given, by_definition), gradients(widened(given), by_definition)
    for ours, same_dtype, exact in zip(result, own, gold, strict=True):
        assert_as_good(ours, same_dtype, exact)


@pytest.mark.parametrize("kind", [torch.float64, torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("what", ["bias", "scale", "impossible word"])
def test_columns_behind_the_last_token_give_no_gradient(what, kind, problem, isa, products):
    """They hold products of 0: a bias of more than 88 overflows against no LSE, an infinite word makes them NaN."""
    hidden, weight, _, bias, targets, *rest = problem(3, 5, 7, dtype=kind, has_bias=True)
    hidden, targets = hidden.abs() + 0.1, targets.clamp_min(0)
    if what == "bias":
        bias = bias + 1000
    elif what == "scale":
        rest[1], bias = 40.0, bias.abs() + 5
    else:
        weight[0], targets = -torch.inf, targets.clamp_min(1)
    given = hidden, weight, None, bias, targets, *rest
    lse = OP(*given, False, False, False, False)[0]
    ones = torch.ones_like(lse)
    arguments = ones, -ones, ones[:0], lse, *given
    ours, gold = BACKWARD(*arguments, False, False, False, True)[3], backward_reference(*arguments, False, False, False, True)[3]
    assert ours.isfinite().all()
    if kind != torch.bfloat16:  # whose products round, and a large scale makes much of that
        tolerance = 1e-9 if kind == torch.float64 else 2e-2
        torch.testing.assert_close(ours, gold, rtol=tolerance, atol=tolerance)


def test_products_are_kept_over_several_passes(problem):
    """The forward takes 8192 tokens at once."""
    given = problem(8200, 3, 40, dtype=torch.float32)
    kept = OP(*given, False, False, False, False, 8200 * 4 * 17)[6]
    torch.testing.assert_close(kept, given[1][:17] @ given[0].t(), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("softcap", "scale"), [(None, 1.0), (1.5, 0.7)])
def test_gradcheck(softcap, scale, problem, isa):
    hidden, weight, appended, bias, *rest = problem(5, 3, 7, 2, has_bias=True, softcap=softcap, scale=scale)

    def run(*leaves):
        return OP(*leaves, *rest, True, False, False, False)[:3]

    assert torch.autograd.gradcheck(run, [t.requires_grad_() for t in (hidden, weight, appended, bias)])


def test_unasked_statistics_are_empty(problem, isa):
    ours = TokenStatistics(*OP(*problem(5, 3, 7), False, False, False, False))
    assert [t.numel() for t in ours] == [5, 5, 0, 0, 0, 0, 0]
    assert [t.numel() for t in OP(*problem(5, 3, 7), True, False, True, False)] == [5, 5, 5, 0, 5, 0, 0]


@pytest.mark.parametrize("width", [5, 64, 200, 300])
@pytest.mark.parametrize("kind", [torch.float64, torch.float32, torch.bfloat16, torch.float16], ids=str)
def test_a_token_has_the_same_bits_in_every_batch(width, kind, problem, generator, isa, products):
    hidden, weight, appended, bias, targets, *rest = problem(201, width, 700, 30, dtype=kind, has_bias=True)

    def run(rows):
        return OP(hidden[rows], weight, appended, bias, targets[rows], *rest, True, True, True, True)

    def assert_same(ours, rows):
        for part, full in zip(ours[:6], whole[:6], strict=True):
            assert torch.equal(part, full[rows])

    whole = run(torch.arange(201))
    assert_same(run(torch.arange(201)), torch.arange(201))
    for rows in ([200], [7], [0, 64], [1, 70, 9], [5, 6, 7, 8], list(range(63)), list(range(3, 68)), list(range(20, 151))):
        assert_same(run(torch.tensor(rows)), torch.tensor(rows))
    shuffled = torch.randperm(201, generator=generator)
    assert_same(run(shuffled), shuffled)

    if kind == torch.float64 or width < 64:
        return  # there the BLAS adds a gradient up by where the token stands

    def grad_hidden(rows):
        ones = whole[0].new_ones(len(rows))
        arguments = ones, -ones, ones[:0], whole[0][rows], hidden[rows], weight, appended, bias, targets[rows], *rest
        return BACKWARD(*arguments, True, False, False, False)[0]

    every = grad_hidden(torch.arange(201))
    for rows in (torch.tensor([200]), torch.arange(3, 68), shuffled):
        assert torch.equal(grad_hidden(rows), every[rows])


@pytest.mark.parametrize("kind", [torch.float64, torch.float32, torch.bfloat16])
@pytest.mark.parametrize(
    ("tokens", "width", "words", "appended"),
    # a lone block of words, or a lone last one, is where torch's product would take all threads
    [(150, 33, 1500, 5), (100, 200, 7, 5), (1024, 64, 300, 5), (1, 200, 1100, 5), (64, 17, 7, 0), (1, 17, 6, 0), (64, 64, 8199, 0)],
)
def test_threads_change_no_bit(tokens, width, words, appended, kind, problem, draw, isa):
    given = problem(tokens, width, words, appended, dtype=kind, has_bias=True)
    grads = [draw(tokens).to(torch.promote_types(kind, torch.float32)) for _ in range(3)]

    def run(threads):
        before = torch.get_num_threads()
        torch.set_num_threads(threads)
        try:
            ours = OP(*given, True, True, True, True)
            return *ours, *BACKWARD(*grads, ours[0], *given, True, True, appended > 0, True)
        finally:
            torch.set_num_threads(before)

    for one, three in zip(run(1), run(3), strict=True):
        assert (one is None and three is None) or torch.equal(one, three)


def test_a_native_product_is_as_good_as_an_upcast_one(problem, isa, products, assert_as_good):
    given = problem(70, 33, 1300, 5, dtype=torch.bfloat16, has_bias=True)
    own, gold = by_definition(*given), by_definition(*widened(given))
    ours = OP(*given, True, True, False, False)
    for result, same_dtype, exact in zip(ours[:4], own[:4], gold[:4], strict=True):
        assert_as_good(result, same_dtype, exact)
    ones = own.lse.new_ones(70)
    result = BACKWARD(ones, -ones, ones[:0], ours[0], *given, True, True, True, True)
    exact = BACKWARD(ones.double(), -ones.double(), ones[:0].double(), gold.lse, *widened(given), True, True, True, True)
    plain = backward_reference(ones, -ones, ones[:0], own.lse, *given, True, True, True, True)
    for grad, same_dtype, truth in zip(result, plain, exact, strict=True):
        assert_as_good(grad, same_dtype, truth)


FLOAT = 2.0**-24  # what rounding to float32 changes at most, of the value


@pytest.mark.parametrize("width", [2, 63, 512, 1030])
@pytest.mark.parametrize(("softcap", "scale"), [(None, 1.0), (None, 0.125), (20.0, 0.5)])
def test_logits_of_bfloat16_are_float32(width, softcap, scale, problem, isa, products):
    """On every processor: by its bfloat16 instruction, by multiply-adds that stand for it, or with the words made float32.

    Products of two bfloat16 numbers are exact in float32, so the sum of D of them, in any order, is off by D float32 roundings of the sum of
    their sizes at most. Bias, scale and softcap add some roundings of the logit, exp and log as many of the result, and the sum over a block
    of words, of 1024 at most, one a word. Logits rounded to bfloat16 are off 65,536 times as much.
    """
    hidden, weight, appended, bias, targets, *rest = problem(
        9, width, 1100, 30, dtype=torch.bfloat16, has_bias=True, softcap=softcap, scale=scale
    )
    given = hidden, weight, appended, bias, targets, *rest
    words = torch.cat([weight, appended]).double()
    sizes = hidden.double().abs() @ words.abs().t() + bias.double().abs()
    exact = by_definition(*widened(given))
    of_logits = ((width + 8) * FLOAT * sizes * scale).amax(1)
    for run in (OP, reference):
        ours = TokenStatistics(*run(*given, False, False, False, False, 1130 * 9 * 4))
        off = (ours.kept.double().t() - hidden.double() @ words.t()).abs()
        assert (off <= width * FLOAT * sizes).all()
        assert ((ours.target_logit.double() - exact.target_logit).abs() <= of_logits)[targets >= 0].all()
        assert ((ours.lse.double() - exact.lse).abs() <= of_logits + (1024 + 8) * FLOAT + 2 * FLOAT * exact.lse.abs()).all()


@pytest.mark.skipif(not native.is_loaded(), reason="the C++ ops are not built")
def test_the_same_bits_wherever_pairs_are_summed(problem, monkeypatch):
    """The instruction, and the multiply-adds that stand for it in the other sets."""
    monkeypatch.setenv("PYDISP_BF16_MM", "native")
    given = problem(40, 301, 700, dtype=torch.bfloat16, has_bias=True)
    before, kept = native.instruction_set(), []
    for name in native.instruction_sets():
        native.use_instruction_set(name)
        kept.append(OP(*given, False, False, False, False, 700 * 40 * 4)[6])
    native.use_instruction_set(before)
    assert all(torch.equal(kept[0], other) for other in kept)


@pytest.mark.skipif(not native.is_loaded(), reason="the C++ ops are not built")
@pytest.mark.parametrize("tokens", [1, 77, 1300])
def test_gradients_of_bfloat16_are_rounded_once(tokens, problem, draw, isa, products):
    """Summed in float32 over all words and all tokens. By pairs the gradient to a logit is rounded to bfloat16 first, by one part in 256 at most.

    The bound is of a sum of terms that are each off by that, plus float32 sums, plus the rounding of the result to bfloat16.
    """
    given = problem(tokens, 64, 1500, 40, dtype=torch.bfloat16, has_bias=True)
    hidden, weight, appended, bias, targets, *rest = given
    lse = by_definition(*widened(given)).lse
    cotangents = [draw(tokens) for _ in range(3)]
    ours = BACKWARD(*(c.float() for c in cotangents), lse.float(), *given, True, True, True, True)
    exact = backward_reference(*cotangents, lse, *widened(given), True, True, True, True)
    words = torch.cat([weight, appended]).double()
    probabilities = torch.exp(hidden.double() @ words.t() + bias.double() - lse[:, None])
    grad = probabilities * cotangents[0].abs()[:, None] + cotangents[2].abs()[:, None] / len(
        words
    )  # the terms may cancel, their errors do not
    at_target = torch.zeros_like(grad).scatter_(1, targets.clamp_min(0)[:, None], (cotangents[1] * (targets >= 0))[:, None])
    grad = grad + at_target.abs()
    narrow, wide = 2.0**-8 if products == "native" else 0.0, 2e-5
    sizes = grad @ words.abs(), grad.t() @ hidden.double().abs()
    for mine, truth, size in (
        (ours[0], exact[0], sizes[0]), (ours[1], exact[1], sizes[1][:1500]), (ours[2], exact[2], sizes[1][1500:]),
    ):  # fmt: skip
        off = (mine.double() - truth).abs()
        assert (off <= (narrow + wide) * size + 2.0**-8 * truth.abs()).all()


def test_ties_go_to_the_first_word_and_are_not_above(problem, isa):
    hidden, weight, *_ = problem(9, 4, 1, dtype=torch.float32)
    weight = weight.expand(1000, 4).contiguous()
    arguments = hidden, weight, None, None, torch.full((9,), 999), None, 1.0, 1000, -100
    for run in (OP, reference):
        ours = TokenStatistics(*run(*arguments, False, False, True, True))
        assert (ours.rank == 0).all() and (ours.argmax == 0).all()


def test_impossible_words_have_no_part_in_entropy(problem, isa):
    hidden, weight, appended, bias, targets, *rest = problem(9, 4, 600, dtype=torch.float32, has_bias=True)
    bias[:550] = -torch.inf
    ours = TokenStatistics(*OP(hidden, weight, appended, bias, targets, *rest, False, True, False, True))
    kept = TokenStatistics(*OP(hidden, weight[550:], None, bias[550:], targets * 0, None, 1.0, 50, -100, False, True, False, True))
    torch.testing.assert_close(ours.lse, kept.lse)
    torch.testing.assert_close(ours.entropy, kept.entropy)
    assert torch.equal(ours.argmax, kept.argmax + 550)


def test_a_target_that_is_no_word_gives_nan(problem, isa):
    hidden, weight, *_ = problem(4, 3, 7, dtype=torch.float32)
    targets = torch.tensor([7, -1, -100, 6])
    for run in (OP, reference):
        ours = run(hidden, weight, None, None, targets, None, 1.0, 7, -100, False, False, True, False)[1]
        assert ours.isnan().tolist() == [True, True, False, False] and ours[2] == 0
    # a row of weight that is padding is no word either
    ours = OP(hidden, weight, None, None, torch.full((4,), 6), None, 1.0, 6, -100, False, False, False, False)[1]
    assert ours.isnan().all()


@pytest.mark.parametrize("large", [1e4, 3e38])
def test_large_logits_neither_overflow_nor_vanish(large, isa):
    weight = torch.tensor([[1.0], [0.5]])
    ours = TokenStatistics(
        *OP(torch.tensor([[large], [-large]]), weight, None, None, torch.tensor([0, 0]), None, 1.0, 2, -100, False, True, False, False)
    )
    torch.testing.assert_close(ours.lse, torch.tensor([large, -large / 2]))
    assert torch.equal(ours.entropy, torch.zeros(2))


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_shape(data, isa):
    whole = st.integers
    tokens, width, vocabulary, added = (data.draw(whole(*limits)) for limits in ((0, 140), (1, 70), (1, 1500), (0, 140)))
    generator = torch.Generator().manual_seed(data.draw(whole(0, 2**31)))
    kind = data.draw(st.sampled_from([torch.float32, torch.bfloat16, torch.float16]))
    hidden, weight, appended = (torch.randn(n, width, generator=generator).to(kind) for n in (tokens, vocabulary, added))
    targets = torch.randint(vocabulary + added, (tokens,), generator=generator)
    softcap, scale = data.draw(st.sampled_from([None, 5.0])), data.draw(st.sampled_from([1.0, 0.3]))
    given = hidden, weight, appended if added else None, None, targets, softcap, scale, vocabulary, -100
    result, gold = OP(*given, True, True, False, False), by_definition(*widened(given))
    tolerance = 1e-5 if kind == torch.float32 else 3e-5  # products are exact in float32 there, so only sums round
    for ours, exact in zip(result[:4], gold[:4], strict=True):
        torch.testing.assert_close(ours.double(), exact, rtol=tolerance, atol=10 * tolerance)


def test_opcheck(problem, draw):
    given = problem(6, 3, 7, 2, has_bias=True, softcap=3.0)
    leaves = [t.requires_grad_() for t in given[:4]]
    torch.library.opcheck(OP, (*leaves, *given[4:], True, False, False, False))
    torch.library.opcheck(OP, (*leaves, *given[4:], True, False, False, False, 6 * 4 * 5))
    plain = [t.detach() for t in leaves]
    torch.library.opcheck(OP, (*plain, *given[4:], False, True, True, True))
    arguments = draw(6), draw(6), draw(6), draw(6), *plain, *given[4:]
    for needs in ((True, True, True, True), (True, False, False, False)):
        torch.library.opcheck(BACKWARD, (*arguments, *needs))
    kept = OP(*plain, *given[4:], False, False, False, False, 6 * 4 * 5)[6]
    torch.library.opcheck(BACKWARD, (*arguments, True, True, True, True, kept))
    entropy = torch.rand(arguments[0].shape, dtype=arguments[0].dtype)
    torch.library.opcheck(ENTROPY_BACKWARD, (*arguments, True, True, False, True, entropy, entropy))


class Largest(TorchDispatchMode):
    """Remembers the largest number of elements any op returned."""

    elements = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        for tensor in out if isinstance(out, (tuple, list)) else [out]:
            if isinstance(tensor, torch.Tensor):
                self.elements = max(self.elements, tensor.numel())
        return out


def test_the_reference_holds_one_block_of_logits(problem):
    given = problem(3 * BLOCK_TOKENS, 4, 1000)
    with Largest() as seen:
        lse = reference(*given, True, True, True, True).lse
        backward_reference(lse, lse, lse, lse, *given, True, True, False, False)
    assert seen.elements == BLOCK_TOKENS * 1000


def test_logits_that_no_memory_holds(tmp_path):
    """4096 tokens over a million words, 16 GB of logits, with 1 GB of address space more than the inputs take."""
    script = (
        "import resource, torch\n"
        "from pydisp import ops\n"
        "hidden, weight = torch.randn(4096, 2), torch.randn(1 << 20, 2, requires_grad=True)\n"
        "now = int(open('/proc/self/statm').read().split()[0]) * resource.getpagesize()\n"
        "resource.setrlimit(resource.RLIMIT_AS, (now + (1 << 30),) * 2)\n"
        "try:\n    torch.empty(4096, 1 << 20)\n    raise SystemExit('the limit does not hold')\nexcept RuntimeError:\n    pass\n"
        "loss = ops.linear_cross_entropy(hidden[:64], weight, torch.arange(64))\n"
        "loss.sum().backward()\n"
        "loss = ops.linear_cross_entropy(hidden, weight.detach()[: 1 << 16], torch.arange(4096))\n"
        "assert loss.isfinite().all() and weight.grad.isfinite().all()\n"
    )
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    subprocess.run([sys.executable, "-c", script], check=True, env=environment, cwd=tmp_path)


def test_arguments_that_do_not_fit_are_refused(problem):
    if not native.is_loaded():
        pytest.skip("the C++ op checks again what the Python edge has checked")
    hidden, weight, _, _, targets, *_ = problem(6, 3, 7)
    for changed in ({"hidden": hidden[:, :2]}, {"targets": targets.int()}, {"targets": targets[:5]}, {"vocab_size": 8}, {"vocab_size": 0}):
        arguments = {"hidden": hidden, "targets": targets, "vocab_size": 7, **changed}
        with pytest.raises(RuntimeError, match="token_statistics"):
            OP(
                arguments["hidden"], weight, None, None, arguments["targets"], None, 1.0, arguments["vocab_size"], -100,
                False, False, False, False,
            )  # fmt: skip
