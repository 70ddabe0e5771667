"""Gates: one draw of all masks of a model, as a value, so that the loss and the budget of a search step use the same draw."""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from pydisp.arguments import check_fields, instance_of, list_of, takes
from pydisp.plan import PruningPlan
from pydisp.spec import ModelSpec

_SPEC = instance_of(ModelSpec, "give what ModelSpec.from_model returns")


class LayerGates(NamedTuple):
    """The five gates of one layer: (hidden_size,) each, except `mlp_middle` (middle_size,); values 0 or 1, with gradients to the logits."""

    attention_input: Tensor
    attention_output: Tensor
    mlp_input: Tensor
    mlp_middle: Tensor
    mlp_output: Tensor


@dataclass(frozen=True)
class Gates:
    """The gates of every layer.

    Raises: ValueError if a gate is not as long as its space (hidden or middle size).
    """

    layers: tuple[LayerGates, ...]
    spec: ModelSpec

    def __post_init__(self):
        check_fields(
            self, "Gates: ", layers=list_of(instance_of(LayerGates, "give LayerGates"), "LayerGates, one or more", least=1), spec=_SPEC
        )  # fmt: skip
        if len(self.layers) != len(self.spec.costs):
            raise ValueError(
                f"Gates: there are gates for {len(self.layers)} layers, the model has {len(self.spec.costs)}; draw one set for each."
            )
        for number, layer in enumerate(self.layers):
            for name, gate in layer._asdict().items():
                if not isinstance(gate, Tensor):
                    raise TypeError(f"Gates: {name} of layer {number} is a {type(gate).__name__}; give a tensor.")
                size = self.spec.middle_size if name == "mlp_middle" else self.spec.hidden_size
                if gate.shape != (size,):
                    raise ValueError(f"Gates: {name} of layer {number} has shape {tuple(gate.shape)}; needed is ({size},).")

    @classmethod
    @takes(plan=instance_of(PruningPlan, "give a PruningPlan"), spec=_SPEC, dtype=instance_of(torch.dtype, "give a torch.dtype"))
    def from_plan(cls, plan: PruningPlan, spec: ModelSpec, dtype: torch.dtype = torch.float32) -> "Gates":
        """The 0/1 gates that correspond to a plan; a removed block has zeros."""

        spec.refuse_other(plan)

        def gate(kept, size):
            return torch.zeros(size, dtype=dtype) if kept is None else kept.mask().to(dtype)

        layers = []
        for layer in plan.layers:
            sizes = [spec.middle_size if n == "mlp_middle" else spec.hidden_size for n in layer.sets()]
            layers.append(LayerGates(*(gate(kept, size) for kept, size in zip(layer.sets().values(), sizes, strict=True))))
        return cls(tuple(layers), spec)

    def kept_block(self) -> Tensor:
        """Parameters kept in the decoder layers, a differentiable scalar; every block counts as present."""
        kept = torch.zeros((), dtype=torch.float32, device=self.layers[0].mlp_middle.device)
        for cost, gates in zip(self.spec.costs, self.layers, strict=True):
            a_in, a_out, m_in, m_middle, m_out = (g.sum() for g in gates)
            kept = kept + cost.attention(a_in, a_out) + cost.mlp(m_in, m_middle, m_out) + cost.either_fixed + cost.always_fixed
        return kept
