"""The outcome of a tiny pruned model, with losses that are written by hand."""

import math
from dataclasses import replace

import torch
from tiny_text import tiny_llama

from pydisp.cost import Cost
from pydisp.evaluation import TextLoss
from pydisp.pruning import PruneSettings, make_plan
from pydisp.pruning.outcome import CALIBRATION, HELDOUT, OTHER, Losses, Outcome
from pydisp.pruning.search import SearchProgress
from pydisp.spec import ModelSpec


def loss(*window_nats: float, known: bool = True) -> TextLoss:
    mean = sum(window_nats) / len(window_nats)
    return TextLoss(mean, 0.25, 31 * len(window_nats), 32, mean / math.log(2), window_nats=window_nats if known else ())


LOSSES = {kind: Losses(f"text {kind}", loss(2.0, 4.0), loss(2.5, 4.7)) for kind in (HELDOUT, OTHER, CALIBRATION)}


def tiny_outcome() -> Outcome:
    model = tiny_llama()
    spec = ModelSpec.from_model(model)
    settings = PruneSettings(keep_ratio=0.6, ratio_of="block", round_to=4, context_tokens=32, steps=2, batch_size=1).resolved(spec, 128)
    plan = make_plan(model, spec, torch.empty(0, 32, dtype=torch.long), replace(settings, method="random")).plan
    progress = SearchProgress(history=[{"step": 1, "loss": 4.5, "kept": 0.9}, {"step": 2, "loss": 4.0, "kept": 0.7}])
    costs = {"dense": Cost(2 * 2**20, 4 * 10**9), "pruned": Cost(2**20, 10**9)}
    return Outcome("tiny", settings, spec, plan, progress, LOSSES, costs, "pydisp prune tiny", {"threads": 1}, torch.bfloat16)
