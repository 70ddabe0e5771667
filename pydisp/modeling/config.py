"""`config.pydisp`, the description of a pruned model: made from a plan, checked when a folder is loaded, removed for the dense config.

{"version": 1, "layers": [{"attention": {"input": 96, "output": 80}, "mlp": {"input": 160, "middle": 200, "output": 168}},
 {"attention": null, "mlp": ...}], "dense_parameters": {"total": 1048576, "block": 786432}, "model_digest": "...", "plan_digest": "...",
 "index_digest": "...", "dense_layer_types": [...]}
"""

import functools
import re

import transformers

from pydisp.given_value import check_depth, short
from pydisp.modeling.feature_index import index_digest_of_plan
from pydisp.modeling.kv_cache import kept_layer_types
from pydisp.plan import PruningPlan
from pydisp.spec import FAMILIES, ModelSpec

FORMAT_VERSION = 1
_WIDTHS = {"attention": ("input", "output"), "mlp": ("input", "middle", "output")}
_COPY = "copy the whole folder again."
_NOT_OF_THE_MODEL = ("model_type", "architectures", "auto_map", "transformers_version", "_name_or_path")


@classmethod
def stay_in_package(cls, *_args, **_kwargs) -> None:
    """Unmark a class that was loaded through a shim; else transformers would copy this file into every saved folder, beside the shim."""


@functools.cache
def config_class_of(model_type: str) -> type:
    """The config class for `pydisp_<family>`.

    Raises: ValueError for an unknown family.
    """
    stock_type = re.sub(r"^pydisp_", "", model_type)
    if stock_type not in FAMILIES:
        raise ValueError(f"unknown pruned family {model_type!r}; known: {', '.join('pydisp_' + name for name in sorted(FAMILIES))}.")
    stock = getattr(transformers, FAMILIES[stock_type].class_names[0])
    attributes = {
        "__module__": __package__,
        "__annotations__": {"pydisp": dict | None},
        "pydisp": None,
        "model_type": f"pydisp_{stock_type}",
        "register_for_auto_class": stay_in_package,
    }
    return type(f"Pydisp{stock.__name__}", (stock,), attributes)


def middle_size(config) -> int:
    """Width of the MLP middle of a dense model with this config."""
    return config.ffn_dim if hasattr(config, "ffn_dim") else config.intermediate_size


def pruned_config(dense_config, plan: PruningPlan, spec: ModelSpec):
    """The config of the pruned model: the values of the dense config, the widths of the plan, and layer types for removed attentions."""
    values = dense_config.to_dict()
    for name in _NOT_OF_THE_MODEL:
        values.pop(name, None)
    widths = []
    for layer in plan.layers:
        a, m = layer.attention, layer.mlp
        widths.append(
            {
                "attention": a and {"input": len(a.input), "output": len(a.output)},
                "mlp": m and {"input": len(m.input), "middle": len(m.middle), "output": len(m.output)},
            }
        )
    described = {
        "version": FORMAT_VERSION,
        "layers": widths,
        "dense_parameters": {"total": spec.parameters_total, "block": spec.parameters_block},
        "model_digest": plan.model_digest,
        "plan_digest": plan.digest(),
        "index_digest": index_digest_of_plan(plan),
    }
    layer_types = values.get("layer_types")
    if layer_types is not None:
        described["dense_layer_types"] = list(layer_types)
        values["layer_types"] = kept_layer_types(layer_types, [layer.attention is not None for layer in plan.layers])
    return config_class_of(f"pydisp_{dense_config.model_type}")(**values, pydisp=described)


def stock_config(config):
    """The config of the dense model from which a pruned model was made.

    Raises: ValueError if `config` is not a pruned model's.
    """
    if not getattr(config, "pydisp", None):
        raise ValueError(f"this model is a {config.model_type}, not a pruned model; give a folder that `pydisp prune` wrote.")
    values = config.to_dict()
    described = values.pop("pydisp")
    for name in _NOT_OF_THE_MODEL:
        values.pop(name, None)
    if "dense_layer_types" in described:
        values["layer_types"] = described["dense_layer_types"]
    return getattr(transformers, FAMILIES[config.model_type.removeprefix("pydisp_")].class_names[0])(**values)


def check_widths(config) -> None:
    """Refuse a `config.pydisp` that does not describe this model.

    Raises: ValueError.
    """
    described = config.pydisp
    if described is None:
        return
    check_depth(described, "config.json", _COPY)
    if not isinstance(described, dict) or not isinstance(described.get("layers"), list):
        raise ValueError(f"config.json has a 'pydisp' entry that is not a description of layers; {_COPY}")
    if described.get("version") != FORMAT_VERSION:
        raise ValueError(
            f"this folder's pydisp format is version {short(described.get('version'))}, this pydisp reads {FORMAT_VERSION}; install the pydisp that wrote it."
        )
    count = len(described["layers"])
    if count != config.num_hidden_layers:
        raise ValueError(
            f"config.json has widths for {count} layers and num_hidden_layers {config.num_hidden_layers}; take both from one folder."
        )
    for number, layer in enumerate(described["layers"]):
        _check_layer(number, layer, {"middle": middle_size(config)}, config.hidden_size)
    if not any(layer["attention"] for layer in described["layers"]):
        raise ValueError(f"config.json: every layer's attention is null, so no token would see another; {_COPY}")
    _check_origin(described)
    types = described.get("dense_layer_types", [""] * count)
    if not (isinstance(types, list) and len(types) == count and all(isinstance(one, str) for one in types)):
        raise ValueError(f"config.json: pydisp.dense_layer_types is {short(types)}; needed are {count} names of layer types; {_COPY}")


def _check_layer(number: int, layer, limits: dict[str, int], limit_else: int) -> None:
    for block, names in _WIDTHS.items():
        widths = layer.get(block, "absent") if isinstance(layer, dict) else "absent"
        if widths is not None and not isinstance(widths, dict):
            raise ValueError(f"config.json: layer {number} has no {block} with widths, nor null for a removed one; {_COPY}")
        for name in names if widths is not None else ():
            width, limit = widths.get(name), limits.get(name, limit_else)
            if type(width) is not int or not 0 < width <= limit:
                raise ValueError(
                    f"config.json: {block}.{name} of layer {number} is {short(width)}; a width must be a whole number from 1 to {limit}."
                )


def _check_origin(described: dict) -> None:
    """Refuse totals and digests of a wrong form. Folders from before the index digest lack it; they are accepted as they are."""
    totals = described.get("dense_parameters")
    sizes = [totals.get(name) for name in ("block", "total")] if isinstance(totals, dict) else [None]
    if any(type(size) is not int for size in sizes) or not 0 < sizes[0] <= sizes[1]:
        raise ValueError(f"config.json: pydisp.dense_parameters is {short(totals)}; needed are whole numbers 0 < block <= total; {_COPY}")
    for name, absent in (("model_digest", ""), ("plan_digest", ""), ("index_digest", None)):
        digest = described.get(name, absent)
        if digest is None and name != "model_digest":  # null: these index lists do not come from a plan
            continue
        if not (isinstance(digest, str) and re.fullmatch("[0-9a-f]{64}", digest)):
            raise ValueError(f"config.json: pydisp.{name} is {short(digest)}, not a sha256 of 64 hexadecimal digits; {_COPY}")
