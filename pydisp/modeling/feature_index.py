"""FeatureIndex: the index lists beside the projections of a pruned layer, their derived forms, and the digest that checks them."""

import hashlib
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from pydisp import ops
from pydisp.indices import check_indices
from pydisp.plan import PruningPlan

INDEX_NAMES = ("attention_input", "attention_output", "mlp_input", "mlp_output")


class FeatureIndex(nn.Module):
    """Holds one index list. It is a module, because some loaders accept only tensors inside modules, not bare buffers of a layer.

    It is made on torch's default device, as other buffers are. That need not be the device of the parameters: some engines make only
    these on meta (accelerate's `init_empty_weights`, vLLM), and give values to nothing but parameters.

    `index`: (K,) int32, sorted, unique, of `size` dimensions; only this is saved. `inverse` and `mask` (see pydisp.ops.Features) are made
    from it when it is loaded. Until then, and if the values are elsewhere (offloaded), they are None and the ops take the bare index.
    """

    def __init__(self, width: int, size: int):
        super().__init__()
        self.size = size
        self.register_buffer("index", torch.arange(width, dtype=torch.int32))
        self._set_derived(None, None)

    def __setattr__(self, name, value):
        super().__setattr__(name, value)
        if name == "index":  # a loader sets a new index: the forms derived from the old one are invalid
            self._set_derived(None, None)

    def _set_derived(self, inverse: Tensor | None, mask: Tensor | None) -> None:
        for name, tensor in (("inverse", inverse), ("mask", mask)):
            # accelerate takes each non-persistent buffer for a tensor, so one that is None must not be listed there (None is never saved)
            self.register_buffer(name, tensor, persistent=tensor is None)

    @property
    def features(self) -> Tensor | ops.Features:
        """The index in the form that the ops take."""
        buffers = self._buffers  # reading a buffer as an attribute is a Python call, which matters for one token
        mask = buffers["mask"]
        if buffers["index"].is_meta:
            return self()
        return buffers["index"] if mask is None else ops.Features(buffers["index"], buffers["inverse"], mask)

    def forward(self) -> Tensor:
        """The bare index, read by calling the module: if it is offloaded, the hooks around a call load it and remove it again."""
        return self._buffers["index"]

    @torch.no_grad()
    def derive_(self) -> None:
        """Make `inverse` and `mask` from `index`.

        Raises: ValueError for an index that is unsorted, repeats a value or is out of range.
        """
        self.index = self.index.clone()  # a loaded one may be a view of the file in memory, which it would hold as a whole
        if not self.index.is_meta:
            self._set_derived(*ops.features(self.index, self.size)[1:])

    def _load_from_state_dict(self, *args, **kwargs):
        super()._load_from_state_dict(*args, **kwargs)
        self.derive_()

    def load_weights(self, weights):
        """Copy (name, tensor) pairs into the buffer; returns the names (the loading contract of vLLM).

        A buffer on meta, which holds no values, is replaced: the index is then on the device of the given tensor.
        Raises: ValueError for a tensor of another length, or an index that is not valid.
        """
        loaded = set()
        for name, tensor in weights:
            if tensor.shape != self.index.shape:
                raise ValueError(
                    f"an index list of {tuple(tensor.shape)} values was given for one of {len(self.index)}; copy the whole folder again."
                )
            values = tensor.to(self.index.dtype)
            self.index = values.clone() if self.index.is_meta else self.index.copy_(values)
            loaded.add(name)
        self.derive_()
        return loaded


def indices_of(model: nn.Module) -> dict[str, FeatureIndex]:
    """The FeatureIndex modules of a pruned model by names such as "3.mlp_input" (layer and set), in the order of the layers."""
    modules = {name: module for name, module in model.named_modules() if isinstance(module, FeatureIndex)}
    return {".".join(name.split(".")[-2:]): module for name, module in modules.items()}


def derive_features_(model: nn.Module) -> None:
    """Make the derived buffers of every FeatureIndex in `model` from its index."""
    for module in indices_of(model).values():
        module.derive_()


def index_digest(indices: Mapping[str, Tensor]) -> str:
    """sha256 over layer, set and int32 values of each index list, given by "<layer>.<set>"; the order of the mapping does not matter."""
    text = hashlib.sha256()
    for name in sorted(indices):
        text.update(f"{name} {len(indices[name])} ".encode() + indices[name].cpu().numpy().tobytes())
    return text.hexdigest()


def index_digest_of_plan(plan: PruningPlan) -> str:
    """The digest of the sets of a plan that a checkpoint stores: all except the middle ones."""
    return index_digest(
        {
            f"{number}.{name}": kept.indices
            for number, layer in enumerate(plan.layers)
            for name, kept in layer.sets().items()
            if name in INDEX_NAMES and kept is not None
        }
    )


@torch.no_grad()
def index_digest_of_model(model: nn.Module) -> str | None:
    """The digest of a model's index lists, including offloaded ones; None if they are on meta and no hook loads them."""
    indices = {name: module() for name, module in indices_of(model).items()}
    return None if any(index.is_meta for index in indices.values()) else index_digest(indices)


@torch.no_grad()
def check_loaded_indices(model: nn.Module) -> None:
    """Refuse index lists that are not sorted, unique and in range, or that differ from those for which config.json was written.

    Lists on meta that no hook loads pass. So do those of a config without a digest, which an earlier pydisp wrote: they cannot be compared.

    Raises: TypeError or ValueError naming the tensor.
    """
    for name, module in indices_of(model).items():
        index = module()
        if not index.is_meta:
            check_indices(index.cpu(), model.config.hidden_size, f"layers.{name}.index")
    told = (model.config.pydisp or {}).get("index_digest")
    read = index_digest_of_model(model)
    if told is not None and read is not None and told != read:
        raise ValueError(
            f"the index lists (digest {read[:12]}) are not those that config.json was written with ({told[:12]}); "
            "take config.json and the weights from one folder, or copy the whole folder again."
        )
