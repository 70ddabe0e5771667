"""Placement: a model whose parts accelerate has put on several devices, in memory and on disk (`device_map` of transformers).

    model = load_model(name, device=..., dtype=..., device_map="auto")
    values(model, "model.layers.0.mlp.up_proj.weight")     # also of what is on disk

Parts that are not on a device while they wait, in memory beside a GPU or on disk, are called offloaded: their parameters are on torch's
`meta` device, without values, and a hook of accelerate brings the values for the time of a forward.
"""

import json
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import torch
from torch import Tensor, nn

from pydisp.distribution import install_command
from pydisp.memory import free_bytes

PLACEMENTS = ("auto", "balanced", "balanced_low_0", "sequential")  # those of accelerate


def read_device_map(given: str | None, device: str | None = None) -> str | dict[str, str | int] | None:
    """A name of PLACEMENTS as it is, or the mapping from parts of a model to devices that a JSON file holds; None as it is.

    Raises: ValueError for another name or file, or together with a device; FileNotFoundError; ImportError without accelerate.
    """
    if given is None:
        return None
    if device is not None:
        raise ValueError(f"--device {device} and --device-map {given} exclude each other; leave one out.")
    if given in PLACEMENTS:
        _check_accelerate()
        return given
    if not given.endswith(".json"):
        raise ValueError(f"the device map is {given!r}; choose {', '.join(PLACEMENTS)}, or a .json file that maps parts to devices.")
    path = Path(given)
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {path} with a device map; give one, or choose {', '.join(PLACEMENTS)}.")
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        values = None
    if not isinstance(values, dict) or not values or not all(isinstance(device, str | int) for device in values.values()):
        raise ValueError(f'{path.name} holds no device map; it must be a JSON object such as {{"model.layers.0": 0, "lm_head": "cpu"}}.')
    _check_accelerate()
    return values


def _check_accelerate() -> None:
    try:
        import accelerate  # noqa: F401
    except ImportError:
        raise ImportError(f"a device map needs accelerate; {install_command('train')}") from None


def is_spread(model: nn.Module) -> bool:
    """Whether the parts of a model are at more than one place."""
    return len(set(getattr(model, "hf_device_map", {}).values())) > 1


def places(model: nn.Module) -> str:
    """Where a model is, in words: its device, or all places of its parts."""
    return ", ".join(str(place) for place in dict.fromkeys(model.hf_device_map.values())) if is_spread(model) else str(model.device)


def is_offloaded(model: nn.Module) -> bool:
    """Whether some of a model's parameters have no values until they are used."""
    return any(parameter.is_meta for parameter in model.parameters())


def with_values(module: nn.Module) -> AbstractContextManager:
    """A region in which the module's own parameters, not those of its parts, have their values, where the module computes."""
    if not any(parameter.is_meta for parameter in module.parameters(recurse=False)) or not hasattr(module, "_hf_hook"):
        return nullcontext()
    from accelerate.utils import align_module_device

    return align_module_device(module)


def values(module: nn.Module, name: str = "weight") -> Tensor:
    """The values of a module's parameter, detached; those of an offloaded one are a copy in memory.

    Args:
        name: of one of its own, or with dots that of a parameter of a part.
    """
    parent, _, leaf = name.rpartition(".")
    owner = module.get_submodule(parent)
    is_waiting = getattr(owner, leaf).is_meta
    with with_values(owner):
        tensor = getattr(owner, leaf).detach()
        return tensor.to("cpu", copy=True) if is_waiting else tensor


def free_bytes_around(model: nn.Module) -> float | None:
    """Bytes that are free on all devices that compute for a model, together; None if the platform does not tell."""
    places = set(getattr(model, "hf_device_map", {}).values()) - {"cpu", "disk"}
    free = [free_bytes(torch.device(place)) for place in places] or [free_bytes(model.device)]
    return None if None in free else sum(free)


def refuse_untrainable(model: nn.Module) -> None:
    """Refuse to train what a plan keeps of a model, before anything long, if it would not stay on a device between its uses.

    Raises: ValueError. On a CPU everything that is kept is in memory, so there the dense model may be on disk.
    """
    if is_offloaded(model) and model.device.type != "cpu":
        waiting = sum(parameter.numel() for parameter in model.parameters() if parameter.is_meta)
        raise ValueError(
            f"the recovery trains weights, which must stay on a GPU, but {waiting:,} of the dense model's are in memory or on disk; "
            "recover on more or larger devices, or with --device cpu."
        )


def placed_like(copy: nn.Module, model: nn.Module) -> nn.Module:
    """A model with the same parts as `model`, at the same places; what was on disk is in memory."""
    places = {part: "cpu" if place == "disk" else place for part, place in getattr(model, "hf_device_map", {}).items()}
    if len(set(places.values())) < 2:
        return copy
    from accelerate import dispatch_model

    return dispatch_model(copy, places, skip_keys=getattr(copy, "_skip_keys_device_placement", None))
