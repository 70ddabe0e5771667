"""Tool mode: the model writes the arguments of a call, after demonstrations of the tool and the text so far.

    writer = ArgumentWriter(CachedModel(model), tokenizer, tools)
    writer.write([("Question: What is 12 times 7?\\nAnswer:", tools.index("multiply"))])     # [Written("12, 7", None)]

What the model reads:

    Question: What is 48 times 24?
    Answer: multiply(48, 24)

    Question: What is 12 times 7?
    Answer: multiply(

and it writes greedily until the bracket closes, held to what can still become a valid call of this tool, plainly written (`tools.plain_prefix`),
as ToolDec does (https://arxiv.org/abs/2310.07075). Demonstrations before the text are those of ToolkenGPT (https://arxiv.org/abs/2305.11554, section 3.2).
"""

# B calls that are written together, V words

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from pydisp.evaluation import positions
from pydisp.modeling.cached_model import CachedModel, Past, can_join
from pydisp.toolken.decoding.put_in import put_in
from pydisp.toolken.decoding.token_bytes import HALF, unfinished_bytes
from pydisp.toolken.head import real_vocabulary
from pydisp.toolken.problems.labels import text_ids
from pydisp.toolken.tools.argument_prefix import closed_at
from pydisp.toolken.tools.plain_prefix import plainly_continues
from pydisp.toolken.tools.tool import Tool
from pydisp.toolken.tools.tools import Tools

TRIED_FIRST = 64  # tokens by their logits, before all others
MOST_TRIED = 100_000  # tokens of all in one call, about two seconds: once or twice the vocabulary of most models
_MOST_KEPT = 20_000  # calls in the memo
_TAIL = 8  # last tokens of a prompt that new tokens are decoded behind
_PRINTED = range(ord(" "), 0x7F)
_SPACES = "\u0120\u2581"  # how names of tokens write a space: byte-level ones, and those of SentencePiece
_NO_TEXT = ("##", "<")  # names that begin otherwise than the text: parts of words, bytes and control
_ANY = "\U0010fffd"  # a character that no choice has: where it can stand, any text can


@dataclass(frozen=True)
class Written:
    """Arguments as they were written, without brackets.

    Args:
        error: why they are no call, in one sentence; None if the bracket was closed.
    """

    arguments: str
    error: str | None = None


