"""Choosing: at which texts of a batch a tool is on top, and whether it is called, by the definitions in `pydisp.toolken.decisions`.

The second scores read the documentation of the best tools behind the text. What was read of the text is forked for it: a fork shares the
keys and values and costs nothing but what is read on; the text's own cache stays untouched. Cropping the cache afterwards would be
wrong where windows slide, for a sliding cache has dropped what a longer text pushed out of the window.
"""

# N texts at which a tool is on top, V words, T tools, k candidates, D hidden

from collections.abc import Callable

import torch
from torch import Tensor

from pydisp.modeling.cached_model import CachedModel, Past
from pydisp.toolken.decisions import Choice, Policy, candidates, choice, fires
from pydisp.toolken.documentation import Documentation, DocumentationError
from pydisp.toolken.head import ToolkenHead

_UNLIMITED = 1 << 30  # tokens, for a model without a limit of positions


class Chooser:
    """Decisions of one policy for one model.

    Args:
        head: attached. rerank_rows: (T + 1, D), REJ last.
        documentation: read where the policy does. positions: the longest text that the model reads, in tokens; None without a limit.
    Raises: DocumentationError if the documentation of k tools is longer than the whole context.
    """

    def __init__(
        self,
        policy: Policy,
        reader: CachedModel,
        head: ToolkenHead,
        rerank_rows: Tensor,
        documentation: Documentation | None,
        positions: int | None,
    ):
        self.policy, self.reader, self.head, self.documentation = policy, reader, head, documentation
        self.rerank_rows = rerank_rows.to(reader.device)
        self.positions = positions or _UNLIMITED
        self.vocabulary, self.count = head.vocabulary, len(head.rows)
        if policy.reads_documentation:
            self._check_room(max(len(tool.signature) for tool in documentation.tools))

    def _check_room(self, longest: int) -> None:
        """Raise before anything is written; `longest` are the characters of the longest signature."""
        if self.policy.k * longest < self.positions // 4:
            return  # without reading all tools, which takes a moment for many
        least = self.documentation.least(self.policy.k)
        if least >= self.positions:
            raise DocumentationError(
                f"the documentation of {self.policy.k} tools has {least} tokens even without its sentences, and the model reads "
                f"{self.positions} with the text; rerank fewer tools, or take a model that reads longer texts."
            )

    def words(self, logits: Tensor) -> Tensor:
        """The plain model's logits, from those with T more columns at V."""
        return torch.cat([logits[:, : self.vocabulary], logits[:, self.vocabulary + self.count :]], -1)

    def fired(self, logits: Tensor) -> Tensor:
        """(B,) bool: whether a tool is on top, from the raw logits (B, V + T + padding) before any processor."""
        return fires(logits[:, : self.vocabulary], self.tool_logits(logits))

    def choices(self, logits: Tensor, rows: list[int], past: Callable[[], Past]) -> list[tuple[Choice, str | None]]:
        """What becomes of the texts at which a tool is on top.

        Args:
            logits: (B, V + T + padding). rows: N places in the batch. past: gives what was read of the whole batch.
        Returns: for each of the N its choice, and a sentence if it was rejected because no documentation fitted behind the text.
        """
        tools = self.tool_logits(logits)[rows].float()  # (N, T)
        places = candidates(tools, self.policy.k)  # (N, k)
        if not self.policy.reads_documentation:
            return [(choice(self.policy, one, place, None), None) for one, place in zip(tools, places, strict=True)]
        read = past()
        texts, errors = [], {}
        for row, place in zip(rows, places.tolist(), strict=True):
            try:
                texts.append(self.documentation.ids(place, self.positions - read.lengths[row]))
            except DocumentationError as error:
                errors[row] = str(error)
        fitting = [row for row in rows if row not in errors]
        second = dict(zip(fitting, self._second(read, fitting, texts), strict=True)) if fitting else {}
        found = []
        for row, one, place in zip(rows, tools, places, strict=True):
            if row in errors:
                share = torch.softmax(one.double(), -1)[place[0]]
                found.append((Choice(None, int(place[0]), tuple(place.tolist()), (), float(share)), errors[row]))
            else:
                found.append((choice(self.policy, one, place, second[row][[*place.tolist(), self.count]]), None))
        return found

    def _second(self, read: Past, rows: list[int], texts: list[list[int]]) -> Tensor:
        """(N, T + 1) the second scores of all tools and REJ, from what the head reads at the last token of the documentation."""
        fork = read.forked()
        if len(rows) < len(read.lengths):
            fork.keep_(rows, self.reader.device)
        logits, ends = self.reader.read_ends(fork, texts)
        hidden = self.head.last_input  # (N, E, D)
        if hidden.shape[1] != logits.shape[1]:  # a head that reads all places, whatever is kept
            ends = [len(text) - 1 for text in texts]
        hidden = hidden[torch.arange(len(rows), device=hidden.device), torch.tensor(ends, device=hidden.device)]
        dtype = torch.promote_types(self.rerank_rows.dtype, hidden.dtype)
        return hidden.to(dtype) @ self.rerank_rows.to(hidden.device, dtype).T

    def tool_logits(self, logits: Tensor) -> Tensor:
        """(B, T) the first scores."""
        return logits[:, self.vocabulary : self.vocabulary + self.count]
