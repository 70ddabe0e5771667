"""Placement: a model whose parts accelerate has put on several devices, in memory and on disk (`device_map` of transformers).

    model = load_model(name, device=..., dtype=..., device_map="auto")
    values(model, "model.layers.0.mlp.up_proj.weight")     # also of what is on disk

Parts that are not on a device while they wait, in memory beside a GPU or on disk, are called offloaded: their parameters are on torch's
`meta` device, without values, and a hook of accelerate brings the values for the time of a forward.
"""

from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import torch
from torch import Tensor, nn

from pydisp.distribution import install_command
from pydisp.given_file import read_text
from pydisp.given_value import first_line, json_value, short
from pydisp.memory import free_bytes

PLACEMENTS = ("auto", "balanced", "balanced_low_0", "sequential")  # those of accelerate
DISK, MEMORY = "disk", "cpu"
Map = dict[str, str | int]
_MOST_BYTES = 1 << 20


def read_device_map(given: str | None, device: str | None = None) -> str | Map | None:
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
    path, needed = Path(given), f"give a file with a device map, or choose {', '.join(PLACEMENTS)}."
    values = json_value(read_text(path, needed, most_bytes=_MOST_BYTES), path.name, needed)
    if not isinstance(values, dict) or not values or not all(type(place) in (str, int) for place in values.values()):
        raise ValueError(f'{path.name} holds no device map; it must be a JSON object such as {{"model.layers.0": 0, "lm_head": "cpu"}}.')
    _check_accelerate()
    return {part: _checked_place(place, path.name) for part, place in values.items()}


def _checked_place(place: str | int, file: str) -> str | int:
    """The place in the form that accelerate has for it: a number for a GPU."""
    if place == DISK:
        return place
    try:
        device = torch.device("cuda", place) if isinstance(place, int) else torch.device(place)
        torch.empty(0, device=device)
    except (
        RuntimeError,
        AssertionError,
        NotImplementedError,
        ValueError,
        OverflowError,
    ) as error:  # the last two: of a number out of range
        why = first_line(error)
        raise ValueError(
            f"{file} names the place {short(place)}, which cannot be used here ({why}); `pydisp env` lists the devices."
        ) from None
    if device.type == "meta":
        raise ValueError(f"{file} names the place 'meta', which holds no values; `pydisp env` lists the devices.")
    return (device.index or 0) if device.type == "cuda" else str(device)


def device_of_map(device_map: str | Map | None) -> str | None:
    """The name of the device that computes by a map; None where that is the usual one."""
    if not isinstance(device_map, dict):
        return None
    devices = [place for place in device_map.values() if place not in (DISK, MEMORY)]
    return MEMORY if not devices else f"cuda:{devices[0]}" if isinstance(devices[0], int) else devices[0]


def check_device_map(model: nn.Module, device_map: Map) -> None:
    """Refuse a map that does not fit a model, before its weights are read.

    Args:
        model: of the same architecture, on torch's meta device, with tied weights tied.
    Raises: ValueError for a part that the model does not have, one inside a layer (the widths of a pruned layer are beside its
        projections, so a layer is placed as a whole), a part without a place, embeddings that wait, and tied matrices at two places.
    """
    modules = dict(model.named_modules())
    whole = getattr(model, "_no_split_modules", None) or ()
    layers = [name for name, module in modules.items() if type(module).__name__ in whole]
    for part in device_map:
        if part not in modules:
            raise ValueError(
                f"the device map names {part!r}, which is no part of this model; its parts are such as {', '.join(list(modules)[1:4])}."
            )
        if layer := next((name for name in layers if part.startswith(f"{name}.")), None):
            raise ValueError(f"the device map splits the layer {layer}; give the whole layer one place.")
    for name, module in modules.items():
        if next(module.parameters(recurse=False), None) is not None and _place(device_map, name) is None:
            raise ValueError(f"the device map has no place for {name}; add it, or a part that holds it.")
    embeddings, head = model.get_input_embeddings(), model.get_output_embeddings()
    named = {id(module): name for name, module in modules.items()}
    first = _place(device_map, named[id(embeddings)])
    devices = set(device_map.values()) - {DISK, MEMORY}
    if first == DISK or first == MEMORY and devices:
        raise ValueError("the device map leaves the embeddings in memory or on disk; put them on the device where the text goes.")
    if head is not None and head.weight is embeddings.weight and _place(device_map, named[id(head)]) != first:
        raise ValueError(
            "embeddings and output matrix of this model are one matrix, which the device map puts at two places; give both one."
        )


def _place(device_map: Map, name: str) -> str | int | None:
    """The place of the most exact part that holds the module."""
    while name and name not in device_map:
        name = name.rpartition(".")[0]
    return device_map.get(name)


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


def refuse_empty(model: nn.Module, name: str = "model") -> None:
    """Refuse a model with parameters that have no values and no hook that would bring them, as one made on the meta device.

    Raises: ValueError.
    """
    for key, parameter in model.named_parameters():
        if parameter.is_meta and not hasattr(model.get_submodule(key.rpartition(".")[0]), "_hf_hook"):
            raise ValueError(f"{key} of {name} is on the meta device and has no values; load the model's weights.")


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
    devices = set(getattr(model, "hf_device_map", {}).values()) - {MEMORY, DISK}
    free = [free_bytes(torch.device(device)) for device in devices] or [free_bytes(model.device)]
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


def map_of_copy(model: nn.Module) -> Map | None:
    """The map for a smaller model with the same parts: the same places, what was on disk in memory; None if it is on one device."""
    copied = {part: MEMORY if place == DISK else place for part, place in getattr(model, "hf_device_map", {}).items()}
    return copied if len(set(copied.values())) > 1 else None


def placed_like(copy: nn.Module, model: nn.Module) -> nn.Module:
    """A smaller model with the same parts as `model`, by `map_of_copy`."""
    places = map_of_copy(model)
    if places is None:
        return copy
    from accelerate import dispatch_model

    return dispatch_model(copy, places, skip_keys=getattr(copy, "_skip_keys_device_placement", None))
