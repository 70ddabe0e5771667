"""PruningPlan: what a pruned model keeps of each layer of its dense model, as five IndexSets per layer. Stored in a file of its own.

plan = PruningPlan.load("plan.safetensors")
plan.layers[0].mlp.middle          # IndexSet of the intermediate features kept in layer 0
plan.layers[3].attention is None   # the attention block of layer 3 is removed
"""

import hashlib
import json
import os
from dataclasses import dataclass
from pathlib import Path

from pydisp.arguments import PATH, TEXT, check_fields, instance_of, list_of, optional, takes, whole
from pydisp.given_file import check_kind
from pydisp.given_value import first_line, json_value, short
from pydisp.indices import IndexSet
from pydisp.workspace import write_whole

FORMAT_VERSION = 1
_METADATA_KEY = "pydisp"
_NEEDED = "give the plan.safetensors of a pruned folder."
_SET = instance_of(IndexSet, "give an IndexSet")
_MOST_BYTES = 1 << 28  # a plan of a model with 70 billion parameters has 20 MB


@dataclass(frozen=True)
class AttentionPlan:
    """`input`: features of the residual stream that q, k and v read (S1); `output`: features of it that o writes (S2)."""

    input: IndexSet
    output: IndexSet

    def __post_init__(self):
        check_fields(self, "AttentionPlan: ", input=_SET, output=_SET)


@dataclass(frozen=True)
class MLPPlan:
    """`input`: residual features read (S3); `middle`: intermediate features (S4); `output`: residual features written (S5)."""

    input: IndexSet
    middle: IndexSet
    output: IndexSet

    def __post_init__(self):
        check_fields(self, "MLPPlan: ", input=_SET, middle=_SET, output=_SET)


@dataclass(frozen=True)
class LayerPlan:
    """One decoder layer; None stands for a removed block."""

    attention: AttentionPlan | None
    mlp: MLPPlan | None

    def __post_init__(self):
        attention, mlp = instance_of(AttentionPlan, "give an AttentionPlan, or None"), instance_of(MLPPlan, "give an MLPPlan, or None")
        check_fields(self, "LayerPlan: ", attention=optional(attention), mlp=optional(mlp))

    def sets(self) -> dict[str, IndexSet | None]:
        """The five sets by the names that reports use; None for the sets of a removed block."""
        a, m = self.attention, self.mlp
        return {
            "attention_input": a and a.input,
            "attention_output": a and a.output,
            "mlp_input": m and m.input,
            "mlp_middle": m and m.middle,
            "mlp_output": m and m.output,
        }


SETS = ("attention_input", "attention_output", "mlp_input", "mlp_middle", "mlp_output")


