"""ModelSpec: where each projection of a model is, what it reads and writes, and how many parameters each feature costs.

A family is a row of FAMILIES; its Layout says where the layers have their norms.

    >>> ModelSpec.from_model(model).parameters_total
"""

import hashlib
import itertools
import json
import sys
from dataclasses import dataclass
from typing import NamedTuple

from torch import Tensor, nn

from pydisp.arguments import instance_of, takes
from pydisp.placement import values
from pydisp.plan import LayerPlan, PruningPlan

SMALL_MODEL_PARAMETERS = 50_000_000  # smaller models have shorter windows, fewer search steps and finer widths by default

REFUSED = {
    "openelm": "OpenELM is not part of transformers, and the modelling code in Apple's checkpoints does not run on transformers 5; "
    "convert the checkpoint to a supported family, or prune another model.",
}


@dataclass(frozen=True)
class Layout:
    """Where a decoder layer has its norms. All code that computes such layers, or counts or removes their norms, reads these four flags.

    Attributes:
        norm_before: a norm of the residual stream before each block.
        norm_after: a norm of each block's output, before it is added.
        norm_on_sum: a norm of the residual stream after each addition; it stays when its block is removed.
        is_parallel: both blocks run side by side and read one norm of the layer's input; it is removed when both blocks are.
    """

    norm_before: bool = False
    norm_after: bool = False
    norm_on_sum: bool = False
    is_parallel: bool = False

    @property
    def norms_leave(self) -> bool:
        """Whether the norms of a removed block are removed too."""
        return not (self.norm_on_sum or self.is_parallel)


SEQUENTIAL = Layout(norm_before=True)
PARALLEL = Layout(norm_before=True, is_parallel=True)
SANDWICH = Layout(norm_before=True, norm_after=True)
OUTPUT_NORM = Layout(norm_after=True)
POST_NORM = Layout(norm_on_sum=True)


class BlockNorms(NamedTuple):
    """Names of the norms of one block in its layer; None for a norm that the layout lacks."""

    before: str | None
    after: str | None
    on_sum: str | None


@dataclass(frozen=True)
class Family:
    """One row of FAMILIES: the names of transformers' classes and of the modules inside a decoder layer."""

    model_type: str
    prefix: str  # of the class names: <prefix>Config, <prefix>Model, <prefix>ForCausalLM, <prefix>DecoderLayer
    variant: str = ""  # part of the name of the pruned layer class, for rows that share a stock layer class
    layout: Layout = SEQUENTIAL
    config_class: str | None = None  # if it is not <prefix>Config
    model_class: str | None = None
    layers_path: str = "layers"  # from the base model to its decoder layers
    attention: str = "self_attn"
    mlp: str | None = "mlp"  # None: fc1 and fc2 are modules of the layer itself
    attention_reads: tuple[str, ...] = ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj")
    attention_write: str = "self_attn.o_proj"
    mlp_reads: tuple[str, ...] = ("mlp.gate_proj", "mlp.up_proj")
    mlp_write: str = "mlp.down_proj"
    middle_copies: int = 1  # 2: gate and up are one matrix, so a middle feature is two of its rows
    attention_norms: tuple[str, ...] = ("input_layernorm",)  # the norms that the layout has, in the order before, after, on the sum
    mlp_norms: tuple[str, ...] = ("post_attention_layernorm",)  # none of its own in a parallel layout
    norm_offset: float = 0.0  # the gain is weight + offset

    @property
    def class_names(self) -> tuple[str, str, str]:
        """Names of the config, base model and language model classes in transformers."""
        return self.config_class or f"{self.prefix}Config", self.model_class or f"{self.prefix}Model", f"{self.prefix}ForCausalLM"

    @property
    def classifier_name(self) -> str:
        """Name of the class in transformers that classifies sequences."""
        return f"{self.class_names[1].removesuffix('Model')}ForSequenceClassification"

    @property
    def layer_name(self) -> str:
        """Name of the row's layer class, without the prefix (Pydisp or Plain) of the class that is made for it."""
        return f"{self.prefix}{self.variant}DecoderLayer"

    @property
    def mlp_entry(self) -> str:
        """The module whose input is the MLP's input."""
        return self.mlp or self.mlp_reads[0]

    def norms(self, block: str) -> BlockNorms:
        """The norms of `block`, which is "attention" or "mlp"."""
        layout = self.layout
        names = iter(self.attention_norms if block == "attention" or layout.is_parallel else self.mlp_norms)
        return BlockNorms(*(next(names) if there else None for there in (layout.norm_before, layout.norm_after, layout.norm_on_sum)))


