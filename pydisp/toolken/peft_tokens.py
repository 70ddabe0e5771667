"""Toolkens as PEFT trainable tokens: rows as new tokens `<tool:NAME>` behind the vocabulary, for programs that know PEFT and not pydisp.

    export_peft(toolkens, model, tokenizer, "DIR")

    tokenizer = AutoTokenizer.from_pretrained("DIR")
    base.resize_token_embeddings(max(base.get_output_embeddings().out_features, len(tokenizer)))
    model = PeftModel.from_pretrained(base, "DIR")        # logits of words and tools as with ToolkenHead

    toolkens = import_peft("DIR")

PEFT carries the first rows only. The second rows, documentation, calibration and digests travel in pydisp's own two files beside it. In a tied model the
rows are those of the input matrix too, so there a tool token could also be read; pydisp never feeds one. A model in half precision rounds the rows.
"""

import copy
import os
from dataclasses import replace
from pathlib import Path

from torch import nn

from pydisp.arguments import PATH, TOKENIZER, instance_of, takes
from pydisp.distribution import install_command
from pydisp.given_file import read_bytes, read_text
from pydisp.given_value import first_line, json_value
from pydisp.toolken.head import head_of
from pydisp.toolken.toolkens import Toolkens, ToolkensError
from pydisp.workspace import write_whole

ADAPTER_FILE, CONFIG_FILE = "adapter_model.safetensors", "adapter_config.json"
_DELTA = "trainable_tokens_delta"
_COPY = "copy the folder again."
_MOST_ROWS_BYTES, _MOST_CONFIG_BYTES = 1 << 30, 1 << 24


def token_names(toolkens: Toolkens) -> list[str]:
    """The texts of the tokens, in the order of the rows."""
    return [f"<tool:{name}>" for name in toolkens.tools.names]


@takes(
    toolkens=instance_of(Toolkens, "give Toolkens, such as Toolkens.load(DIR) returns"),
    model=instance_of(nn.Module, "give the transformers model of the toolkens"),
    tokenizer=TOKENIZER,
    folder=PATH,
)
def export_peft(toolkens: Toolkens, model: nn.Module, tokenizer, folder: str | os.PathLike) -> None:
    """Write an adapter, a tokenizer with the new tokens, and the toolkens themselves into a folder.

    Args:
        model: that of the toolkens, without adapters; not changed, and not written. tokenizer: its tokenizer; not changed.
    Raises: ToolkensError for another model, for a head with a bias or of another class than nn.Linear, and for a tokenizer that would give the
        tokens other ids, all before anything is written; ImportError without peft.
    """
    try:
        from peft import TrainableTokensConfig
    except ImportError:
        raise ImportError(f"writing PEFT tokens needs peft; {install_command('peft')}") from None
    from safetensors.torch import save

    toolkens.check(model, tokenizer)
    head, embeddings = head_of(model), model.get_input_embeddings()
    if type(head) is not nn.Linear or head.bias is not None:
        raise ToolkensError(
            f"the head of this model is a {type(head).__name__} {'with' if getattr(head, 'bias', None) is not None else 'without'} a bias; "
            "PEFT's trainable tokens know an nn.Linear without one: keep the toolkens as they are."
        )
    is_tied = head.weight is embeddings.weight
    module = _name_of(model, embeddings if is_tied else head)
    indices = list(range(toolkens.vocabulary, toolkens.vocabulary + len(toolkens.tools)))
    extended = _extended(tokenizer, toolkens, indices)
    folder = Path(folder)
    toolkens.save(folder)
    extended.save_pretrained(folder)
    config = TrainableTokensConfig(
        token_indices=indices, target_modules=[module], task_type="CAUSAL_LM", inference_mode=True,
        base_model_name_or_path=getattr(model.config, "_name_or_path", "") or None,
    )  # fmt: skip
    config.save_pretrained(folder)
    write_whole(folder / ADAPTER_FILE, save({f"base_model.model.{module}.{_DELTA}": toolkens.rows.cpu().contiguous()}, {"format": "pt"}))


@takes(folder=PATH)
def import_peft(folder: str | os.PathLike) -> Toolkens:
    """The toolkens of a folder that `export_peft` wrote, with the rows of the adapter, which PEFT may have trained further.

    Rows that were trained further keep the second rows and the calibration of the old ones; the facts of the training then say so.
    Raises: FileNotFoundError, or ToolkensError for another adapter or one without pydisp's files.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load

    folder = Path(folder)
    toolkens = Toolkens.load(folder)
    for name in (ADAPTER_FILE, CONFIG_FILE):
        if not (folder / name).is_file():
            raise FileNotFoundError(f"there is no {name} in {folder}; give a folder that `export_peft` wrote.")
    try:
        text = read_text(folder / CONFIG_FILE, _COPY, most_bytes=_MOST_CONFIG_BYTES)
        config = json_value(text, f"{CONFIG_FILE} in {folder}", _COPY, strictly=True)
        tensors = load(read_bytes(folder / ADAPTER_FILE, _COPY, most_bytes=_MOST_ROWS_BYTES))
    except (OSError, ValueError) as error:
        raise ToolkensError(str(error)) from None
    except SafetensorError as error:
        raise ToolkensError(f"{ADAPTER_FILE} in {folder} is damaged ({first_line(error)}); {_COPY}") from None
    config = config if isinstance(config, dict) else {}
    indices = list(range(toolkens.vocabulary, toolkens.vocabulary + len(toolkens.tools)))
    deltas = [rows for name, rows in tensors.items() if name.endswith(_DELTA)]
    if config.get("peft_type") != "TRAINABLE_TOKENS" or config.get("token_indices") != indices or len(deltas) != 1:
        raise ToolkensError(
            f"the adapter in {folder} is no set of {len(indices)} trainable tokens from {indices[0]} on; give a folder that `export_peft` wrote."
        )
    rows = deltas[0].float()
    if rows.equal(toolkens.rows):
        return toolkens
    note = "the first rows were trained further by PEFT, the second rows and the calibration were not: train or calibrate anew before trusting them."
    return replace(toolkens, rows=rows).with_facts(note=note)


def _extended(tokenizer, toolkens: Toolkens, indices: list[int]):
    """A copy of the tokenizer with the new tokens at these ids."""
    extended = copy.deepcopy(tokenizer)
    names = token_names(toolkens)
    extended.add_tokens(names, special_tokens=True)
    found = extended.convert_tokens_to_ids(names)
    if found != indices:
        raise ToolkensError(
            f"this tokenizer gives new tokens the ids {found[0]} to {found[-1]}, the toolkens are {indices[0]} to {indices[-1]}; "
            "its ids have gaps, so that PEFT cannot hold them: keep the toolkens as they are."
        )
    return extended


def _name_of(model: nn.Module, module: nn.Module) -> str:
    return next(name for name, other in model.named_modules() if other is module)
