"""Generation with toolkens for lm-eval: the model `pydisp` with toolkens=DIR calls tools while it generates.

Log-likelihoods stay the plain model's: toolkens change what is generated only. The worker process of the tools ends with this one.
"""

import weakref
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor, nn


class ToolkenGeneration:
    """One folder of toolkens beside a model.

    Args:
        folder: toolkens of this model (`pydisp toolken train`). mode: one of `pydisp.toolken.decisions.MODES`.
    Raises: ValueError for a mode that is not known and for toolkens of another model or tokenizer.
    """

    def __init__(self, model: "nn.Module", tokenizer, folder: str, mode: str = "calibrated"):
        from pydisp.modeling.cached_model import CachedModel
        from pydisp.toolken import Caller, Policy, Toolkens
        from pydisp.toolken.decoding.tool_mode import ArgumentWriter

        Policy(mode)  # refuses unknown ones
        self.model, self.tokenizer, self.mode = model, tokenizer, mode
        self.toolkens = Toolkens.load(folder)
        self.toolkens.check(model, tokenizer)
        self.caller = Caller(self.toolkens.tools).__enter__()
        weakref.finalize(self, self.caller.__exit__, None, None, None)
        self.writer = ArgumentWriter(CachedModel(model), tokenizer, self.toolkens.tools)
        self.counts: dict[str, int] = {}

    def __call__(self, context: "Tensor", attention_mask: "Tensor", stop: Sequence[str], **arguments) -> "Tensor":
        """(B, L) ids of the prompts as given and what was generated behind them.

        Args:
            context: (B, T) ids, padded at their beginning. stop: texts that end a row, each row for itself.
            arguments: of `model.generate`, `max_length` among them.
        """
        import torch

        from pydisp.evaluation import positions
        from pydisp.toolken import generate

        ids, mask, added = self._with_bos(context, attention_mask)
        arguments["max_length"] = min(arguments["max_length"] + added, positions(self.model.config) or 1 << 30)
        made = generate(
            self.model, self.tokenizer, self.toolkens, {"input_ids": ids, "attention_mask": mask}, mode=self.mode, caller=self.caller,
            writer=self.writer, is_checked=True, stop_strings=list(stop), **arguments,
        )  # fmt: skip
        for trace in made.traces:
            for outcome, count in trace.counts.items():
                self.counts[outcome] = self.counts.get(outcome, 0) + count
        return torch.cat([context, made.sequences[:, ids.shape[1] :]], 1)

    def _with_bos(self, ids: "Tensor", mask: "Tensor") -> tuple["Tensor", "Tensor", int]:
        """The prompts with the beginning-of-text token of which training's have one (lm-eval leaves it out), and how many columns that took."""
        import torch

        bos = self.tokenizer.bos_token_id
        if bos is None:
            return ids, mask, 0
        first = mask.long().argmax(1, keepdim=True)
        lacks = ids.gather(1, first)[:, 0] != bos
        if not lacks.any():
            return ids, mask, 0
        ids, mask = torch.cat([ids[:, :1], ids], 1), torch.cat([torch.zeros_like(mask[:, :1]), mask], 1)
        rows = lacks.nonzero()[:, 0]  # the column before a text's first token is now the one that `first` names
        ids[rows, first[rows, 0]], mask[rows, first[rows, 0]] = bos, 1
        return ids, mask, 1
