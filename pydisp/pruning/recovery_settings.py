"""RecoverySettings: the settings of a recovery, checked before anything long starts, with defaults by the size of the model."""

from dataclasses import asdict, dataclass, replace

import torch

from pydisp.arguments import ABOVE_ZERO, SEED, SHARE, SWITCH, check_fields, optional, whole
from pydisp.pruning.precision import has_bfloat16
from pydisp.spec import SMALL_MODEL_PARAMETERS


@dataclass(frozen=True)
class RecoverySettings:
    """Settings of the training that follows a pruning; None means the default for the model and the machine (`resolved`).

    Attributes:
        steps, batch_size, context_tokens: a step trains on batch_size windows of context_tokens.
        learning_rate: the highest; it warms up over the first warmup_share of the steps, then falls by a cosine to a twentieth.
        lora_rank: train adapters of this rank beside each projection and merge them at the end (LoRA, https://arxiv.org/abs/2106.09685);
            0 trains all weights.
        trains_head: whether embeddings and output matrix train too (by default in small models); only without LoRA.
        cross_entropy: share of the text's own words in the loss; the rest is the divergence from the dense model.
        bfloat16: whether the products of both models are computed in bfloat16; weights and optimizer stay in float32.
        seed: decides the order of the windows, and the first values of adapters.
    """

    steps: int | None = None
    batch_size: int | None = None
    context_tokens: int | None = None
    learning_rate: float | None = None
    warmup_share: float = 0.03
    lora_rank: int = 0
    trains_head: bool | None = None
    cross_entropy: float = 0.0
    bfloat16: bool | None = None
    seed: int = 0

    def __post_init__(self):
        check_fields(
            self, "recovery: ", steps=optional(whole(1)), batch_size=optional(whole(1)), context_tokens=optional(whole(2)), lora_rank=whole(0),
            seed=SEED, learning_rate=optional(ABOVE_ZERO), warmup_share=SHARE, cross_entropy=SHARE, trains_head=optional(SWITCH),
            bfloat16=optional(SWITCH),
        )  # fmt: skip
        if self.lora_rank and self.trains_head:
            raise ValueError("recovery: LoRA leaves embeddings and head as they are; leave out lora_rank or trains_head.")

    def resolved(self, parameters: int, batch_size: int, context_tokens: int, device: torch.device) -> "RecoverySettings":
        """These settings with every None replaced.

        Args:
            parameters: of the dense model; small ones (under 50 M) have 300 steps at 2e-3 and train the head, others 1,000 at 2e-4;
                adapters learn at five times the rate.
            batch_size, context_tokens: those of the search.
            device: where the recovery runs; bfloat16 is the default where it has instructions for it.
        """
        small = parameters < SMALL_MODEL_PARAMETERS
        defaults = {
            "steps": 300 if small else 1000, "batch_size": batch_size, "context_tokens": context_tokens,
            "learning_rate": (2e-3 if small else 2e-4) * (5 if self.lora_rank else 1), "bfloat16": has_bfloat16(device), "trains_head": small and not self.lora_rank,
        }  # fmt: skip
        return replace(self, **{name: value for name, value in defaults.items() if getattr(self, name) is None})

    def as_dict(self) -> dict:
        """Plain values for JSON."""
        return asdict(self)