_SANDWICH = dict(
    layout=SANDWICH,
    attention_norms=("input_layernorm", "post_attention_layernorm"),
    mlp_norms=("pre_feedforward_layernorm", "post_feedforward_layernorm"),
    norm_offset=1.0,
)
_OPT = dict(
    prefix="OPT",
    layers_path="decoder.layers",
    mlp=None,
    attention_write="self_attn.out_proj",
    mlp_reads=("fc1",),
    mlp_write="fc2",
    attention_norms=("self_attn_layer_norm",),
    mlp_norms=("final_layer_norm",),
)

FAMILIES = {
    row.model_type: row
    for row in (
        Family("llama", "Llama"),
        Family("mistral", "Mistral"),
        Family("qwen2", "Qwen2"),
        Family("qwen3", "Qwen3"),
        Family("gemma", "Gemma", norm_offset=1.0),
        Family("gemma2", "Gemma2", **_SANDWICH),
        Family("gemma3_text", "Gemma3", config_class="Gemma3TextConfig", model_class="Gemma3TextModel", **_SANDWICH),
        Family(
            "olmo2",
            "Olmo2",
            layout=OUTPUT_NORM,
            attention_norms=("post_attention_layernorm",),
            mlp_norms=("post_feedforward_layernorm",),
        ),
        Family(
            "phi",
            "Phi",
            layout=PARALLEL,
            attention_write="self_attn.dense",
            mlp_reads=("mlp.fc1",),
            mlp_write="mlp.fc2",
            mlp_norms=(),
        ),
        Family("phi3", "Phi3", attention_reads=("self_attn.qkv_proj",), mlp_reads=("mlp.gate_up_proj",), middle_copies=2),
        Family("opt", **_OPT),
    )
}
_OPT_POST_NORM = Family("opt", variant="PostNorm", layout=POST_NORM, **_OPT)  # do_layer_norm_before=False, the 350m style
ROWS = (*FAMILIES.values(), _OPT_POST_NORM)


def family_of(config, model_type: str | None = None) -> Family:
    """The row for a transformers config; `model_type` replaces that of a config whose own names a pruned class.

    Raises: ValueError for a family without a row.
    """
    model_type = model_type or config.model_type
    if model_type == "opt" and not config.do_layer_norm_before:
        return _OPT_POST_NORM
    if model_type in FAMILIES:
        return FAMILIES[model_type]
    if model_type in REFUSED:
        raise ValueError(REFUSED[model_type])
    if model_type.startswith("pydisp_"):
        raise ValueError("this model is already pruned by pydisp; prune the dense model it came from.")
    raise ValueError(f"unknown model family {model_type!r}; known: {', '.join(sorted(FAMILIES))}. Add a row to FAMILIES in pydisp/spec.py.")


def stock_layer_class(family: Family) -> type:
    """The decoder layer class of transformers that a row describes."""
    import transformers

    language_model = getattr(transformers, family.class_names[2])
    return getattr(sys.modules[language_model.__module__], f"{family.prefix}DecoderLayer")


def check_keep_ratio(keep_ratio: float, ratio_of: str = "block", *, may_keep_all: bool = False) -> None:
    """Refuse a keep ratio outside (0, 1) (1 is allowed if everything may be kept), and a base other than "total" or "block".

    Raises: ValueError.
    """
    if not (0 < keep_ratio < 1 or (may_keep_all and keep_ratio == 1)):
        raise ValueError(f"the keep ratio is {keep_ratio}; it must lie between 0 and 1, both excluded, such as 0.5.")
    if ratio_of not in ("total", "block"):
        raise ValueError(f"the keep ratio is of {ratio_of!r}; choose 'total' (all parameters) or 'block' (decoder layers).")