class ArgumentWriter:
    """Writes arguments; one serves any number of `generate` calls of one model, and remembers what it wrote.

    Args:
        tools: with examples, which are the demonstrations. most_argument_tokens: of one call. most_demonstrations: of one tool.
        is_constrained: whether only what can become a valid call is written; else what came is parsed, and may be wrong.
    """

    def __init__(
        self,
        reader: CachedModel,
        tokenizer,
        tools: Tools,
        *,
        most_argument_tokens: int = 64,
        most_demonstrations: int = 4,
        is_constrained: bool = True,
    ):
        self.reader, self.tokenizer, self.tools = reader, tokenizer, list(tools)
        self.most_argument_tokens, self.most_demonstrations, self.is_constrained = most_argument_tokens, most_demonstrations, is_constrained
        self._most_read = (positions(reader.model.config) or 1 << 30) - most_argument_tokens
        self._demonstrations: dict[int, tuple[list[int], Past | None]] = {}
        self._memo: dict[tuple[str, int], Written] = {}

    @cached_property
    def vocabulary(self) -> int:
        """V; found with the first call, for it takes a moment and many texts have none."""
        return real_vocabulary(self.tokenizer, self.reader.model)

    @cached_property
    def _control(self) -> Tensor:
        """The ids that are no text."""
        ids = {*self.tokenizer.all_special_ids, *self.tokenizer.get_added_vocab().values()}
        return torch.tensor(sorted(one for one in ids if one < self.vocabulary), dtype=torch.long)

    @cached_property
    def beginnings(self) -> Tensor:
        """(V,) the code of the character that a token begins with; -1 where its name does not tell."""
        return torch.tensor([_beginning(name) for name in self.tokenizer.convert_ids_to_tokens(list(range(self.vocabulary)))])

    def write(self, asked: Sequence[tuple[str, int]]) -> list[Written]:
        """Arguments for several texts.

        Args:
            asked: for each the whole text so far, without special tokens, and the place of a tool.
        """
        new = [one for one in dict.fromkeys(asked) if one not in self._memo]
        together = len(new) if can_join(self.reader.model.config) else 1
        for start in range(0, len(new), max(together, 1)):
            batch = new[start : start + together]
            self._memo.update(zip(batch, self._batch(batch), strict=True))
        found = [self._memo[one] for one in asked]
        while len(self._memo) > _MOST_KEPT:  # the oldest first
            del self._memo[next(iter(self._memo))]
        return found

    def prompt(self, text: str, place: int) -> tuple[list[int], list[int]]:
        """The tokens of a tool's demonstrations, and of the text with the name behind it; where both are too long, the text loses its
        beginning."""
        demonstrations, _ = self._read_demonstrations(place)
        opening = put_in(text, f"{self.tools[place].name}(")
        ids = text_ids(text + opening, self.tokenizer, is_beginning=not demonstrations)
        return demonstrations, ids[-max(1, self._most_read - len(demonstrations)) :]

    @torch.inference_mode()
    def _batch(self, asked: Sequence[tuple[str, int]]) -> list[Written]:
        prompts = [self.prompt(text, place)[1] for text, place in asked]
        past, order = self._read_together(prompts, [place for _, place in asked])
        calls = [_Call(self, self.tools[place], ids[-_TAIL:]) for ids, (_, place) in zip(prompts, asked, strict=True)]
        live, last = [calls[row] for row in order], [prompts[row][-1] for row in order]
        for _ in range(self.most_argument_tokens):
            logits = self.reader.read(past, torch.tensor(last)[:, None])[:, -1, : self.vocabulary].float()
            logits[:, self._control.to(logits.device)] = -torch.inf
            stays = [place for place, (call, row) in enumerate(zip(live, logits, strict=True)) if call.goes_on(row)]
            if not stays:
                break
            if len(stays) < len(live):
                past.keep_(stays, self.reader.device)
            live = [live[place] for place in stays]
            last = [call.tokens[-1] for call in live]
        return [call.written for call in calls]

    def _read_together(self, prompts: Sequence[list[int]], places: Sequence[int]) -> tuple[Past, list[int]]:
        """What is read of all but the last token of each prompt, behind the demonstrations of its tool; and whose row each is.

        The longest begins, and each other joins where as many tokens are left of it as of those before it. So there are no more forwards than
        lengths, and no padding is read. A prompt without demonstrations is read alone, for a past of no tokens joins no other.
        """
        pasts, left = [], []
        for ids, place in zip(prompts, places, strict=True):
            read = self._read_demonstrations(place)[1]
            pasts.append(self.reader.start() if read is None else read.forked())
            left.append(len(ids) - 1)
            if read is None and left[-1]:
                self.reader.read(pasts[-1], torch.tensor([ids[:-1]]))
                left[-1] = 0
        stages = sorted({0, *left}, reverse=True)
        past, rows = None, []
        for now, following in zip(stages, [*stages[1:], 0], strict=True):
            joining = [row for row, one in enumerate(left) if one == now]
            rows += joining
            past = Past.joined([*([] if past is None else [past]), *(pasts[row] for row in joining)])
            if now > following:
                part = [prompts[row][-1 - now : len(prompts[row]) - 1 - following] for row in rows]
                self.reader.read(past, torch.tensor(part))
        return past, rows

    def _read_demonstrations(self, place: int) -> tuple[list[int], Past | None]:
        """The tokens of a tool's demonstrations and what was read of them, at most half of what the model reads."""
        if place not in self._demonstrations:
            tool, ids, past = self.tools[place], [], None
            for count in range(min(self.most_demonstrations, len(tool.examples)), 0, -1):
                shown = (f"{one.text}{put_in(one.text, tool.name)}({one.arguments})\n\n" for one in tool.examples[:count])
                ids = text_ids("".join(shown), self.tokenizer, is_beginning=True)
                if len(ids) <= self._most_read // 2:
                    past = self.reader.start()
                    self.reader.read(past, torch.tensor([ids]))
                    break
            self._demonstrations[place] = (ids if past is not None else [], past)
        return self._demonstrations[place]