@dataclass(frozen=True)
class PruningPlan:
    """A plan for one model.

    Attributes:
        family: model type of the dense model, such as `llama`.
        hidden_size, middle_size: widths of the residual stream and of the MLP middle in the dense model.
        layers: one LayerPlan per decoder layer.
        model_digest: digest of the dense model (`ModelSpec.digest`); surgery refuses any other model.
    Raises: ValueError if an IndexSet is of another space, or if no attention block is left.
    """

    family: str
    hidden_size: int
    middle_size: int
    layers: tuple[LayerPlan, ...]
    model_digest: str

    def __post_init__(self):
        layers = list_of(instance_of(LayerPlan, "give a LayerPlan"), "LayerPlan, one for each layer of the model", least=1)
        check_fields(
            self, "PruningPlan: ", family=TEXT, hidden_size=whole(1), middle_size=whole(1), layers=layers, model_digest=TEXT
        )  # fmt: skip
        for number, layer in enumerate(self.layers):
            for name, kept in layer.sets().items():
                size = self.middle_size if name == "mlp_middle" else self.hidden_size
                if kept is not None and kept.size != size:
                    raise ValueError(
                        f"PruningPlan: {name} of layer {number} indexes a space of {kept.size}, the model has {size}; make the plan anew."
                    )
        if all(layer.attention is None for layer in self.layers):
            raise ValueError("PruningPlan: no attention block is left, so no token sees another; keep at least one.")

    def digest(self) -> str:
        """sha256 over everything the plan says."""
        text = hashlib.sha256(json.dumps(self._header(), sort_keys=True).encode())
        for name, kept in self._tensors().items():
            text.update(name.encode() + kept.numpy().tobytes())
        return text.hexdigest()

    @takes(path=PATH)
    def save(self, path: str | os.PathLike) -> None:
        """Write a safetensors file: int32 indices, and one metadata key with sorted JSON (several keys would be in random order)."""
        from safetensors.torch import save

        # not save_file: safetensors 0.8 makes files that only their owner can read
        write_whole(path, save(self._tensors(), metadata={_METADATA_KEY: json.dumps(self._header(), sort_keys=True)}))

    @classmethod
    @takes(path=PATH)
    def load(cls, path: str | os.PathLike) -> "PruningPlan":
        """Read what `save` wrote.

        Raises: FileNotFoundError, or ValueError naming the file and the set that is missing or wrong.
        """
        from safetensors import SafetensorError, safe_open

        path = Path(path)
        size = check_kind(path, _NEEDED)
        if size > _MOST_BYTES:
            raise ValueError(f"{path.name} has {size:,} bytes and a plan at most {_MOST_BYTES:,}; {_NEEDED}")
        try:
            with safe_open(path, framework="pt") as file:
                text = (file.metadata() or {}).get(_METADATA_KEY, "null")
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (no iterator)
        except (SafetensorError, OSError) as error:
            raise ValueError(f"{path.name} is not a plan ({first_line(error)}); {_NEEDED}") from None
        header = json_value(text, f"the head of {path.name}", _NEEDED)
        if not isinstance(header, dict) or header.get("version") != FORMAT_VERSION:
            raise ValueError(f"{path.name} is not a plan of version {FORMAT_VERSION}; {_NEEDED}")
        try:
            return cls._from_tensors(header, tensors)
        except ValueError as error:
            raise ValueError(f"{path.name} is damaged: {error}") from None

    def state_dict(self) -> dict:
        """Plain values and tensors, for a file that holds more than a plan; `from_state_dict` reads them."""
        return {"header": self._header(), "tensors": self._tensors()}

    @classmethod
    def from_state_dict(cls, state: dict) -> "PruningPlan":
        """Raises: ValueError or KeyError if it is no plan's."""
        return cls._from_tensors(state["header"], state["tensors"])

    def _header(self) -> dict:
        return {
            "version": FORMAT_VERSION,
            "family": self.family,
            "hidden_size": self.hidden_size,
            "middle_size": self.middle_size,
            "model_digest": self.model_digest,
            "layers": [{"attention": layer.attention is not None, "mlp": layer.mlp is not None} for layer in self.layers],
        }

    def _tensors(self) -> dict:
        return {
            f"layers.{number}.{name}": kept.indices.clone()  # equal sets may be one tensor, which safetensors refuses
            for number, layer in enumerate(self.layers)
            for name, kept in layer.sets().items()
            if kept is not None
        }

    @classmethod
    def _from_tensors(cls, header: dict, tensors: dict) -> "PruningPlan":
        _check_header(header)
        hidden, middle = header["hidden_size"], header["middle_size"]

        def take(number: int, name: str, size: int) -> IndexSet:
            key = f"layers.{number}.{name}"
            if key not in tensors:
                raise ValueError(f"{key} is missing; copy the whole file again.")
            try:
                return IndexSet(tensors[key], size)
            except (TypeError, ValueError) as error:
                raise ValueError(f"{key}: {error}") from None

        layers = []
        for number, has in enumerate(header["layers"]):
            attention = AttentionPlan(*(take(number, f"attention_{n}", hidden) for n in ("input", "output"))) if has["attention"] else None
            mlp = (
                MLPPlan(take(number, "mlp_input", hidden), take(number, "mlp_middle", middle), take(number, "mlp_output", hidden))
                if has["mlp"]
                else None
            )
            layers.append(LayerPlan(attention, mlp))
        plan = cls(header["family"], hidden, middle, tuple(layers), header["model_digest"])
        if more := sorted(tensors.keys() - plan._tensors().keys()):
            raise ValueError(f"{short(more[0])} belongs to no block that the plan keeps; copy the whole file again.")
        return plan


def _check_header(header: dict) -> None:
    """Refuse a header with a value of another type than `_header` writes."""
    for name, is_right, needed in (
        ("family", lambda value: isinstance(value, str), "the type of a model"),
        ("model_digest", lambda value: isinstance(value, str), "a digest"),
        ("hidden_size", _is_size, "a whole number of at least 1"),
        ("middle_size", _is_size, "a whole number of at least 1"),
        ("layers", lambda value: isinstance(value, list) and all(map(_is_layer, value)), "a list that says of each layer what it keeps"),
    ):
        if not is_right(header.get(name)):
            raise ValueError(f"{name} is {short(header.get(name))}, it must be {needed}; copy the whole file again.")


def _is_size(value) -> bool:
    return type(value) is int and 0 < value < 1 << 31  # an index is int32


def _is_layer(value) -> bool:
    return isinstance(value, dict) and all(type(value.get(block)) is bool for block in ("attention", "mlp"))
