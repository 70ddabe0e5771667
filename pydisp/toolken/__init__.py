"""Toolken+: tools as trained embeddings of a frozen model, reranked by their documentation, with the choice to call none.

    toolkens = train_to_folder("SMOLLM2", "toolkens")                    # or train(model, BUILTIN, problems, tokenizer=tokenizer)
    generate(model, tokenizer, toolkens, ["Question: What is 1234 times 56?\\nAnswer:"], max_new_tokens=16).texts
    evaluate_to_folder("SMOLLM2", ["toolkens"], "report", data="builtin:b").in_words()

Folders: `tools`: what can be called, and how a call runs without harm · `problems`: texts that need tools, and such that do not · `training`: rows from
cached hidden states · `decoding`: texts with calls · `evaluating`: modes against each other, the report · `tasks`: lm-eval
Files: `decisions`: what to do at one position · `head`: logits of tools beside a model's head · `toolkens`, `model_digest`, `peft_tokens`: rows as files · `documentation`: what is
read before reranking · `calibration_measures` · `training_run`, `evaluation_run`, `asking`: the journeys of the commands

Source: Toolken+ (https://arxiv.org/abs/2410.12004) on ToolkenGPT (https://arxiv.org/abs/2305.11554); no official code of Toolken+ is public.
"""

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # for type checkers and editors: what __getattr__ below gives
    from pydisp.toolken.asking import ask as ask
    from pydisp.toolken.decisions import Policy as Policy
    from pydisp.toolken.decoding.generating import generate as generate
    from pydisp.toolken.evaluation_run import evaluate_to_folder as evaluate_to_folder
    from pydisp.toolken.head import ToolkenHead as ToolkenHead
    from pydisp.toolken.toolkens import Toolkens as Toolkens
    from pydisp.toolken.tools.builtin import BUILTIN as BUILTIN
    from pydisp.toolken.tools.calling import Caller as Caller
    from pydisp.toolken.tools.definition import tool as tool
    from pydisp.toolken.tools.tool import Tool as Tool
    from pydisp.toolken.tools.tools import Tools as Tools
    from pydisp.toolken.training.training import TrainSettings as TrainSettings
    from pydisp.toolken.training.training import train as train
    from pydisp.toolken.training_run import train_to_folder as train_to_folder

# Looked up when used: the worker processes of the tools import this package, and must not load torch.
_LAZY = {
    "ask": "asking",
    "Policy": "decisions",
    "generate": "decoding.generating",
    "evaluate_to_folder": "evaluation_run",
    "ToolkenHead": "head",
    "Toolkens": "toolkens",
    "BUILTIN": "tools.builtin",
    "Caller": "tools.calling",
    "tool": "tools.definition",
    "Tool": "tools.tool",
    "Tools": "tools.tools",
    "TrainSettings": "training.training",
    "train": "training.training",
    "train_to_folder": "training_run",
}
__all__ = list(_LAZY)


if not TYPE_CHECKING:

    def __getattr__(name: str):
        if name not in _LAZY:
            raise AttributeError(f"module 'pydisp.toolken' has no attribute {name!r}; it has {', '.join(sorted(_LAZY))}.")
        return getattr(importlib.import_module(f"pydisp.toolken.{_LAZY[name]}"), name)


def __dir__():
    return sorted([*globals(), *_LAZY])
