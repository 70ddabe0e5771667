"""ToolkenHead: T more logits beside a model's head, from rows of their own; the model itself stays as it is.

    with ToolkenHead(model, rows, vocabulary) as head:
        logits = model(ids).logits            # [V words | T tools | padding of the head]
        head.last_input                       # what the head read: (B, T, D)

A forward hook adds the columns to the output of `model.get_output_embeddings()`. So `head.weight`, tied matrices, `state_dict`, saving,
adapters, quantized and offloaded heads are untouched, and what a model does to its logits after the head (a softcap, a scale) it does to
those of the tools too. Taking the columns V .. V + T - 1 out leaves the plain logits, bit by bit.

Source: ToolkenGPT, https://arxiv.org/abs/2305.11554, section 3.1: the next token from softmax([W_V; W_T] h). That paper appends rows to the
matrix itself, which would break tied and padded ones.
"""

# B batch, L tokens that the head reads, D hidden, V words, T tools

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

from pydisp.arguments import instance_of, takes, whole


class HeadHook:
    """Something that watches the head of a model while it is attached; a context manager.

    Raises: ValueError for a model without output embeddings.
    """

    def __init__(self, model: nn.Module):
        self.module = head_of(model)
        self._handle = None

    def attach(self):
        """Begin; returns itself. Attaching twice is attaching once."""
        if self._handle is None:
            self._handle = self.module.register_forward_hook(self._called)
        return self

    def detach(self) -> None:
        """End; the model is as before."""
        if self._handle is not None:
            self._handle.remove()
            self._handle = None

    def __enter__(self):
        return self.attach()

    def __exit__(self, *_error) -> None:
        self.detach()

    def _called(self, module: nn.Module, inputs: tuple, output: Tensor) -> Tensor | None:
        raise NotImplementedError


class HeadInput(HeadHook):
    """Records what the head reads and writes: `hidden` (B, L, D) and `output` (B, L, V or wider), of the last forward, detached."""

    def __init__(self, model: nn.Module):
        super().__init__(model)
        self.hidden: Tensor | None = None
        self.output: Tensor | None = None

    def detach(self) -> None:
        super().detach()
        self.hidden = self.output = None  # a head's output may be large

    def _called(self, module, inputs, output):
        self.hidden, self.output = inputs[0].detach(), output.detach()


class ToolkenHead(HeadHook):
    """The logits of T tools at columns V .. V + T - 1.

    Args:
        model: a transformers causal language model.
        rows: (T, D) float32; may require a gradient, which then flows to them.
        vocabulary: V, see `real_vocabulary`; columns of the head from there on are padding and move behind the tools.
    Raises: ValueError for a model without output embeddings, rows of another width than the head reads, and a V above the head's rows:
        at once where the head tells its sizes, else at the first forward. RuntimeError from `attach` for a second one on one model.

    The products are taken in float32 (float64 for a float64 model), then rounded to the dtype of the head's output. While it is attached
    the model cannot compute a loss from `labels`, for it takes the width of its logits from the config.
    """

    @takes(rows=instance_of(Tensor, "give a tensor of (tools, hidden size)"), vocabulary=whole(1))
    def __init__(self, model: nn.Module, rows: Tensor, vocabulary: int):
        super().__init__(model)
        if rows.dim() != 2 or not rows.is_floating_point():
            raise ValueError(
                f"toolken rows are {rows.dtype} of shape {tuple(rows.shape)}; they must be floats of shape (tools, hidden size)."
            )
        self.rows, self.vocabulary = rows, vocabulary
        self._input: Tensor | None = None
        self._check(getattr(self.module, "in_features", None), getattr(self.module, "out_features", None))

    def attach(self) -> "ToolkenHead":
        for hook in self.module._forward_hooks.values():
            other = getattr(hook, "__self__", None)
            if isinstance(other, ToolkenHead) and other is not self:
                raise RuntimeError(
                    "the model has a ToolkenHead already, with other tools; detach it first, or merge both sets of toolkens."
                )
        return super().attach()

    def detach(self) -> None:
        super().detach()
        self._input = None

    @property
    def last_input(self) -> Tensor:
        """(B, L, D) what the head read last, in the model's dtype, detached.

        Raises: RuntimeError if it has read nothing since it was attached, as where a model computes its logits past its head.
        """
        if self._input is None:
            raise RuntimeError("the model's head has read nothing since the ToolkenHead was attached; run a forward of the model first.")
        return self._input

    def _called(self, module, inputs, output):
        hidden = inputs[0]
        self._check(hidden.shape[-1], output.shape[-1])
        self._input = hidden.detach()
        if self.rows.device != hidden.device:
            self.rows = self.rows.to(hidden.device)  # once, not at each step
        dtype = torch.promote_types(self.rows.dtype, hidden.dtype)
        tools = linear(hidden.to(dtype), self.rows.to(dtype)).to(output)
        return torch.cat([output[..., : self.vocabulary], tools, output[..., self.vocabulary :]], -1)

    def _check(self, hidden_size: int | None, head_rows: int | None) -> None:
        if hidden_size is not None and hidden_size != self.rows.shape[1]:
            raise ValueError(
                f"the toolken rows are {self.rows.shape[1]} wide, the model's head reads {hidden_size} values; "
                "use toolkens that were trained for this model."
            )
        if head_rows is not None and not 0 < self.vocabulary <= head_rows:
            raise ValueError(
                f"the vocabulary is {self.vocabulary}, the model's head has {head_rows} rows; give what `real_vocabulary` says."
            )


def head_of(model: nn.Module) -> nn.Module:
    """The module that makes logits of hidden states.

    Raises: ValueError for a model without one.
    """
    find = getattr(model, "get_output_embeddings", None)
    head = find() if find is not None else None
    if head is None:
        raise ValueError(f"{type(model).__name__} has no output embeddings; load the model with AutoModelForCausalLM.")
    return head


def real_vocabulary(tokenizer, model: nn.Module) -> int:
    """V: one more than the largest id of the tokenizer, at most the rows of the model's head, which may be padded wider."""
    ids = max(tokenizer.get_vocab().values()) + 1
    head = head_of(model)
    rows = getattr(head, "out_features", None)  # first: the weight of a quantized head has a packed shape
    rows = rows or (head.weight.shape[0] if getattr(head, "weight", None) is not None else None)
    return ids if rows is None else min(ids, rows)
