"""Batch rows: the texts of a batch while they are written, in the form in which transformers' generation keeps them.

As long as each text gets one token a step, all of it is as in transformers. When a result is put in, texts get different numbers of tokens:
those with more read all but the last alone, and the batch is joined anew, padded before its texts. `added` says how many padding tokens
each text has got so; logits processors and stopping criteria judge a text without these, as they would if it were alone. Texts that have
ended stay in the batch, as in transformers; where the others are shorter they grow beyond `max_length`, but no position does.
"""

# B texts, S tokens of the longest with the padding it was given

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from pydisp.modeling.cached_model import CachedModel, Past


class BatchRows:
    """A batch of texts, all but the last tokens of which were read.

    Args:
        ids: (B, S) int64, padded at the beginning. arguments: what is handed to the model beside them: the cache, `attention_mask`,
            `position_ids`, as `generate` prepares them. filler: the id of padding.
        stand_in: an id that no stop string has, for places in which a text has no token (`by_length`); by default the filler.
        max_length: tokens of a whole text with the padding it was given; by default without a limit.
    """

    def __init__(
        self,
        reader: CachedModel,
        ids: Tensor,
        arguments: dict,
        filler: int,
        *,
        stand_in: int | None = None,
        max_length: int | None = None,
    ):
        self.reader, self.ids, self.arguments, self.filler = reader, ids, arguments, filler
        self.stand_in = filler if stand_in is None else stand_in
        self.prompt_tokens, self.max_length = ids.shape[1], max_length
        self.added = [0] * len(ids)
        mask = arguments.get("attention_mask")
        self.padding = [0] * len(ids) if mask is None else (mask.shape[1] - mask.sum(-1)).tolist()  # that the texts were given

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def lengths(self) -> list[int]:
        """Tokens of each text with the padding it was given."""
        return [self.ids.shape[1] - added for added in self.added]

    def text_ids(self, row: int) -> list[int]:
        """The tokens of one text, without any padding before it."""
        return self.ids[row, self.added[row] + self.padding[row] :].tolist()

    def by_length(self, function: Callable[[Tensor], Tensor]) -> Tensor:
        """(B, ...) `function` of ids (B, n), called once for each different length n; each text gets the value of its own.

        A function may know texts by their places in the batch, and keep what it found in earlier calls, so every call has all texts. In
        the calls for other lengths a text is cut or filled directly behind its prompt: the prompt stays where it is, so what is behind
        it is never taken for generated text, and the last tokens are the text's own.
        """
        if len(set(self.added)) == 1:
            return function(self.ids[:, self.added[0] :])
        values = None
        for length in sorted(set(self.lengths), reverse=True):
            found = function(self._shown(length))
            of_these = torch.tensor([one == length for one in self.lengths], device=found.device)
            values = found if values is None else torch.where(of_these.view(-1, *[1] * (found.dim() - 1)), found, values)
        return values

    def _shown(self, length: int) -> Tensor:
        """(B, length) the texts as if all had this length, which is more than that of the prompts."""
        added = torch.tensor(self.added, device=self.ids.device)[:, None]
        places = torch.arange(length, device=self.ids.device)
        is_prompt, from_the_end = places < self.prompt_tokens, places + self.ids.shape[1] - length
        shown = self.ids.gather(1, torch.where(is_prompt, places + added, from_the_end))
        return shown.masked_fill(~is_prompt & (from_the_end < added + self.prompt_tokens), self.stand_in)

    def past(self) -> Past:
        """What was read of all texts; call it after a forward, when that is all of `ids`."""
        cache = self.arguments[self._cache_name]
        slots = cache.get_seq_length()
        mask = self.arguments.get("attention_mask")
        lengths = [slots] * len(self) if mask is None else mask[:, :slots].sum(-1).tolist()
        return Past(cache, lengths, self.reader.model.config, slots)

    def append_(self, tokens: Tensor, put_in: dict[int, list[int]]) -> None:
        """Change the rows: each gets its token (B,), or the tokens of `put_in` if it is there."""
        if all(len(one) == 1 for one in put_in.values()):
            for row, (token,) in put_in.items():
                tokens[row] = token
            self.ids = torch.cat([self.ids, tokens[:, None]], -1)
        else:
            self._join_([put_in.get(row) or [token] for row, token in enumerate(tokens.tolist())])
        self._limit_positions_()

    def _join_(self, appended: Sequence[list[int]]) -> None:
        past, pasts, order = self.past(), [], []
        for count in sorted({len(one) for one in appended}):
            rows = [row for row, one in enumerate(appended) if len(one) == count]
            part = past.forked()
            if len(rows) < len(self):
                part.keep_(rows, self.reader.device)
            if count > 1:
                self.reader.read(part, torch.tensor([appended[row][:-1] for row in rows]))
            pasts.append(part)
            order += rows
        past = Past.joined(pasts)
        if order != sorted(order):
            past.keep_([order.index(row) for row in range(len(self))], self.reader.device)
        self.arguments[self._cache_name] = past.cache
        self._describe_(past)
        texts = [[*self.ids[row, added:].tolist(), *one] for row, (added, one) in enumerate(zip(self.added, appended, strict=True))]
        longest = max(map(len, texts))
        self.added = [longest - len(text) for text in texts]
        self.ids = self.ids.new_tensor([[self.filler] * (longest - len(text)) + text for text in texts])

    def _describe_(self, past: Past) -> None:
        """Set the mask and the positions for a past and the token after it."""
        device = self.ids.device
        slots = torch.arange(past.slots + 1, device=device)
        first = torch.tensor([past.slots - length for length in past.lengths], device=device)[:, None]  # (B, 1)
        self.arguments["attention_mask"] = (slots >= first).long() if min(past.lengths) < past.slots else None
        if self.arguments.get("position_ids") is not None:
            self.arguments["position_ids"] = (slots - first).clamp(min=0)

    def _limit_positions_(self) -> None:
        """Keep a text that ended at `max_length` from reading positions that a model may not have while others go on."""
        positions = self.arguments.get("position_ids")
        if positions is not None and self.max_length is not None:
            self.arguments["position_ids"] = positions.clamp(max=self.max_length - 1)

    @property
    def _cache_name(self) -> str:
        return self.reader.cache_name
