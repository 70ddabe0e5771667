"""linear_cross_entropy: the loss of each token, and loss with gradients, at vocabularies of real models."""

# M tokens, D hidden, V vocabulary

import math

import torch
from cases import COMPILED, EAGER, LIMIT, OURS, PEER, Candidate, Case, Work, compiled, why_absent
from torch import Tensor
from torch.nn import functional as F

from pydisp import ops

# (D, V)
MODELS = {"llama3.2_1b": (2048, 128256), "llama2_7b": (4096, 32000), "qwen2.5_0.5b": (896, 151936)}
PREFILL_TOKENS = {"cpu": 128, "cuda": 8192}
# Models and dtypes of the backward. On CPUs without bf16 instructions, eager takes minutes per call in bf16, so float32 is used there.
TRAINED = {"cpu": (("llama3.2_1b", "qwen2.5_0.5b"), ("f32",)), "cuda": (tuple(MODELS), ("bf16",))}
# Two curves: over tokens for one head, and over the vocabulary for one number of tokens.
CURVE_HEAD = {"cpu": (512, 32000), "cuda": (2048, 128256)}
CURVE_TOKENS = {"cpu": (1, 16, 128, 512, 2048), "cuda": (1, 64, 512, 2048, 8192, 16384)}
CURVE_VOCABULARIES = {"cpu": (8192, 32000, 64000, 128256), "cuda": (16384, 32000, 64000, 128256, 256000)}
CURVE_VOCABULARY_TOKENS = {"cpu": 128, "cuda": 2048}
BLOCK_ROWS = 4096  # rows of the vocabulary at a time, for the gold and for the limit with up-cast weights
NAMES = {
    "linear_cross_entropy": (
        "pydisp", "eager", "torch.compile", "F.linear_cross_entropy", "liger-kernel", "cut-cross-entropy", "limit: product",
        "limit: up-cast product",
    ),
    "linear_cross_entropy_backward": (
        "pydisp", "eager", "torch.compile", "F.linear_cross_entropy", "F.linear_cross_entropy chunked", "liger-kernel",
        "cut-cross-entropy", "limit: 4 products", "limit: 4 up-cast products",
    ),
}  # fmt: skip


def cases(device: str) -> list[Case]:
    every_dtype = ("f32", "bf16") if device == "cpu" else ("bf16",)
    by_id = {}

    def add(op: str, name: str, sizes: tuple[int, int, int], dtypes: tuple[str, ...] = every_dtype, **more) -> None:
        for dtype in dtypes:
            case = Case(
                suite="linear_cross_entropy",
                op=op,
                name=name,
                dtype=dtype,
                device=device,
                sizes=dict(zip("MDV", sizes, strict=True)),
                build=BUILDS[op],
                names=tuple(n for n in NAMES[op] if "up-cast" not in n or (device, dtype) == ("cpu", "bf16")),
                tiny={"M": 2, "V": 64},
                **more,
            )
            by_id.setdefault(case.id, case)

    forward, backward = NAMES
    if device == "cpu":
        add(forward, "goal-nll-M512-D1024-V128256", (512, 1024, 128256), measures_memory=True)
        add(backward, "goal-nll-M1024-D512-V32000", (1024, 512, 32000), measures_memory=True)
    for model, (hidden, vocabulary) in MODELS.items():
        add(forward, f"{model}-head-prefill{PREFILL_TOKENS[device]}", (PREFILL_TOKENS[device], hidden, vocabulary))
        add(forward, f"{model}-head-decode", (1, hidden, vocabulary))
    models, dtypes = TRAINED[device]
    for model in models:
        sizes = (PREFILL_TOKENS[device], *MODELS[model])
        add(backward, f"{model}-head-train{PREFILL_TOKENS[device]}", sizes, dtypes, measures_memory=True)
    hidden, vocabulary = CURVE_HEAD[device]
    for tokens in CURVE_TOKENS[device]:
        quick = tokens in (1, 128)
        name = f"D{hidden}-V{vocabulary}-tokens{tokens}"
        add(forward, name, (tokens, hidden, vocabulary), axes=("M",), measures_memory=True, is_quick=quick)
        if tokens == 128:
            add(backward, name, (tokens, hidden, vocabulary), is_quick=True)
    tokens = CURVE_VOCABULARY_TOKENS[device]
    for vocabulary in CURVE_VOCABULARIES[device]:
        if tokens in CURVE_TOKENS[device] and vocabulary == CURVE_HEAD[device][1]:
            name = f"D{hidden}-V{vocabulary}-tokens{tokens}"  # the case where the two curves cross
            for dtype in every_dtype:
                key = f"{forward}[{name}-{dtype}-{device}]"
                by_id[key] = Case(**{**vars(by_id[key]), "axes": ("M", "V")})
        else:
            add(forward, f"D{hidden}-tokens{tokens}-V{vocabulary}", (tokens, hidden, vocabulary), axes=("V",), measures_memory=True)
    return list(by_id.values())


