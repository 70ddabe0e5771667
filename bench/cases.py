"""A case: one op at one shape, dtype and device, with all candidates whose times are compared.

The suites (bench_add_norm_select.py and so on) make cases; ratios.py, gpu.py and pytest-benchmark run the same ones.

    for case in cases("linear_cross_entropy", "cpu"):
        work = case.build(case)                       # inputs drawn, candidates by name
        work.candidates["pydisp"].call()
"""

import importlib
import importlib.util
import math
import sys
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

SUITES = ("add_norm_select", "linear_cross_entropy", "attention_mass", "upcast_linear", "block")
DTYPES = {"f32": torch.float32, "bf16": torch.bfloat16, "f16": torch.float16}
# Allowed error, relative to the largest value of the float64 gold. In 16 bits eager rounds logits and weights midway, but must pass too.
TOLERANCE = {"f32": 1e-4, "bf16": 2e-2, "f16": 4e-3}
OURS, EAGER, COMPILED, PEER, LIMIT, DENSE = "ours", "eager", "torch.compile", "peer", "limit", "dense"
RIVALS = (EAGER, COMPILED, PEER)  # what a user could take instead; a limit or another (dense) model is none


@dataclass(frozen=True)
class Candidate:
    """One implementation of a case's work.

    Attributes:
        call: runs it once and returns its outputs, a tensor or a tuple in the order of the gold.
        role: OURS, EAGER, COMPILED, PEER, LIMIT (the best that the machine allows) or DENSE (the work of another model, for comparison).
        checked: how many leading outputs are compared with the gold; None is all of them, 0 is none (limits, dense).
    """

    call: Callable[[], object]
    role: str
    checked: int | None = None


@dataclass(frozen=True)
class Work:
    """The drawn inputs of a case, and the candidates on them.

    Attributes:
        candidates: by name; ratios are relative to the first.
        gold: computes the outputs in float64.
        inputs: tensors that may share memory with an output (in place).
        absent: peers that cannot run here, with the reason.
        restore: restores inputs that a candidate changes in place; called before each turn and before the checked call.
    """

    candidates: dict[str, Candidate]
    gold: Callable[[], tuple[Tensor, ...]]
    inputs: tuple[Tensor, ...] = ()
    absent: dict[str, str] = field(default_factory=dict)
    restore: Callable[[], None] = lambda: None


@dataclass(frozen=True)
class Case:
    """Attributes:
    suite, op: such as `add_norm_select`, `norm_select`.
    name: model or letter sizes, place, ratio and phase: `llama2_7b-attn_to_mlp-keep50-prefill1024`.
    dtype, device: `f32`, `bf16`, `f16`; `cpu`, `cuda`.
    sizes: by tensor letter; `build` draws inputs of these sizes.
    build: makes the Work of a case; it may get a case with other sizes (see tiny).
    names: candidates and absent peers, ours first.
    tiny: the sizes that are replaced in the call that only loads code, before memory is measured.
    axes: letters along which the case is a point of a curve on the page.
    is_quick: whether `make bench` runs it.
    measures_memory: whether the extra memory of each candidate is measured, in fresh processes.
    """

    suite: str
    op: str
    name: str
    dtype: str
    device: str
    sizes: dict[str, int]
    build: Callable[["Case"], Work]
    names: tuple[str, ...]
    tiny: dict[str, int] = field(default_factory=dict)
    axes: tuple[str, ...] = ()
    is_quick: bool = False
    measures_memory: bool = False

    @property
    def id(self) -> str:
        return f"{self.op}[{self.name}-{self.dtype}-{self.device}]"

    @property
    def torch_dtype(self) -> torch.dtype:
        return DTYPES[self.dtype]

    @property
    def tolerance(self) -> float:
        return TOLERANCE[self.dtype]

    def generator(self) -> torch.Generator:
        """The same values for one case in every process."""
        return torch.Generator(self.device).manual_seed(zlib.crc32(self.id.encode()))

    def draw(self, generator: torch.Generator, *shape: int, scale: float = 1.0) -> Tensor:
        """Normal values in the case's dtype; drawn in float32."""
        values = torch.randn(shape, generator=generator, device=self.device)
        return (values if scale == 1.0 else values.mul_(scale)).to(self.torch_dtype)

    def draw_index(self, generator: torch.Generator, kept: int, size: int) -> Tensor:
        """`kept` sorted, unique int32 indices of `size`."""
        return torch.randperm(size, generator=generator, device=self.device)[:kept].sort().values.int()

    def as_tiny(self) -> "Case":
        return replace(self, sizes=self.sizes | self.tiny)


def cases(suite: str, device: str) -> list[Case]:
    """The cases of one suite on one kind of device ("cpu", "cuda").

    Raises: ValueError for an unknown suite; ImportError if the suite needs a package that is not installed.
    """
    if suite not in SUITES:
        raise ValueError(f"unknown suite {suite!r}; known: {', '.join(SUITES)}.")
    return importlib.import_module(f"bench_{suite}").cases(device)


def find(case_id: str) -> Case:
    """The case of that id; ValueError if there is none."""
    device = "cuda" if case_id.endswith("-cuda]") else "cpu"
    for suite in SUITES:
        for case in cases(suite, device):
            if case.id == case_id:
                return case
    raise ValueError(f"there is no case {case_id!r}; `python bench/ratios.py --list` names them.")


def compiled(function: Callable) -> Callable:
    """torch.compile for fixed shapes, without graph breaks: a break is an error, because it would measure eager speed under another name.

    Earlier compilations are dropped now, while a case is built: one code object serves many shapes here, and dynamo silently gives up after
    eight. At the first call it would be too late, because other candidates of the case may have been compiled by then.
    """
    made: list[Callable] = []
    if "torch._dynamo" in sys.modules:  # importing it takes seconds, and most processes that measure memory do not need it
        torch._dynamo.reset()

    def call(*args, **kwargs):
        if not made:
            made.append(torch.compile(function, fullgraph=True, dynamic=False))
        return made[0](*args, **kwargs)

    return call


def why_absent(package: str, device: str) -> str | None:
    """The reason why a peer with Triton kernels cannot run here; None if it can."""
    if device != "cuda":
        return "its kernels are Triton and need a GPU"
    if importlib.util.find_spec(package) is None:
        return "not installed"
    return None


def error(result: object, gold: tuple[Tensor, ...], checked: int | None = None) -> float:
    """The largest difference from the gold, relative to the largest value of the same output; inf for NaN or another shape."""
    outputs = result if isinstance(result, tuple) else (result,)
    pairs = list(zip(outputs, gold, strict=False))[:checked]
    if checked is None and len(outputs) != len(gold):
        return math.inf
    worst = 0.0
    for output, expected in pairs:
        if output.shape != expected.shape:
            return math.inf
        scale = expected.abs().amax().item() or 1.0
        off = (output.detach().double() - expected).abs().amax().item() / scale
        worst = max(worst, math.inf if math.isnan(off) else off)
    return worst
