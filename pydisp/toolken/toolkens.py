"""Toolkens: the trained rows of a set of tools for one model, with all that is needed to use them; saved as two files.

    toolkens = Toolkens.load("DIR")
    toolkens.check(model, tokenizer)            # refuses another model
    with ToolkenHead(model, toolkens.rows, toolkens.vocabulary): ...

`toolkens.safetensors` holds the rows, `toolkens.json` the tools (names, signatures, documentation, examples), digests of the base model and
the tokenizer, the calibration, and facts of the training. A folder with only one of them, or with two that do not belong together, is refused.
"""

# T tools, D hidden

import hashlib
import json
import logging
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from types import MappingProxyType

import torch
from torch import Tensor, nn

from pydisp.arguments import PATH, TEXT, TOKENIZER, Kind, check, check_fields, instance_of, optional, takes, whole
from pydisp.given_file import read_bytes, read_text
from pydisp.given_value import first_line, json_value, short
from pydisp.subject import tokenizer_digest
from pydisp.toolken.decisions import Policy
from pydisp.toolken.head import real_vocabulary
from pydisp.toolken.model_digest import model_digest
from pydisp.toolken.tools.tool import REJECT, Tool, ToolError
from pydisp.toolken.tools.tools import Tools
from pydisp.workspace import write_whole

ROWS_FILE, FACTS_FILE = "toolkens.safetensors", "toolkens.json"
FORMAT = "pydisp-toolkens-1"
DEFAULT_CALIBRATION = MappingProxyType({"temperature": 1.0, "threshold": 0.5, "k": 3})
_COPY = "copy both files again."
_MOST_ROWS_BYTES, _MOST_FACTS_BYTES = 1 << 31, 1 << 26  # 30,000 tools of a model with hidden size 8,192
_SHOWN = 5  # names of tools in the representation
# What tokenizers of one vocabulary may read differently: spaces, line ends, numbers, capitals, accents in both forms, other scripts.
_TEXTS = (
    "Question: What is 12.5 times 7?\nAnswer: 87.5 and $1,000", "  two spaces,\ttabs\n\n(x=-3e10)", " 2024-05-03 don't DON'T",
    "Straße é e\u0301 ﬁ 東京 \U0001f600",
)  # fmt: skip


def _mapping(*keys: str) -> Kind:
    words = f"give a mapping with {', '.join(keys)}" if keys else "give a mapping"
    return Kind(words, lambda value: isinstance(value, Mapping) and set(keys) <= value.keys(), error=TypeError)


logger = logging.getLogger("pydisp")


class ToolkensError(ValueError):
    """Toolkens that cannot be read, or not be used with this model; the message is one sentence."""


