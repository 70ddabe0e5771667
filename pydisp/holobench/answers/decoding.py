"""Decoding: the most likely next token again and again, for a batch of prompts, until each answer has ended."""

# B prompts that have not ended, V vocabulary

import logging
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from pydisp.holobench.prompts import Style
from pydisp.modeling.cached_model import CachedModel, Past

logger = logging.getLogger("pydisp")

STOPS = ("\nQuestion:", "\nFacts:")  # a base model goes on with a next example
BLANK_LINE = "\n\n"  # a direct answer in plain text ends here; a base model goes on with some other text


@dataclass(frozen=True, eq=False)
class Ending:
    """What ends an answer.

    Args:
        tokenizer: makes text of tokens. ids: tokens that end it. texts: what ends it where it stands in the text, and is cut off with all behind.
        at_blank_line: whether a blank line ends it too, unless nothing stands before.
    """

    tokenizer: object
    ids: frozenset[int]
    texts: tuple[str, ...] = STOPS
    at_blank_line: bool = False

    @classmethod
    def of(cls, model, tokenizer, style: Style) -> "Ending":
        """The end-of-text tokens of the generation config, the config and the tokenizer; in chats also the token that ends a turn."""
        named = [getattr(source, "eos_token_id", None) for source in (getattr(model, "generation_config", None), model.config, tokenizer)]
        ids = {number for one in named if one is not None for number in (one if isinstance(one, list | tuple) else [one])}
        if style.template == "chat":
            ids |= _end_of_turn(tokenizer)
        stops = STOPS if style.answer == "direct" else ()  # who reasons may list the facts; what follows the answer is the scorer's to cut
        return cls(tokenizer, frozenset(ids), stops, at_blank_line=style.template == "plain" and style.answer == "direct")

    def text(self, tokens: Sequence[int]) -> str:
        return self.tokenizer.decode(tokens, skip_special_tokens=True, clean_up_tokenization_spaces=False)

    def cut(self, text: str) -> str | None:
        """The text before what ends it; None if nothing does."""
        return cut(text, self.texts, self.at_blank_line)


def cut(text: str, stops: Sequence[str] = STOPS, at_blank_line: bool = True) -> str | None:
    """The text before the first stop, or before the first blank line that something stands before; None if it has neither."""
    places = [place for stop in stops if (place := text.find(stop)) >= 0]
    if at_blank_line and (place := text.find(BLANK_LINE, len(text) - len(text.lstrip()))) >= 0:
        places.append(place)
    return text[: min(places)] if places else None


def _end_of_turn(tokenizer) -> set[int]:
    """The special token that the chat template writes behind an answer, if it does."""
    answer = "\ue000answer\ue000"  # private characters: no template has them
    chat = [{"role": "user", "content": "?"}, {"role": "assistant", "content": answer}]
    try:
        behind = tokenizer.apply_chat_template(chat, tokenize=False).rpartition(answer)[2]
    except Exception as error:  # a template is a program of its author
        logger.debug("the chat template does not take an answer: %s", error)
        return set()
    ids = tokenizer(behind, add_special_tokens=False, verbose=False)["input_ids"][:1] if behind else []
    return {number for number in ids if number in tokenizer.all_special_ids or number in tokenizer.get_added_vocab().values()}


def greedy(
    reader: CachedModel, pasts: Sequence[Past], last: Sequence[int], room: int, ending: Ending, ids: Sequence[str]
) -> list[tuple[str, bool]]:
    """The answers to several prompts, and whether each has ended within the room.

    Args:
        pasts: of each prompt without its last token; they are used up. last: these tokens. room: most tokens of an answer.
        ids: names of the prompts for messages.
    Raises: ValueError if logits are not numbers.
    """
    past, live = Past.joined(pasts), list(range(len(pasts)))
    tokens: list[list[int]] = [[] for _ in pasts]
    ended: dict[int, str] = {}
    following = list(last)
    for _ in range(room):
        chosen = _chosen(reader, past, following, [ids[number] for number in live])
        stays = []
        for place, (number, token) in enumerate(zip(live, chosen, strict=True)):
            if token in ending.ids:
                ended[number] = ending.text(tokens[number])
                continue
            tokens[number].append(token)
            text = ending.cut(ending.text(tokens[number]))
            if text is None:
                stays.append(place)
            else:
                ended[number] = text
        if not stays:
            break
        if len(stays) < len(live):
            past.keep_(stays, reader.device)
        live, following = [live[place] for place in stays], [chosen[place] for place in stays]
    return [(ended[n] if n in ended else ending.text(tokens[n]), n in ended) for n in range(len(pasts))]


def _chosen(reader: CachedModel, past: Past, following: Sequence[int], ids: Sequence[str]) -> list[int]:
    """The most likely tokens after these."""
    logits = reader.read(past, torch.tensor(following)[:, None])[:, -1]  # (B, V)
    broken = logits.isnan().any(-1)
    if broken.any():
        raise ValueError(
            f"item {ids[int(broken.nonzero()[0])]!r}: the model's logits are not numbers; "
            "check the weights, or run in float32 if the model runs in half precision."
        )
    return logits.argmax(-1).tolist()
