"""Asked items: the tokens that a model reads for each item, checked against the prompts that the benchmark was built with.

asked, skipped = ask(items, prompts, form="both", positions=8192)
groups = batches(asked, batch_tokens=8192)
"""

# T tokens of a prompt

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from pydisp.holobench.answers.predictions import Prediction
from pydisp.holobench.items import Item
from pydisp.holobench.prompts import Prompts
from pydisp.progress import Bar, silence

FORMS = ("generate", "likelihood", "both")


class AskingError(ValueError):
    """Items that this model cannot be asked; the message is one sentence."""


@dataclass(frozen=True, eq=False)
class Asked:
    """One item as tokens.

    Args:
        item: as in the file. prompt: (T,) int64.
        read: how many tokens of the prompt all that is asked begins with; the rest is read for each answer and choice. At least 1.
        shared: how many of them begin all prompts of the item's context; 0 for the only one.
        choices: of each choice the tokens behind the first `read`, to the choice's end; empty if none are scored.
        scored: how many tokens of each choice count: those behind what all choices and the prompt have in common.
        room: new tokens of a generated answer; 0 if none is asked for.
    """

    item: Item
    prompt: Tensor
    read: int
    shared: int
    choices: tuple[Tensor, ...]
    scored: tuple[int, ...]
    room: int

    @property
    def tokens(self) -> int:
        """Of the longest text that comes of it."""
        return max(len(self.prompt) + self.room, self.read + max(map(len, self.choices), default=0))


def ask(
    items: Sequence[Item],
    prompts: Prompts,
    *,
    form: str,
    positions: int | None,
    without_context: bool = False,
    check: bool = True,
    say: Callable[[str], None] = silence,
) -> tuple[list[Asked], list[Prediction]]:
    """The tokens of each item, and those that are skipped with the reason.

    Args:
        form: one of FORMS. positions: of the model; items that need more are skipped, never cut.
        without_context: ask with no facts. check: compare each prompt with the item's SHA-256. say: a function that receives progress lines.
    Raises: AskingError if a prompt is not the one that the benchmark was built with.
    """
    asked, skipped = [], []
    for item in _told(items, say):
        if check and hashlib.sha256(prompts.text(item.context, item.question).encode()).hexdigest() != item.sha256:
            raise AskingError(
                f"item {item.id!r}: the tokenizer's chat template or this version of pydisp writes another prompt than the one that was built; "
                "build the benchmark again with this tokenizer, or pass --any-tokenizer."
            )
        if form == "likelihood" and not item.choices:
            skipped.append(Prediction(item.id, skipped="it has no choices"))
            continue
        one = _asked(item, prompts, form, without_context)
        needed = max(one.tokens, len(one.prompt) + prompts.style.room)  # of every form, so that all forms skip the same items
        if positions is None or needed <= positions:
            asked.append(one)
            continue
        room = needed - len(one.prompt)
        words = f"its {len(one.prompt):,} tokens and {room:,} for the answer are more than the model's {positions:,} positions"
        skipped.append(Prediction(item.id, skipped=words))
    return _with_shared(asked), skipped


def _told(items: Sequence[Item], say: Callable[[str], None]) -> Iterator[Item]:
    """The items, with a bar: each prompt is tokenized once more with each of its choices."""
    with Bar(len(items), say, title="tokenizing the prompts", unit="prompt", is_brief=True) as bar:
        for item in items:
            yield item
            bar.advance(1)


def batches(asked: Sequence[Asked], batch_tokens: int) -> list[list[Asked]]:
    """Batches whose texts, all as long as the longest of the batch, have at most so many tokens; a longer item is alone.

    The questions of one context follow each other, long contexts come first, so that what does not fit into memory shows at once.
    """
    contexts: dict[str, list[Asked]] = {}
    for one in asked:
        contexts.setdefault(one.item.context_id, []).append(one)
    ordered = sorted(contexts.values(), key=lambda group: -max(one.tokens for one in group))  # stable: equal ones in the order of the file
    found: list[list[Asked]] = []
    longest = 0
    for one in (one for group in ordered for one in group):
        longest = max(longest, one.tokens)
        if found and (len(found[-1]) + 1) * longest <= batch_tokens:
            found[-1].append(one)
        else:
            found.append([one])
            longest = one.tokens
    return found


def _asked(item: Item, prompts: Prompts, form: str, without_context: bool) -> Asked:
    text = prompts.text("" if without_context else item.context, item.question)
    prompt = torch.tensor(prompts.encode(text), dtype=torch.int64)
    room = 0 if form == "likelihood" else prompts.style.room
    read, choices, scored = len(prompt) - 1, (), ()
    if form != "generate" and item.choices:
        whole = [torch.tensor(prompts.encode(prompts.with_answer(text, choice)), dtype=torch.int64) for choice in item.choices]
        common = _common([prompt, *whole])
        if any(len(one) <= common for one in whole):
            raise AskingError(f"item {item.id!r} has a choice without a token of its own; build the benchmark again with this tokenizer.")
        read = min(read, common - 1)  # the token before an answer is read with it, because its logits are needed
        choices, scored = tuple(one[read:] for one in whole), tuple(len(one) - common for one in whole)
    if read < 1:
        raise AskingError(f"item {item.id!r}: the tokenizer makes {len(prompt)} tokens of a whole prompt; give the model's own tokenizer.")
    return Asked(item, prompt, read, 0, choices, scored, room)


def _with_shared(asked: Sequence[Asked]) -> list[Asked]:
    """The same with the tokens that the prompts of each context share."""
    contexts: dict[str, list[Asked]] = {}
    for one in asked:
        contexts.setdefault(one.item.context_id, []).append(one)
    shared = {
        name: min(_common([one.prompt for one in group]), *(one.read for one in group)) if len(group) > 1 else 0
        for name, group in contexts.items()
    }
    return [replace(one, shared=shared[one.item.context_id]) for one in asked]


def _common(sequences: Sequence[Tensor]) -> int:
    """How many first tokens all sequences have in common."""
    shortest = min(map(len, sequences))
    first = sequences[0][:shortest]
    differs = torch.zeros(shortest, dtype=torch.bool)
    for one in sequences[1:]:
        differs |= one[:shortest] != first
    return int(differs.nonzero()[0]) if differs.any() else shortest