@dataclass(frozen=True, eq=False, repr=False)
class Toolkens:
    """Rows for T tools.

    Args:
        tools: in the order of the rows.
        rows: (T, D) float32, the first scores: logits beside those of the words. rerank_rows: (T + 1, D) float32, the second scores, REJ last.
        vocabulary: V, the first id of a tool.
        base: of the model: `name`, `digest` (`model_digest`) and `hidden_size`. tokenizer_digest: of `pydisp.subject`.
        calibration: `temperature`, `threshold` and `k`, chosen on validation problems; `documentation_tokens`, the room of each tool's
            documentation in training; further plain values are kept.
        training: facts for people, plain values; of these `trained_on` is read again.
        encoding_digest: of `encoding_digest`, how the tokenizer reads some texts; None is not checked.
    Raises: ToolkensError for shapes that do not belong together, and for rows that are not finite.
    """

    tools: Tools
    rows: Tensor
    rerank_rows: Tensor
    vocabulary: int
    base: Mapping
    tokenizer_digest: str
    calibration: Mapping = field(default_factory=lambda: dict(DEFAULT_CALIBRATION))
    training: Mapping = field(default_factory=dict)
    encoding_digest: str | None = None

    def __post_init__(self):
        check_fields(
            self, tools=instance_of(Tools, "give Tools"), **dict.fromkeys(("rows", "rerank_rows"), instance_of(Tensor, "give a tensor")),
            vocabulary=whole(1), base=_mapping("name", "digest", "hidden_size"), calibration=_mapping(*DEFAULT_CALIBRATION), training=_mapping(),
            **dict.fromkeys(("tokenizer_digest", "encoding_digest"), optional(TEXT)),
        )  # fmt: skip
        tools, hidden_size = len(self.tools), self.base["hidden_size"]
        for name, rows, count in (("rows", self.rows, tools), ("rerank_rows", self.rerank_rows, tools + 1)):
            if rows.shape != (count, hidden_size) or rows.dtype != torch.float32:
                raise ToolkensError(
                    f"{name} are {rows.dtype} of shape {tuple(rows.shape)}; {tools} tools of a model with hidden size {hidden_size} need "
                    f"float32 of shape {(count, hidden_size)}."
                )
            if not bool(torch.isfinite(rows).all()):
                raise ToolkensError(f"{name} hold numbers that are not finite, which no score can be made of; train them anew.")

    def __repr__(self) -> str:
        """`Toolkens(2 tools: multiply, add; for SmolLM2, hidden size 576, k 2)`."""
        count, names = len(self.tools), ", ".join(self.tools.names[:_SHOWN]) + ", ..." * (len(self.tools) > _SHOWN)
        of = f"{self.base['name']}, hidden size {self.base['hidden_size']}, k {self.k}"
        return f"Toolkens({count} tool{'s' * (count > 1)}: {names}; for {of})"

    @property
    def k(self) -> int:
        """How many tools are reranked."""
        return self.calibration["k"]

    @property
    def trained_on(self) -> frozenset[str]:
        """`Problem.digests` of all problems that were trained or validated on, those of merged sets too."""
        return _trained_on(self.training)

    @property
    def digest(self) -> str:
        """Of what decides: both kinds of rows, the tools and the calibration."""
        content = hashlib.sha256(json.dumps([self.tools.digest, dict(self.calibration)], sort_keys=True).encode())
        for rows in (self.rows, self.rerank_rows):
            content.update(rows.cpu().contiguous().numpy().tobytes())
        return content.hexdigest()[:16]

    @takes(k=optional(whole(1)))
    def policy(self, mode: str = "calibrated", k: int | None = None) -> Policy:
        """The policy of a mode at this calibration. A k other than that of the training is warned of once: nothing was chosen for it.

        Raises: ValueError for an unknown mode, ToolkensError for a k above the number of tools.
        """
        k = self.k if k is None else k
        if k > len(self.tools):
            raise ToolkensError(f"k is {k}, but there are {len(self.tools)} tools; choose a k of 1 to {len(self.tools)}.")
        policy = Policy(mode, k, self.calibration["temperature"], self.calibration["threshold"])
        if k != self.k and policy.reads_documentation:
            _warn_of_k(k, self.k)
        return policy

    @takes(model=instance_of(nn.Module, "give a transformers causal language model"), tokenizer=TOKENIZER)
    def check(self, model: nn.Module, tokenizer) -> None:
        """Refuse a model or a tokenizer that these were not made for.

        Raises: ToolkensError.
        """
        digest, vocabulary = model_digest(model), real_vocabulary(tokenizer, model)
        name = getattr(model.config, "_name_or_path", "") or type(model).__name__
        if digest != self.base["digest"]:
            raise ToolkensError(
                f"the toolkens were made for {self.base['name']} (digest {self.base['digest']}, hidden size {self.base['hidden_size']}), this "
                f"model is {name} (digest {digest}); load the model they were made for, or train new ones for this one."
            )
        if tokenizer_digest(tokenizer) != self.tokenizer_digest or vocabulary != self.vocabulary:
            raise ToolkensError(
                f"the toolkens were made with a tokenizer of {self.vocabulary} tokens (digest {self.tokenizer_digest}), this one has "
                f"{vocabulary} (digest {tokenizer_digest(tokenizer)}); load the tokenizer of {self.base['name']}, or train new ones."
            )
        if self.encoding_digest not in (None, encodings := encoding_digest(tokenizer)):
            raise ToolkensError(
                f"the toolkens were made with a tokenizer that reads texts otherwise (digest {self.encoding_digest}) than this one of the same "
                f"tokens (digest {encodings}); load the tokenizer of {self.base['name']}, or train new ones."
            )

    def with_facts(self, **facts) -> "Toolkens":
        """The same with more facts of the training, plain values."""
        return replace(self, training={**self.training, **facts})

    @takes(name=TEXT)
    def without(self, name: str) -> "Toolkens":
        """The others; the calibration stays, but k is at most their number.

        Raises: ToolError for a tool that is not there, or the only one.
        """
        place = self.tools.index(name)
        if len(self.tools) == 1:
            raise ToolError(f"{name!r} is the only tool, and a set of toolkens needs one; merge another set first, or delete the folder.")
        tools = self.tools.without(name)
        first, second = (torch.cat([rows[:place], rows[place + 1 :]]) for rows in (self.rows, self.rerank_rows))
        removed = [*self.training.get("removed", ()), name]
        return replace(
            self, tools=tools, rows=first, rerank_rows=second, training={**self.training, "removed": removed},
            calibration={**self.calibration, "k": min(self.k, len(tools))},
        )  # fmt: skip

    def merged(self, other: "Toolkens") -> "Toolkens":
        """These tools, then the others'. REJ gets the mean of both rows. The calibration is the default one, because neither was chosen for
        the tools together; the facts of the training say so.

        Raises: ToolkensError for toolkens of another model or tokenizer, ToolError if both have a tool of one name.
        """
        check("other", other, instance_of(Toolkens, "give Toolkens"))
        mine, others = ((one.base["digest"], one.tokenizer_digest, one.vocabulary, one.encoding_digest) for one in (self, other))
        if mine != others:
            raise ToolkensError(
                f"these toolkens were made for {self.base['name']} (digest {mine[0]}), the others for {other.base['name']} (digest {others[0]})"
                f"{'' if mine[1:] == others[1:] else ' with another tokenizer'}; merge toolkens of one model only."
            )
        rooms = [one.calibration["documentation_tokens"] for one in (self, other) if "documentation_tokens" in one.calibration]
        room = {"documentation_tokens": max(rooms)} if rooms else {}
        reject = (self.rerank_rows[-1:] + other.rerank_rows[-1:]) / 2
        return replace(
            self,
            tools=self.tools.merged(other.tools),
            rows=torch.cat([self.rows, other.rows]),
            rerank_rows=torch.cat([self.rerank_rows[:-1], other.rerank_rows[:-1], reject]),
            calibration={**DEFAULT_CALIBRATION, "k": max(self.k, other.k), **room},
            training={
                "merged": [dict(self.training), dict(other.training)],
                "note": f"the calibration is the default one and the row of {REJECT} the mean of two: neither was chosen for the tools together.",
            },
        )

    @takes(folder=PATH)
    def save(self, folder: str | os.PathLike) -> None:
        """Write both files into a folder, which is made if need be; ToolkensError where a file stands there. The second file names the first
        by digest: a stop between leaves none."""
        from safetensors.torch import save

        folder = Path(folder)
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except (FileExistsError, NotADirectoryError):
            raise ToolkensError(f"no folder can be made at {folder}, for a file stands there or above; give another folder.") from None
        content = save({"rerank_rows": self.rerank_rows.cpu().contiguous(), "rows": self.rows.cpu().contiguous()})
        facts = {
            "format": FORMAT,
            "rows_digest": hashlib.sha256(content).hexdigest(),
            "vocabulary": self.vocabulary,
            "base": dict(self.base),
            "tokenizer_digest": self.tokenizer_digest,
            "encoding_digest": self.encoding_digest,
            "calibration": dict(self.calibration),
            "tools": [tool.as_dict() for tool in self.tools],
            "training": dict(self.training),
        }
        text = (
            json.dumps(facts, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
        )  # before writing: a value that is not plain raises here
        write_whole(folder / ROWS_FILE, content)
        write_whole(folder / FACTS_FILE, text)

    @classmethod
    @takes(folder=PATH)
    def load(cls, folder: str | os.PathLike) -> "Toolkens":
        """Read what `save` wrote.

        Raises: FileNotFoundError for what is not there; ToolkensError for a file in place of the folder, and for files that are damaged or do
            not belong together.
        """
        from safetensors import SafetensorError
        from safetensors.torch import load

        folder = Path(folder)
        if not folder.exists():
            raise FileNotFoundError(f"there is no folder {folder}; give one that `pydisp toolken train` made.")
        if not folder.is_dir():
            raise ToolkensError(f"{folder} is a file; give the folder that `pydisp toolken train` made.")
        for name in (ROWS_FILE, FACTS_FILE):
            if not (folder / name).is_file():
                raise FileNotFoundError(f"there is no {name} in {folder}; give a folder that `pydisp toolken train` made.")
        try:
            content = read_bytes(folder / ROWS_FILE, _COPY, most_bytes=_MOST_ROWS_BYTES)
            text = read_text(folder / FACTS_FILE, _COPY, most_bytes=_MOST_FACTS_BYTES)
            facts = json_value(text, f"{FACTS_FILE} in {folder}", _COPY, strictly=True)
        except (OSError, ValueError) as error:
            raise ToolkensError(str(error)) from None
        try:
            if facts["format"] != FORMAT:
                raise ToolkensError(f"{folder / FACTS_FILE} is of format {short(facts['format'])}, not {FORMAT}; train the toolkens anew.")
            if hashlib.sha256(content).hexdigest() != facts["rows_digest"]:
                raise ToolkensError(f"{ROWS_FILE} and {FACTS_FILE} in {folder} do not belong together; copy both again.")
            tensors = load(content)
            _check_facts(facts, f"{FACTS_FILE} in {folder}")
            return cls(
                Tools(Tool.from_dict(tool) for tool in facts["tools"]), tensors["rows"], tensors["rerank_rows"], facts["vocabulary"],
                facts["base"], facts["tokenizer_digest"], facts["calibration"], facts["training"],
                facts.get("encoding_digest"),
            )  # fmt: skip
        except (ToolkensError, ToolError):
            raise
        except (ValueError, KeyError, TypeError, SafetensorError) as error:
            raise ToolkensError(f"the toolkens in {folder} are damaged ({type(error).__name__}: {first_line(error)}); {_COPY}") from None


def _check_facts(facts: Mapping, place: str) -> None:
    """Refuse values that no training wrote, which would otherwise be told late, or decide.

    Raises: ToolkensError.
    """
    count, whole, number = len(facts["tools"] or ()), "a whole number", "a number"
    calibration = facts["calibration"] if isinstance(facts["calibration"], dict) else {}
    base = facts["base"] if isinstance(facts["base"], dict) else {}
    for name, value, is_right, needed in (
        ("calibration", facts["calibration"], lambda value: isinstance(value, dict), "an object with temperature, threshold and k"),
        ("base", facts["base"], lambda value: isinstance(value, dict), "an object with name, digest and hidden_size"),
        ("tools", facts["tools"], lambda value: isinstance(value, list), "a list"),
        ("training", facts["training"], _is_training, "an object, with texts in trained_on and removed, and trainings in merged"),
        ("vocabulary", facts["vocabulary"], lambda value: type(value) is int and value > 0, f"{whole} of 1 or more"),
        ("tokenizer_digest", facts["tokenizer_digest"], lambda value: isinstance(value, str), "a digest"),
        ("k", calibration.get("k"), lambda value: type(value) is int and 0 < value <= count, f"{whole} from 1 to {count}"),
        ("temperature", calibration.get("temperature"), lambda value: _is_number(value) and value > 0, f"{number} above 0"),
        ("threshold", calibration.get("threshold"), lambda value: _is_number(value) and value >= 0, f"{number} of 0 or more"),
        ("documentation_tokens", calibration.get("documentation_tokens", 0), lambda value: type(value) is int and value >= 0, f"{whole} of 0 or more"),
        ("name", base.get("name"), lambda value: isinstance(value, str), "the name of the model"),
        ("digest", base.get("digest"), lambda value: isinstance(value, str), "the digest of the model"),
        ("hidden_size", base.get("hidden_size"), lambda value: type(value) is int and value > 0, f"{whole} of 1 or more"),
    ):  # fmt: skip
        if not is_right(value):
            raise ToolkensError(f"{name} is {short(value)} in {place}, and it must be {needed}; {_COPY}")


def _is_number(value) -> bool:
    return type(value) in (int, float) and math.isfinite(value)


def _is_training(value) -> bool:
    """Whether `trained_on`, `removed`, `merged` and the seed are what is read of them."""
    if not isinstance(value, dict) or not isinstance(value.get("settings", {}), dict):
        return False
    seed, merged = value.get("settings", {}).get("seed", 0), value.get("merged", [])
    texts = (value.get(name, []) for name in ("trained_on", "removed"))
    return (
        type(seed) is int
        and all(isinstance(one, list) and all(isinstance(text, str) for text in one) for one in texts)
        and isinstance(merged, list)
        and all(map(_is_training, merged))
    )


def encoding_digest(tokenizer) -> str:
    """16 hexadecimal digits of how a tokenizer reads a few texts, and of its bos token: a digest of the vocabulary knows neither."""
    read = [tokenizer(text, add_special_tokens=False)["input_ids"] for text in _TEXTS]
    return hashlib.sha256(json.dumps([tokenizer.bos_token_id, read]).encode()).hexdigest()[:16]


def _trained_on(training: Mapping) -> frozenset[str]:
    merged = (_trained_on(one) for one in training.get("merged", ()))
    return frozenset(training.get("trained_on", ())).union(*merged)


@cache
def _warn_of_k(k: int, trained: int) -> None:
    logger.warning(
        f"k is {k}, but the toolkens were trained and calibrated with {trained}; temperature and threshold were not chosen for {k}."
    )
