"""The pruned model classes: a factory makes the config, base model, language model and classifier of a family from those of transformers.

The stock model is built first. Then its decoder layers get narrower nn.Linear modules under the stock names, and another layer class. Its
forward selects the input features of each block and index-adds the block's output (DISP-LLM, https://arxiv.org/abs/2410.11988, Algorithm 1
with the norm before the selection). The widths are in `config.pydisp`, the int32 indices in FeatureIndex modules beside the projections.
"""

import os
from functools import cache
from pathlib import Path

import transformers
from torch import nn
from transformers.utils import output_capturing

from pydisp.distribution import DISTRIBUTION, INSTALL
from pydisp.given_file import check_folder
from pydisp.modeling.config import check_widths, config_class_of, stay_in_package
from pydisp.modeling.feature_index import check_loaded_indices, derive_features_, index_digest_of_model
from pydisp.modeling.kv_cache import cache_slots
from pydisp.modeling.layers import narrow_
from pydisp.modeling.linear import serve_linears_
from pydisp.modeling.quantized import keep_plain_layout_
from pydisp.spec import FAMILIES, ROWS, Family, decoder_layers, family_of

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


_SHIM = """# Loads through the installed package: {install}
try:  # inside it transformers does not look for imports; it would name a package of PyPI that is not this one
    from pydisp.modeling import classes_of, classifier_of
except ImportError as error:
    raise ImportError(
        f"this model needs {distribution} ({{error}}); uninstall any other package called pydisp, then {install}."
    ) from error

{config}, {model}, {lm} = classes_of("{model_type}")
{classifier} = classifier_of("{model_type}")
"""


class _Pretrained:
    """from_pretrained and save_pretrained of the pruned classes."""

    new_head = ()
    """Beginnings of the names of weights that the folder of a language model lacks and transformers makes new, with a warning."""

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path, *args, output_loading_info: bool = False, **kwargs):
        """As in transformers, but raises ValueError if an index list is missing, invalid, of another length or not that of the pruning.

        (transformers would only warn, and use uninitialised memory for a missing list.)
        """
        if isinstance(pretrained_model_name_or_path, str | os.PathLike) and Path(pretrained_model_name_or_path).is_dir():
            check_folder(pretrained_model_name_or_path, "give a folder of regular files.")
        try:
            model, info = super().from_pretrained(pretrained_model_name_or_path, *args, output_loading_info=True, **kwargs)
        except RuntimeError as error:
            if "mismatch" in str(error):
                if cls.new_head:
                    raise ValueError(
                        "the weights do not have the shapes of config.json, or num_labels is not that of the checkpoint; leave num_labels out, "
                        "give ignore_mismatched_sizes=True for a new head, or copy the whole folder again."
                    ) from None
                lines = [line.strip() for line in str(error).splitlines() if "weight" in line or ".index" in line or "bias" in line]
                which = f" ({'; '.join(lines[:2])})" if lines else ""
                raise ValueError(f"the weights do not have the widths of config.json{which}; copy the whole folder again.") from None
            raise
        missing = sorted(info["missing_keys"])
        made_for = (model.config.architectures or [cls.__name__])[0]
        if made_for != cls.__name__:
            missing = [name for name in missing if not name.startswith(cls.new_head)]
            if missing and all(name.startswith("lm_head.") for name in missing):
                raise ValueError(f"the checkpoint is that of a {made_for}, which has no {missing[0]}; give the folder of a language model.")
        unexpected = sorted(k for k in info["unexpected_keys"] if k.endswith(".index"))
        mismatched = sorted(str(m[0] if isinstance(m, tuple) else m) for m in info.get("mismatched_keys", ()))
        mismatched = [name for name in mismatched if not name.startswith(cls.new_head)]  # ignore_mismatched_sizes asked for new ones
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
        keep_plain_layout_(model)
        return (model, info) if output_loading_info else model

    def _apply(self, *args, **kwargs):
        """Called when a model is moved (`to`, `cuda`, `half`): linears that left the CPU use torch's product again."""
        moved = super()._apply(*args, **kwargs)
        serve_linears_(self)
        return moved

    def save_pretrained(self, save_directory, *args, **kwargs):
        """As in transformers; adds the shim file with which the folder loads without `import pydisp`, through trust_remote_code=True."""
        _describe_indices_(self)
        config_class, model_class, lm_class, classifier = _classes(self.config.model_type)
        stem = SHIM_FILE.removesuffix(".py")
        self.config.auto_map = {
            "AutoConfig": f"{stem}.{config_class.__name__}",
            "AutoModel": f"{stem}.{model_class.__name__}",
            "AutoModelForCausalLM": f"{stem}.{lm_class.__name__}",
            "AutoModelForSequenceClassification": f"{stem}.{classifier.__name__}",
        }
        shim = _SHIM.format(
            config=config_class.__name__, model=model_class.__name__, lm=lm_class.__name__, classifier=classifier.__name__,
            model_type=self.config.model_type, distribution=DISTRIBUTION, install=INSTALL,
        )  # fmt: skip
        if kwargs.get("is_main_process", True) and not Path(save_directory).is_file():
            Path(save_directory).mkdir(parents=True, exist_ok=True)
            Path(save_directory, SHIM_FILE).write_text(shim)  # first, so that push_to_hub uploads it
        super().save_pretrained(save_directory, *args, **kwargs)