def _count(*tensors: Tensor | None) -> int:
    return sum(t.numel() for t in tensors if t is not None)


@dataclass(frozen=True)
class LayerCost:
    """Parameters of one decoder layer as a function of its five widths; widths may be numbers or differentiable scalars."""

    attention_input: int  # of q, k and v together, for each feature read
    attention_output: int  # of o with its bias, for each feature written
    attention_fixed: int  # biases of q, k, v, head norms, and the norms that are removed with the block
    mlp_input_middle: int  # for each pair of a feature read and a middle feature
    mlp_middle: int  # bias of the reads, for each middle feature
    mlp_output: int  # bias of the write, for each feature written
    mlp_fixed: int
    either_fixed: int  # removed when both blocks are
    always_fixed: int

    def attention(self, width_in, width_out):
        return self.attention_input * width_in + self.attention_output * width_out + self.attention_fixed

    def mlp(self, width_in, width_middle, width_out):
        per_middle = self.mlp_input_middle * width_in + self.mlp_middle + width_out
        return per_middle * width_middle + self.mlp_output * width_out + self.mlp_fixed

    def of(self, layer: LayerPlan) -> int:
        """Parameters that a planned layer keeps."""
        kept = self.always_fixed
        if layer.attention:
            kept += self.attention(len(layer.attention.input), len(layer.attention.output))
        if layer.mlp:
            kept += self.mlp(len(layer.mlp.input), len(layer.mlp.middle), len(layer.mlp.output))
        return kept + (self.either_fixed if layer.attention or layer.mlp else 0)


def _layer_cost(family: Family, layer: nn.Module) -> LayerCost:
    reads = [layer.get_submodule(n) for n in family.attention_reads]
    write = layer.get_submodule(family.attention_write)
    mlp_reads = [layer.get_submodule(n) for n in family.mlp_reads]
    mlp_write = layer.get_submodule(family.mlp_write)
    attention_norms = _count(*(p for n in family.attention_norms for p in layer.get_submodule(n).parameters()))
    mlp_norms = _count(*(p for n in family.mlp_norms for p in layer.get_submodule(n).parameters()))
    stay, shared = family.layout.norm_on_sum, family.layout.is_parallel
    projections = _count(*(t for m in (*reads, write) for t in (m.weight, m.bias)))
    head_norms = _count(*layer.get_submodule(family.attention).parameters()) - projections
    return LayerCost(
        attention_input=sum(r.out_features for r in reads),
        attention_output=write.in_features + (write.bias is not None),
        attention_fixed=_count(*(r.bias for r in reads)) + head_norms + (0 if stay or shared else attention_norms),
        mlp_input_middle=sum(r.out_features for r in mlp_reads) // mlp_write.in_features,
        mlp_middle=_count(*(r.bias for r in mlp_reads)) // mlp_write.in_features,
        mlp_output=int(mlp_write.bias is not None),
        mlp_fixed=0 if stay else mlp_norms,
        either_fixed=attention_norms if shared else 0,
        always_fixed=attention_norms + mlp_norms if stay else 0,
    )


