"""Context: the facts of one prompt, filled to a budget of tokens that the whole prompt never exceeds.

plan = Plan(length=512, placement="uniform", density=0.5)
context = write_context(lines, prompts, questions, relevant, tables, plan, draws)
"""

import bisect
from collections.abc import Sequence
from dataclasses import dataclass

from pydisp.draws import Draws
from pydisp.holobench.contexts.lines import Lines
from pydisp.holobench.contexts.placement import arrange
from pydisp.holobench.contexts.sampling import Row, draw_filler
from pydisp.holobench.prompts import Prompts

_TRIES = 8  # to reach the budget where lines have other lengths side by side than alone


class BudgetError(ValueError):
    """A budget that leaves no room for facts; the message is one sentence."""


@dataclass(frozen=True)
class Plan:
    """What a context is to be.

    Args:
        length: tokens of the prompt and the room for its answer. placement: one of items.PLACEMENTS.
        amount: tokens of relevant rows; or density: their share of the tokens of all facts. One of the two is given.
    """

    length: int
    placement: str
    amount: int | None = None
    density: float | None = None


@dataclass(frozen=True)
class Context:
    """The facts of a prompt.

    Args:
        text: one sentence a line. rows: of each line. characters: (first, stop) of each line in the text.
    """

    text: str
    rows: tuple[Row, ...]
    characters: tuple[tuple[int, int], ...]


def write_context(
    lines: Lines, prompts: Prompts, questions: Sequence[str], relevant: Sequence[Row], tables: Sequence[str], plan: Plan, draws: Draws
) -> Context:
    """The relevant rows and as many others as fit, for the longest of the questions.

    Raises: NotEnoughRows, or BudgetError if even the relevant rows do not fit.
    """
    most = plan.length - prompts.style.room
    question = max(questions, key=lambda text: len(prompts.ids("", text)))
    used = sum(lines.tokens(table)[number] for table, number in relevant)
    aim = most - len(prompts.ids("", question)) - used
    if plan.density == 1:
        aim = 0
    for _ in range(_TRIES):
        filler, shortest = draw_filler(lines, tables, aim, draws) if aim > 0 else ([], 0)
        context = _joined(lines, relevant, filler, plan.placement, draws)
        tokens = len(prompts.ids(context.text, question))
        left = most - tokens
        if left >= 0 and (plan.density == 1 or left <= max(plan.length // 100, shortest)):
            return context
        if left < 0 and not filler:
            raise BudgetError(
                f"{plan.length} tokens are {-left} too few for {len(relevant)} relevant rows with the question and {prompts.style.room} tokens "
                "of room for the answer; ask for longer --lengths, or a smaller --amount or --density."
            )
        aim += left
    return _shortened(lines, prompts, question, relevant, filler, plan, draws)


def _shortened(lines: Lines, prompts: Prompts, question: str, relevant, filler, plan: Plan, draws: Draws) -> Context:
    """The context without the last filler lines that do not fit: for tokenizers whose lengths depend on the neighbours."""
    while True:
        context = _joined(lines, relevant, filler, plan.placement, draws)
        if len(prompts.ids(context.text, question)) <= plan.length - prompts.style.room:
            return context
        filler = filler[:-1]


def _joined(lines: Lines, relevant: Sequence[Row], filler: Sequence[Row], placement: str, draws: Draws) -> Context:
    rows = arrange(relevant, filler, placement, lambda row: lines.tokens(row[0])[row[1]], draws)
    texts = [lines.texts(table)[number] for table, number in rows]
    characters, place = [], 0
    for text in texts:
        characters.append((place, place + len(text)))
        place += len(text) + 1
    return Context("\n".join(texts), tuple(rows), tuple(characters))


def token_offsets(prompts: Prompts, context: Context, question: str) -> tuple[int, list[tuple[int, int]]]:
    """The tokens of the whole prompt, and (first, stop) in it of each line: every token that has a character of the line."""
    text = prompts.text(context.text, question)
    encoding = prompts.tokenizer(text, add_special_tokens=prompts.style.template == "plain", return_offsets_mapping=True, verbose=False)
    offsets = encoding["offset_mapping"]
    starts, stops = _spread(offsets)
    shift = len(prompts.before)
    places = []
    for first, stop in context.characters:
        places.append((bisect.bisect_right(stops, first + shift), bisect.bisect_left(starts, stop + shift)))
    return len(offsets), places


def _spread(offsets: Sequence[tuple[int, int]]) -> tuple[list[int], list[int]]:
    """Starts and stops that never fall: a special token has (0, 0) and takes the place of its neighbour."""
    starts, stops, reached = [], [], 0
    for first, stop in offsets:
        reached = max(reached, stop)
        starts.append(first if stop > first else reached)
        stops.append(reached)
    return starts, stops
