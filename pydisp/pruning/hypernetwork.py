"""The hypernetwork of DISP-LLM: fixed random inputs -> bidirectional GRU -> one head a mask -> what a search adds to every logit.

Source: https://arxiv.org/abs/2410.11988, section 4.2 and Table 5: 32 inputs, 2 x 64 hidden units, LayerNorm, GELU, one
Linear(128, width) per mask. Such a head has 128 weights per feature, so the heads would be as large as a small model. Below
SMALL_MODEL_PARAMETERS all masks therefore share a projection to LOW_RANK units, and each has a Linear(LOW_RANK, width).
The paper's bias c, which keeps everything at first, is left out: `calibration.at_budget` gives all logits one offset at every step.
"""

import torch
from torch import Tensor, nn

from pydisp.gates import Gates, LayerGates
from pydisp.ops import reinmax
from pydisp.spec import SMALL_MODEL_PARAMETERS, ModelSpec

INPUT_SIZE, HIDDEN_SIZE = 32, 64
LOW_RANK = 16
TEMPERATURE = 1.0


class HyperNetwork(nn.Module):
    """Computes what is added to the starting logit of every gate; 0 at first.

    Args:
        spec: the ModelSpec of the dense model.
        generator: draws the inputs z and the initial weights.
        tied: all blocks of all layers share one mask of the residual stream (the `constrained` baseline); each MLP middle has its own.
    """

    def __init__(self, spec: ModelSpec, generator: torch.Generator, *, tied: bool = False):
        super().__init__()
        self.tied = tied
        widths = mask_widths(spec, tied=tied)
        features = 2 * HIDDEN_SIZE
        low_rank = spec.parameters_total < SMALL_MODEL_PARAMETERS
        self.register_buffer("z", torch.randn(len(widths), 1, INPUT_SIZE, generator=generator))
        self.gru = nn.GRU(INPUT_SIZE, HIDDEN_SIZE, bidirectional=True)
        self.norm = nn.LayerNorm(features)
        self.project = nn.Linear(features, LOW_RANK) if low_rank else nn.Identity()
        self.heads = nn.ModuleList(nn.Linear(LOW_RANK if low_rank else features, width) for width in widths)
        self._initialise(generator)

    @torch.no_grad()
    def _initialise(self, generator: torch.Generator) -> None:
        for parameter in (*self.gru.parameters(), *self.project.parameters()):
            bound = parameter.shape[-1] ** -0.5
            parameter.copy_(torch.rand(parameter.shape, generator=generator) * 2 * bound - bound)
        for parameter in self.heads.parameters():
            parameter.zero_()  # every gate starts where the start puts it

    def head_parameters(self) -> list[nn.Parameter]:
        return list(self.heads.parameters())

    def body_parameters(self) -> list[nn.Parameter]:
        return [*self.gru.parameters(), *self.norm.parameters(), *self.project.parameters()]

    def forward(self) -> list[LayerGates]:
        """One tensor a mask, float32; tied masks are one tensor."""
        hidden, _ = self.gru(self.z)
        features = self.project(nn.functional.gelu(self.norm(hidden[:, 0])))
        return _layers([head(row) for head, row in zip(self.heads, features, strict=True)], self.tied)


class PlainLogits(nn.Module):
    """In the hypernetwork's place: each added logit is a parameter of its own; 0 at first."""

    def __init__(self, spec: ModelSpec, *, tied: bool = False):
        super().__init__()
        self.tied = tied
        self.logits = nn.ParameterList(torch.zeros(width) for width in mask_widths(spec, tied=tied))

    def head_parameters(self) -> list[nn.Parameter]:
        return list(self.logits)

    def body_parameters(self) -> list[nn.Parameter]:
        return []

    def forward(self) -> list[LayerGates]:
        """One tensor a mask, float32; tied masks are one tensor."""
        return _layers(list(self.logits), self.tied)


def mask_widths(spec: ModelSpec, *, tied: bool) -> list[int]:
    """The width of every mask, in the order of the heads."""
    hidden, middle, layers = spec.hidden_size, spec.middle_size, len(spec.costs)
    return [hidden] + [middle] * layers if tied else [hidden, hidden, hidden, middle, hidden] * layers


def _layers(masks: list[Tensor], is_tied: bool) -> list[LayerGates]:
    if is_tied:
        residual, *middles = masks
        return [LayerGates(residual, residual, residual, middle, residual) for middle in middles]
    return [LayerGates(*masks[i : i + 5]) for i in range(0, len(masks), 5)]


def draw_gates(logits: list[LayerGates], spec: ModelSpec, generator: torch.Generator) -> Gates:
    """One draw of all gates: Bernoulli(sigmoid(logits)) forward, ReinMax backward. Gates that share a logit share its draw."""
    drawn: dict[int, Tensor] = {}

    def draw(x: Tensor) -> Tensor:
        if id(x) not in drawn:
            # Drawn on the CPU, so that a seed gives the same gates on every device.
            uniform = torch.rand(x.shape, generator=generator).to(x.device)
            drawn[id(x)] = reinmax(x, (uniform < torch.sigmoid(x.detach())).to(x.dtype), TEMPERATURE)
        return drawn[id(x)]

    return Gates(tuple(LayerGates(*(draw(x) for x in layer)) for layer in logits), spec)