def _beginning(name: str | None) -> int:
    if not name or name.startswith(_NO_TEXT):
        return -1
    return ord(" ") if name[0] in _SPACES else ord(name[0]) if ord(name[0]) in _PRINTED else -1


class _Call:
    """One call while it is written."""

    def __init__(self, writer: ArgumentWriter, tool: Tool, tail: list[int]):
        self.writer, self.tool, self.tail = writer, tool, tail
        self.tokens: list[int] = []
        self.text = ""
        self.tried = 0  # beyond the first ones
        self._before = self._decoded([])
        choices = [choice for one in tool.parameters for choice in one.choices if isinstance(choice, str)]
        self._wide = {one for choice in choices for one in choice if not one.isascii()}  # those of several bytes
        self.written = self._failed(f"have no end within {writer.most_argument_tokens} tokens")

    def goes_on(self, logits: Tensor) -> bool:
        """Write one token by its logits (V,); whether more are to follow."""
        token = self._token(logits)
        if token is None:
            self.written = self._failed("cannot go on as a valid call")
            return False
        self.tokens.append(token)
        self.text = self._behind(self.tokens)
        end = closed_at(self.text)
        if end is not None:
            self.written = Written(self.text[: end - 1])
            return False
        self.written = self._failed(f"have no end within {self.writer.most_argument_tokens} tokens")
        return True

    def _failed(self, why: str) -> Written:
        return Written(self.text, f"the arguments of {self.tool.name!r} {why}.")

    def _token(self, logits: Tensor) -> int | None:
        """The most likely token after which the text can still become a valid call."""
        if not self.writer.is_constrained:
            return int(logits.argmax())
        for token in logits.topk(min(TRIED_FIRST, len(logits))).indices.tolist():
            if self._is_allowed(token):
                return token
        logits = self._narrowed(logits)
        for token in logits.argsort(descending=True)[: int(logits.isfinite().sum())].tolist():
            self.tried += 1
            if self.tried > MOST_TRIED:
                break
            if self._is_allowed(token):
                return token
        return None

    def _narrowed(self, logits: Tensor) -> Tensor:
        """The logits (V,) without tokens that, by their names, begin with a character that cannot follow."""
        can_follow = [plainly_continues(self.tool, self.text + chr(code)) for code in _PRINTED]
        if can_follow[0]:  # some decoders put it before a word that has none by its name; in a string anything can follow
            return logits
        beginnings = self.writer.beginnings.to(logits.device)
        kept = beginnings.new_tensor([-1, *(code for code, can in zip(_PRINTED, can_follow, strict=True) if can)])
        return logits.masked_fill(~torch.isin(beginnings, kept), -torch.inf)

    def _is_allowed(self, token: int) -> bool:
        text = self._behind([*self.tokens, token])
        whole = text.rstrip(HALF)  # bytes of a character may still follow
        if HALF in whole:
            return False
        if whole == text:
            return text != self.text and plainly_continues(self.tool, text)
        begun = unfinished_bytes(self.writer.tokenizer, [*self.tokens, token])
        if not begun:
            return False
        ways = [_ANY, *(one for one in self._wide if one.encode().startswith(begun))]
        return any(plainly_continues(self.tool, whole + one) for one in ways)

    def _behind(self, tokens: list[int]) -> str:
        return self._decoded(tokens)[len(self._before) :]

    def _decoded(self, tokens: list[int]) -> str:
        return self.writer.tokenizer.decode([*self.tail, *tokens], skip_special_tokens=False, clean_up_tokenization_spaces=False)
