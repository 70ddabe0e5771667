"""The pruned model classes: one factory makes config, base model and language model of a family from transformers' own.

The stock model is built, its decoder layers get narrower nn.Linear under their stock names, and a layer class whose forward
selects each block's input features and index-adds its output (DISP-LLM, https://arxiv.org/abs/2410.11988, Algorithm 1 with the
norm before the selection). Widths stand in `config.pydisp`, int32 indices in FeatureIndex submodules beside the projections.

    config.json: {"model_type": "pydisp_llama", "pydisp": {"version": 1, "layers": [{"attention": {"input": 96, "output": 80},
                  "mlp": {"input": 160, "middle": 200, "output": 168}}, {"attention": null, "mlp": ...}], ...}}
"""

import re
from functools import cache
from pathlib import Path

import transformers
from torch import nn
from transformers.utils import output_capturing

from pydisp.distribution import DISTRIBUTION, install_command
from pydisp.indices import check_indices
from pydisp.modeling.kv_cache import cache_slots, kept_layer_types
from pydisp.modeling.layers import FeatureIndex, derive_features_, narrow_
from pydisp.modeling.linear import serve_linears_
from pydisp.plan import PruningPlan
from pydisp.spec import FAMILIES, ROWS, Family, ModelSpec, decoder_layers, family_of

FORMAT_VERSION = 1
SHIM_FILE = "modeling_pydisp.py"


def _narrow_layers(config, family: Family, layers: nn.ModuleList) -> None:
    widths = (config.pydisp or {}).get("layers")
    if not widths:
        return
    has_attention = [w["attention"] is not None for w in widths]
    slots = cache_slots(getattr(config, "layer_types", None), has_attention)
    for layer, layer_widths, slot in zip(layers, widths, slots, strict=True):
        narrow_(layer, family, layer_widths)
        layer.cache_slot = slot
        if layer.self_attn is not None:
            layer.self_attn.layer_idx = slot


def check_widths(config) -> None:
    """Refuse a `config.pydisp` that does not describe this model.

    Raises: ValueError.
    """
    described = config.pydisp
    if described is None:
        return
    if not isinstance(described, dict) or not isinstance(described.get("layers"), list):
        raise ValueError("config.json has a 'pydisp' entry that is not a description of layers; copy the whole folder again.")
    if described.get("version") != FORMAT_VERSION:
        raise ValueError(
            f"this folder's pydisp format is version {described.get('version')}, this pydisp reads {FORMAT_VERSION}; install the pydisp that wrote it."
        )
    count = len(described.get("layers", ()))
    if count != config.num_hidden_layers:
        raise ValueError(
            f"config.json has widths for {count} layers and num_hidden_layers {config.num_hidden_layers}; take both from one folder."
        )
    for number, layer in enumerate(described["layers"]):
        for block, names in (("attention", ("input", "output")), ("mlp", ("input", "middle", "output"))):
            for name in names:
                width = layer[block] and layer[block].get(name)
                limit = middle_size(config) if name == "middle" else config.hidden_size
                if layer[block] and not (isinstance(width, int) and 0 < width <= limit):
                    raise ValueError(
                        f"config.json: {block}.{name} of layer {number} is {width}; a width must be a whole number from 1 to {limit}."
                    )


def middle_size(config) -> int:
    """Width of the MLP middle of a dense model with this config."""
    return config.ffn_dim if hasattr(config, "ffn_dim") else config.intermediate_size


def check_loaded_indices(model: nn.Module) -> None:
    """Refuse indices that are not sorted, unique and in range; indices on meta (offloaded) cannot be read and pass.

    Raises: TypeError or ValueError naming the tensor.
    """
    for name, module in model.named_modules():
        if isinstance(module, FeatureIndex) and not module.index.is_meta:
            check_indices(module.index.cpu(), model.config.hidden_size, f"{name}.index")


_SHIM = """# Loads through the installed package: {install}
try:  # inside it transformers does not look for imports; it would name a package of PyPI that is not this one
    from pydisp.modeling import classes_of
except ImportError as error:
    raise ImportError(
        f"this model needs {distribution} ({{error}}); uninstall any other package called pydisp, then {install}."
    ) from error

{config}, {model}, {lm} = classes_of("{model_type}")
"""


