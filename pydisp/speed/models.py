"""The three models of a comparison: where they come from, and whether they fit into memory."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import nn

from pydisp.loading import (
    choose_device,
    choose_dtype,
    displayed_name,
    empty_model,
    load_config,
    load_model,
    load_pruned_config,
    stored_dtype,
)
from pydisp.memory import free_bytes
from pydisp.modeling.config import stock_config
from pydisp.modeling.plain import plain_model
from pydisp.shapes import SHAPES, config_of, random_model, random_plan
from pydisp.spec import ModelSpec, check_keep_ratio, decoder_layers, family_of
from pydisp.surgery import prune_model, to_dense

UNPRUNED, PRUNED, SAME = NAMES = ("unpruned", "pruned", "same shapes")

_SLACK_BYTES = 1 << 29  # room for activations, caches and the libraries themselves


@dataclass(frozen=True)
class Source:
    """Source of the models: a pruned folder (and optionally the model to compare it with), or random weights of a named shape.

    Raises: ValueError for both or neither, an unknown shape, or a keep ratio outside (0, 1).
    """

    folder: str | None = None
    against: str | None = None
    shape: str | None = None
    keep_ratio: float = 0.5
    dtype: str | None = None
    device: str | None = None
    seed: int = 0

    def __post_init__(self):
        if (self.folder is None) == (self.shape is None):
            raise ValueError("give a folder that `pydisp prune` wrote, or --shape NAME for random weights of a shape; one of them.")
        if self.shape is not None and self.shape not in SHAPES:
            raise ValueError(f"unknown shape {self.shape!r}; known: {', '.join(SHAPES)}.")
        if self.shape is not None and self.against is not None:
            raise ValueError("--shape and --against exclude each other: a shape is compared with its own unpruned model; leave one out.")
        check_keep_ratio(self.keep_ratio)

    @property
    def title(self) -> str:
        return f"{self.shape}, random weights" if self.shape else displayed_name(self.folder)

    def placed(self) -> tuple[torch.device, torch.dtype]:
        """Device and dtype, by the same rules as everywhere in pydisp; random weights are float32 on a CPU, bfloat16 elsewhere."""
        device = choose_device(self.device)
        return device, choose_dtype(self.dtype, device, torch.bfloat16 if self.shape else stored_dtype(load_pruned_config(self.folder)))


def build(source: Source, names: Sequence[str] = NAMES) -> dict[str, nn.Module]:
    """Build the models with the given names; `same shapes` shares the weights of `pruned`.

    Raises: LoadingError or ValueError for a folder that is not pruned or a model that does not fit into memory.
    """
    device, dtype = source.placed()
    if source.shape:
        dense = random_model(source.shape, dtype, device, source.seed)
        spec = ModelSpec.from_model(dense)
        pruned = prune_model(dense, random_plan(spec, source.keep_ratio, source.seed), spec)
        made = {UNPRUNED: lambda: dense, PRUNED: lambda: pruned}
        stock = dense.config
    else:
        pruned = load_model(source.folder, device=device, dtype=dtype)
        stock = stock_config(pruned.config)
        made = {
            UNPRUNED: lambda: load_model(source.against, device=device, dtype=dtype) if source.against else to_dense(pruned),
            PRUNED: lambda: pruned,
        }
    made[SAME] = lambda: plain_model(pruned, stock)
    return {name: made[name]() for name in names}


def check_memory(source: Source) -> None:
    """Refuse, before anything is built, models that would not fit into memory: dense and pruned weights are there at the same time.

    Raises: ValueError (LoadingError for a folder or model that cannot be loaded).
    """
    device, dtype = source.placed()
    free = free_bytes(device)
    if source.shape:
        model = empty_model(config_of(source.shape), source.shape)
        block = sum(p.numel() for p in decoder_layers(model, family_of(model.config)).parameters())
        dense = sum(p.numel() for p in model.parameters())
        # prune_model also copies the weights that it does not slice
        values = dense + dense - block + round(block * source.keep_ratio)
    else:
        values = load_pruned_config(source.folder).pydisp["dense_parameters"]["total"]
        if source.against:
            values += sum(p.numel() for p in empty_model(load_config(source.against), source.against).parameters())
        else:
            values += values
    needed = values * dtype.itemsize + _SLACK_BYTES
    if free is not None and needed > free:
        raise ValueError(
            f"unpruned and pruned side by side take {needed / 2**30:.1f} GiB, {free / 2**30:.1f} GiB are free on {device}; "
            "choose a smaller shape, --dtype bfloat16, or another --device."
        )