@dataclass(frozen=True)
class ModelSpec:
    """The facts about one dense model that surgery and search need.

    Attributes:
        family: its row of FAMILIES.
        hidden_size, middle_size: widths of the residual stream and of the MLP middle.
        costs: one LayerCost per decoder layer.
        parameters_total: all parameters; tied ones count once.
        parameters_block: those inside the decoder layers.
        digest: see `model_digest`.
    """

    family: Family
    hidden_size: int
    middle_size: int
    costs: tuple[LayerCost, ...]
    parameters_total: int
    parameters_block: int
    digest: str

    @classmethod
    @takes(model=instance_of(nn.Module, "give a transformers causal language model"))
    def from_model(cls, model: nn.Module) -> "ModelSpec":
        """The spec of a transformers causal language model.

        Raises: ValueError for a family without a row, or a quantized model (its weights cannot be sliced).
        """
        family = family_of(model.config)
        layers = decoder_layers(model, family)
        names = (*family.attention_reads, family.attention_write, *family.mlp_reads, family.mlp_write)
        for number, name in itertools.product(range(len(layers)), names):  # adapters and quantizers may spare some layers
            kind = type(layers[number].get_submodule(name))
            if kind is not nn.Linear:
                raise ValueError(
                    f"{name} of layer {number} is a {kind.__module__}.{kind.__name__}, pruning slices plain nn.Linear weights; "
                    "load the model unquantized and without adapters."
                )
        return cls(
            family=family,
            hidden_size=model.config.hidden_size,
            middle_size=layers[0].get_submodule(family.mlp_write).in_features,
            costs=tuple(_layer_cost(family, layer) for layer in layers),
            parameters_total=sum(p.numel() for p in model.parameters()),
            parameters_block=sum(p.numel() for p in layers.parameters()),
            digest=model_digest(model),
        )

    @property
    def parameters_outside(self) -> int:
        """Embeddings, head and final norm: never pruned."""
        return self.parameters_total - self.parameters_block

    def kept_block(self, plan: PruningPlan) -> int:
        """Parameters inside the decoder layers after pruning, without the indices."""
        return sum(cost.of(layer) for cost, layer in zip(self.costs, plan.layers, strict=True))

    def kept_total(self, plan: PruningPlan) -> int:
        """All parameters after pruning, without the indices."""
        return self.parameters_outside + self.kept_block(plan)

    def kept_shares(self, plan: PruningPlan) -> dict[str, float]:
        """Kept share of all parameters ("total") and of those in the decoder layers ("block")."""
        return {"total": self.kept_total(plan) / self.parameters_total, "block": self.kept_block(plan) / self.parameters_block}

    def block_budget(self, keep_ratio: float, ratio_of: str) -> int:
        """The number of block parameters that a keep ratio allows.

        Raises: ValueError for a ratio outside (0, 1), an unknown base, or a ratio that the never pruned parameters alone exceed.
        """
        check_keep_ratio(keep_ratio, ratio_of)
        if ratio_of == "block":
            return int(keep_ratio * self.parameters_block)
        budget = int(keep_ratio * self.parameters_total) - self.parameters_outside
        if budget <= 0:
            alone = self.parameters_outside / self.parameters_total
            raise ValueError(
                f"the keep ratio is {keep_ratio} of all parameters, but embeddings and head alone are {alone:.3f} of them and are never pruned; "
                f"choose a larger ratio, or --ratio-of block."
            )
        return budget

    def refuse_other(self, plan: PruningPlan) -> None:
        """Raise ValueError if the plan was made for another model."""
        made = f"the plan was made for {plan.family} (hidden_size {plan.hidden_size}, {len(plan.layers)} layers)"
        remedy = "search a new plan or load the matching model."
        here = (self.family.model_type, self.hidden_size, self.middle_size, len(self.costs))
        if here != (plan.family, plan.hidden_size, plan.middle_size, len(plan.layers)):
            raise ValueError(f"{made}, this model is {here[0]} (hidden_size {here[1]}, {here[3]} layers); {remedy}")
        if plan.model_digest != self.digest:
            raise ValueError(f"{made} with other weights (digest {plan.model_digest[:12]}, this model has {self.digest[:12]}); {remedy}")


def decoder_layers(model: nn.Module, family: Family) -> nn.ModuleList:
    """The decoder layers of a causal language model."""
    return model.get_submodule(f"{model.base_model_prefix}.{family.layers_path}")


_DIGEST_SAMPLES = 64


def model_digest(model: nn.Module) -> str:
    """sha256 over names, shapes and 64 evenly spaced values of every parameter: the same in every dtype that can hold these values.

    It reads a sample, because reading all of a large model takes minutes; the sample is enough to tell fine-tuned versions apart.
    """
    text = hashlib.sha256()
    for name, parameter in model.named_parameters():
        flat = values(model, name).flatten()
        sample = flat[:: max(1, flat.numel() // _DIGEST_SAMPLES)].cpu().float()
        text.update(json.dumps([name, list(parameter.shape)]).encode() + sample.numpy().tobytes())
    return text.hexdigest()