class _Pretrained:
    """from_pretrained and save_pretrained of the pruned classes."""

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path, *args, output_loading_info: bool = False, **kwargs):
        """As in transformers; raises ValueError where an index is missing, out of range, unsorted, repeated or of another length.

        transformers would leave a missing one as uninitialised memory and only warn.
        """
        try:
            model, info = super().from_pretrained(pretrained_model_name_or_path, *args, output_loading_info=True, **kwargs)
        except RuntimeError as error:
            if "mismatch" in str(error):
                lines = [line.strip() for line in str(error).splitlines() if "weight" in line or ".index" in line or "bias" in line]
                raise ValueError(
                    f"the weights do not have the widths of config.json ({'; '.join(lines[:2])}); copy the whole folder again."
                ) from None
            raise
        missing = sorted(info["missing_keys"])
        unexpected = sorted(k for k in info["unexpected_keys"] if k.endswith(".index"))
        mismatched = sorted(str(m[0] if isinstance(m, tuple) else m) for m in info.get("mismatched_keys", ()))
        for what, names in (
            ("are missing from", missing),
            ("are not of this model but in", unexpected),
            ("have wrong shapes in", mismatched),
        ):
            if names:
                raise ValueError(f"{', '.join(names[:3])} {what} the checkpoint ({len(names)} in all); copy the whole folder again.")
        check_loaded_indices(model)
        derive_features_(model)
        serve_linears_(model)
        return (model, info) if output_loading_info else model

    def _apply(self, *args, **kwargs):
        """What moves a model (`to`, `cuda`, `half`): linears that left the CPU are torch's again."""
        moved = super()._apply(*args, **kwargs)
        serve_linears_(self)
        return moved

    def save_pretrained(self, save_directory, *args, **kwargs):
        """As in transformers, with the shim file that loads the folder without `import pydisp` through trust_remote_code=True."""
        config_class, model_class, lm_class = classes_of(self.config.model_type)
        stem = SHIM_FILE.removesuffix(".py")
        self.config.auto_map = {
            "AutoConfig": f"{stem}.{config_class.__name__}",
            "AutoModel": f"{stem}.{model_class.__name__}",
            "AutoModelForCausalLM": f"{stem}.{lm_class.__name__}",
        }
        shim = _SHIM.format(
            config=config_class.__name__, model=model_class.__name__, lm=lm_class.__name__, model_type=self.config.model_type,
            distribution=DISTRIBUTION, install=install_command(),
        )  # fmt: skip
        if kwargs.get("is_main_process", True) and not Path(save_directory).is_file():
            Path(save_directory).mkdir(parents=True, exist_ok=True)
            Path(save_directory, SHIM_FILE).write_text(shim)  # first, so that push_to_hub uploads it
        super().save_pretrained(save_directory, *args, **kwargs)


@classmethod
def _stay_in_package(cls, *_args, **_kwargs) -> None:
    """transformers marks classes that came through a shim, and would then copy this file into every folder saved; the shim is enough."""


def _record_outputs_of(base: nn.Module) -> None:
    """Let output_hidden_states and output_attentions find `base`, whose class has changed since it was made.

    transformers notes what a model can record under the name of its class, when it is made (5.17: by name, 5.23: through a mapping
    that takes the model; both keep the name).
    """
    dict.__setitem__(output_capturing._CAN_RECORD_REGISTRY, str(type(base)), base._can_record_outputs)


@cache
def classes_of(model_type: str) -> tuple[type, type, type]:
    """Config, base model and language model class for `pydisp_<family>`, made and registered with Auto* on first use.

    Raises: ValueError for an unknown family.
    """
    stock_type = re.sub(r"^pydisp_", "", model_type)
    if stock_type not in FAMILIES:
        raise ValueError(f"unknown pruned family {model_type!r}; known: {', '.join('pydisp_' + name for name in sorted(FAMILIES))}.")
    stock_config, stock_model, stock_lm = (getattr(transformers, name) for name in FAMILIES[stock_type].class_names)

    config_class = type(
        f"Pydisp{stock_config.__name__}",
        (stock_config,),
        {
            "__module__": __name__,
            "__annotations__": {"pydisp": dict | None},
            "pydisp": None,
            "model_type": f"pydisp_{stock_type}",
            "register_for_auto_class": _stay_in_package,
        },
    )

    def model_init(self, config, *args, **kwargs):
        check_widths(config)
        stock_model.__init__(self, config, *args, **kwargs)
        _narrow_layers(config, family_of(config, stock_type), self.get_submodule(FAMILIES[stock_type].layers_path))
        serve_linears_(self)
        self.post_init()  # initialises the narrower projections, which the stock constructor has not seen

    def lm_init(self, config, *args, **kwargs):
        check_widths(config)
        stock_lm.__init__(self, config, *args, **kwargs)
        base = self.get_submodule(self.base_model_prefix)
        base.__class__ = model_class
        _record_outputs_of(base)
        _narrow_layers(config, family_of(config, stock_type), decoder_layers(self, FAMILIES[stock_type]))
        serve_linears_(self)
        self.post_init()

    # Device placement must not cut a layer in two; the layers have other class names than the stock ones.
    whole = [f"Pydisp{row.layer_name}" for row in ROWS if row.model_type == stock_type]
    common = {
        "__module__": __name__,
        "config_class": config_class,
        "_no_split_modules": whole,
        "_supports_attention_backend": True,
        "register_for_auto_class": _stay_in_package,
    }
    model_class = type(f"Pydisp{stock_model.__name__}", (_Pretrained, stock_model), {**common, "__init__": model_init})
    lm_class = type(f"Pydisp{stock_lm.__name__}", (_Pretrained, stock_lm), {**common, "__init__": lm_init})
    transformers.AutoModel.register(config_class, model_class)
    transformers.AutoModelForCausalLM.register(config_class, lm_class)
    return config_class, model_class, lm_class


def __getattr__(name: str) -> type:
    """The classes by name, for whoever unpickles a model or a config before they were made."""
    for model_type, family in FAMILIES.items():
        for place, stock_name in enumerate(family.class_names):
            if name == f"Pydisp{stock_name}":
                return classes_of(f"pydisp_{model_type}")[place]
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def pruned_config(dense_config, plan: PruningPlan, spec: ModelSpec):
    """The config of the pruned model: the dense one's values, the widths of the plan, free layer types for removed attention."""
    config_class = classes_of(f"pydisp_{dense_config.model_type}")[0]
    values = dense_config.to_dict()
    for name in ("model_type", "architectures", "auto_map", "transformers_version", "_name_or_path"):
        values.pop(name, None)
    has_attention = [layer.attention is not None for layer in plan.layers]
    layer_types = values.get("layer_types")
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
    }
    if layer_types is not None:
        described["dense_layer_types"] = list(layer_types)
        values["layer_types"] = kept_layer_types(layer_types, has_attention)
    return config_class(**values, pydisp=described)