def _draw(case: Case) -> tuple[Tensor, Tensor, Tensor]:
    generator, (m, d, v) = case.generator(), (case.sizes[letter] for letter in "MDV")
    hidden, weight = case.draw(generator, m, d), case.draw(generator, v, d, scale=1 / math.sqrt(d))
    return hidden, weight, torch.randint(v, (m,), generator=generator, device=case.device)


def _eager(hidden: Tensor, weight: Tensor, targets: Tensor, reduction: str) -> Tensor:
    # As in transformers' loss: logits in the model's dtype, everything after them in float32.
    return F.cross_entropy(F.linear(hidden, weight).float(), targets, reduction=reduction)


def _statistics(hidden: Tensor, weight: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """LSE and NLL of each token in float64, blocks of the vocabulary at a time."""
    hidden, parts = hidden.double(), []
    for rows in weight.split(BLOCK_ROWS):
        parts.append(torch.logsumexp(hidden @ rows.double().t(), 1))
    lse = torch.logsumexp(torch.stack(parts), 0)
    return lse, lse - (hidden * weight[targets].double()).sum(1)


class _UpCast:
    """Products of 16-bit weights on a CPU in float32: a block of the weight is converted, then multiplied."""

    def __init__(self, hidden: Tensor, weight: Tensor, logits: Tensor):
        self.hidden, self.weight, self.logits = hidden.float(), weight, logits
        self.block = torch.empty(BLOCK_ROWS, weight.shape[1])
        self.grad_hidden, self.part = torch.zeros_like(self.hidden), torch.empty_like(self.hidden)
        self.grad_weight = torch.empty(BLOCK_ROWS, weight.shape[1])

    def run(self, forwards: int, with_gradients: bool) -> None:
        for start in range(0, self.weight.shape[0], BLOCK_ROWS):
            rows = self.weight[start : start + BLOCK_ROWS]
            block = self.block[: rows.shape[0]].copy_(rows)
            logits = self.logits.view(-1)[: self.hidden.shape[0] * rows.shape[0]].view(-1, rows.shape[0])
            for _ in range(forwards):
                torch.mm(self.hidden, block.t(), out=logits)
            if with_gradients:
                torch.mm(logits, block, out=self.part)
                torch.mm(logits.t(), self.hidden, out=self.grad_weight[: rows.shape[0]])


def _limits(case: Case, hidden: Tensor, weight: Tensor, forwards: int, with_gradients: bool, name: str) -> dict[str, Candidate]:
    """The bare products of the job: native, and for 16-bit weights on a CPU also by up-cast blocks. Buffers are made beforehand."""
    count = f"{forwards + 2} " if with_gradients else ""
    plural = "s" if with_gradients else ""
    state: dict = {}

    def native():
        if not state:
            state["logits"] = torch.empty(hidden.shape[0], weight.shape[0], dtype=hidden.dtype, device=hidden.device)
            state["grads"] = torch.empty_like(hidden), torch.empty_like(weight) if with_gradients else None
        for _ in range(forwards):
            torch.mm(hidden, weight.t(), out=state["logits"])
        if with_gradients:
            torch.mm(state["logits"], weight, out=state["grads"][0])
            torch.mm(state["logits"].t(), hidden, out=state["grads"][1])

    limits = {f"limit: {count}product{plural}": Candidate(native, LIMIT, checked=0)}
    if case.device == "cpu" and case.dtype != "f32":
        work: list[_UpCast] = []

        def up_cast():
            if not work:
                work.append(_UpCast(hidden, weight, torch.empty(hidden.shape[0], BLOCK_ROWS)))
            work[0].run(forwards, with_gradients)

        limits[f"limit: {count}up-cast product{plural}"] = Candidate(up_cast, LIMIT, checked=0)
    return limits


def _forward(case: Case) -> Work:
    hidden, weight, targets = _draw(case)
    fast = compiled(_eager)
    candidates = {
        "pydisp": Candidate(lambda: ops.linear_cross_entropy(hidden, weight, targets), OURS),
        "eager": Candidate(lambda: _eager(hidden, weight, targets, "none"), EAGER),
        "torch.compile": Candidate(lambda: fast(hidden, weight, targets, "none"), COMPILED),
        "F.linear_cross_entropy": Candidate(lambda: F.linear_cross_entropy(hidden, weight, targets, reduction="none"), PEER),
    }
    for package, call in (("liger_kernel", _liger), ("cut_cross_entropy", _cut)):
        candidates[package.replace("_", "-")] = Candidate(lambda call=call: call(hidden, weight, targets, "none"), PEER)
    candidates |= _limits(case, hidden, weight, 1, False, "product")
    return _work(case, torch.no_grad(), candidates, lambda: (_statistics(hidden, weight, targets)[1],))


def _backward(case: Case) -> Work:
    hidden, weight, targets = _draw(case)
    hidden.requires_grad_()
    weight.requires_grad_()

    def with_gradients(loss):
        def call():
            value = loss()
            return value.detach(), *torch.autograd.grad(value, (hidden, weight))

        return call

    fast = compiled(_eager)
    chunked = getattr(torch.nn, "LinearCrossEntropyOptions", lambda: None)()
    losses = {
        "pydisp": (OURS, lambda: ops.linear_cross_entropy(hidden, weight, targets).mean()),
        "eager": (EAGER, lambda: _eager(hidden, weight, targets, "mean")),
        "torch.compile": (COMPILED, lambda: fast(hidden, weight, targets, "mean")),
        "F.linear_cross_entropy": (PEER, lambda: F.linear_cross_entropy(hidden, weight, targets)),
        "F.linear_cross_entropy chunked": (PEER, lambda: F.linear_cross_entropy(hidden, weight, targets, options=chunked)),
        "liger-kernel": (PEER, lambda: _liger(hidden, weight, targets, "mean")),
        "cut-cross-entropy": (PEER, lambda: _cut(hidden, weight, targets, "mean")),
    }
    candidates = {name: Candidate(with_gradients(loss), role) for name, (role, loss) in losses.items()}
    candidates |= _limits(case, hidden.detach(), weight.detach(), 2, True, "products")

    def gold():
        with torch.no_grad():
            lse, nll = _statistics(hidden, weight, targets)
            wide, count = hidden.double(), hidden.shape[0]
            grad_hidden, grad_weight = torch.zeros_like(wide), []
            for start in range(0, weight.shape[0], BLOCK_ROWS):
                rows = weight[start : start + BLOCK_ROWS].double()
                grad = torch.exp(wide @ rows.t() - lse[:, None]) / count
                here = (targets >= start) & (targets < start + rows.shape[0])
                grad[here.nonzero()[:, 0], targets[here] - start] -= 1 / count
                grad_hidden += grad @ rows
                grad_weight.append(grad.t() @ wide)
            return nll.mean(), grad_hidden, torch.cat(grad_weight)

    return _work(case, torch.enable_grad(), candidates, gold)


def _liger(hidden: Tensor, weight: Tensor, targets: Tensor, reduction: str) -> Tensor:
    from liger_kernel.ops.fused_linear_cross_entropy import LigerFusedLinearCrossEntropyFunction

    output = LigerFusedLinearCrossEntropyFunction.apply(hidden, weight, targets, None, None, -100, 0.0, 0.0, reduction)
    return output[0] if isinstance(output, tuple) else output


def _cut(hidden: Tensor, weight: Tensor, targets: Tensor, reduction: str) -> Tensor:
    from cut_cross_entropy import linear_cross_entropy

    # Without gradient filtering: ours has none, and the gold includes every term.
    return linear_cross_entropy(hidden, weight, targets, reduction=reduction, filter_eps=None)


def _work(case: Case, mode, candidates: dict[str, Candidate], gold) -> Work:
    absent = {}
    for package in ("liger_kernel", "cut_cross_entropy"):
        name = package.replace("_", "-")
        why = why_absent(package, case.device)
        if why:
            candidates.pop(name)
            absent[name] = why

    def in_mode(call):
        def run():
            with mode:
                return call()

        return run

    wrapped = {name: Candidate(in_mode(c.call), c.role, c.checked) for name, c in candidates.items()}
    return Work(wrapped, gold, absent=absent)


BUILDS = {"linear_cross_entropy": _forward, "linear_cross_entropy_backward": _backward}


def bench_linear_cross_entropy(timed, case, name):
    timed(case, name)