def _describe_indices_(model: nn.Module) -> None:
    """Update the digests in `model.config` if the index lists of the model have been replaced: these do not come from a plan."""
    described, digest = model.config.pydisp, index_digest_of_model(model)
    if not described or digest in (None, described.get("index_digest")):
        return
    plan_digest = None if "index_digest" in described else described["plan_digest"]
    model.config.pydisp = {**described, "plan_digest": plan_digest, "index_digest": digest}


def _record_outputs_of(base: nn.Module) -> None:
    """Make output_hidden_states and output_attentions work for `base`, whose class has changed since it was made.

    When a model is made, transformers registers its recordable outputs under the name of its class (5.17: by name, 5.23: through a mapping
    that takes the model; both keep the name).
    """
    dict.__setitem__(output_capturing._CAN_RECORD_REGISTRY, str(type(base)), base._can_record_outputs)


def classes_of(model_type: str) -> tuple[type, type, type]:
    """The config, base model and language model classes of `pydisp_<family>`, made and registered with Auto* on first use.

    Raises: ValueError for an unknown family.
    """
    return _classes(model_type)[:3]


def classifier_of(model_type: str) -> type:
    """The class of `pydisp_<family>` that classifies sequences, made and registered with Auto* on first use.

    Loaded from the folder of a language model, it has a new head of `num_labels` rows, and transformers warns that it is not trained.

    Raises: ValueError for an unknown family.
    """
    return _classes(model_type)[3]


@cache
def _classes(model_type: str) -> tuple[type, type, type, type]:
    config_class = config_class_of(model_type)
    stock_type = config_class.model_type.removeprefix("pydisp_")
    family = FAMILIES[stock_type]
    stock_model, stock_lm, stock_classifier = (getattr(transformers, name) for name in (*family.class_names[1:], family.classifier_name))

    def model_init(self, config, *args, **kwargs):
        check_widths(config)
        stock_model.__init__(self, config, *args, **kwargs)
        _narrow_layers(config, family_of(config, stock_type), self.get_submodule(family.layers_path))
        serve_linears_(self)
        self.post_init()  # initialises the narrower projections, which did not exist in the stock constructor

    def init_around_base(stock: type):
        def init(self, config, *args, **kwargs):
            check_widths(config)
            stock.__init__(self, config, *args, **kwargs)
            base = self.get_submodule(self.base_model_prefix)
            if type(base) is not model_class:  # most classifiers make their base through AutoModel, which knows the pruned class
                base.__class__ = model_class
                _record_outputs_of(base)
                _narrow_layers(config, family_of(config, stock_type), decoder_layers(self, family))
            serve_linears_(self)
            self.post_init()

        return init

    # Device placement must not split a layer over two devices; it knows layers by class name, and ours differ from the stock names.
    whole = [f"Pydisp{row.layer_name}" for row in ROWS if row.model_type == stock_type]
    common = {
        "__module__": __name__,
        "config_class": config_class,
        "_no_split_modules": whole,
        "_supports_attention_backend": True,
        "register_for_auto_class": stay_in_package,
    }

    def made(stock: type, init, **attributes) -> type:
        return type(f"Pydisp{stock.__name__}", (_Pretrained, stock), {**common, "__init__": init, **attributes})

    model_class = made(stock_model, model_init)
    lm_class = made(stock_lm, init_around_base(stock_lm))
    classifier = made(stock_classifier, init_around_base(stock_classifier), new_head=("score.",))
    transformers.AutoModel.register(config_class, model_class)
    transformers.AutoModelForCausalLM.register(config_class, lm_class)
    transformers.AutoModelForSequenceClassification.register(config_class, classifier)
    return config_class, model_class, lm_class, classifier


def __getattr__(name: str) -> type:
    """The classes by name, for unpickling a model or a config before the classes have been made."""
    for model_type, family in FAMILIES.items():
        for place, stock_name in enumerate((*family.class_names, family.classifier_name)):
            if name == f"Pydisp{stock_name}":
                return _classes(f"pydisp_{model_type}")[place]
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
