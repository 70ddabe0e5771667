"""Topic questions: what is asked on the relevant rows of one context, and what makes a question fit to be asked.

asked = ask_all(draft, session, shown, ...)       # None if these rows do not give a question of each class
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from pydisp.draws import Draws
from pydisp.holobench.contexts.near_misses import near_misses
from pydisp.holobench.contexts.question_forms import ask
from pydisp.holobench.contexts.questions import Question, Topic
from pydisp.holobench.database.tables import Database, Table
from pydisp.holobench.items import Gold
from pydisp.holobench.prompts import Prompts
from pydisp.holobench.scorer.answer_text import write_gold
from pydisp.holobench.sql.gold import GoldError, Session

_TRIES = 6  # questions of one class on one sample of rows, before another sample is drawn


@dataclass(frozen=True)
class AskedQuestion:
    """A question with its gold answer on the rows shown.

    Args:
        choices: the gold answer among its near misses, correct: its place; None for an empty gold.
    """

    question: Question
    gold: Gold
    choices: tuple[str, ...] | None
    correct: int | None


class AnswerLengths:
    """The tokens of answers as the model would write them."""

    def __init__(self, prompts: Prompts):
        self._prompts = prompts
        self._tail = prompts.after
        self._before = len(prompts.encode(self._tail))

    def __call__(self, golds: Sequence[Gold]) -> list[int]:
        texts = [self._prompts.with_answer(self._tail, write_gold(gold)) for gold in golds]
        return [len(self._prompts.encode(text)) - self._before for text in texts]


def ask_drawn(
    kind: str, topic: Topic, shown: dict[str, Table], database: Database, session: Session, lengths: AnswerLengths, room: int,
    draws: Draws, *, is_empty: bool, taken: Sequence[str],
) -> AskedQuestion | None:  # fmt: skip
    """A question of a class with an answer that fits into the room and has near misses; None if a few tries do not find one."""
    for number in range(_TRIES):
        stream = draws.child(number)
        question = ask(kind, topic, shown, database, stream, is_empty=is_empty)
        if question is None or question.text in taken:
            continue
        try:
            gold = session.answer(question.sql)
        except GoldError:  # a tie, a NULL: another draw
            continue
        asked = settle(question, gold, shown, database, lengths, room, stream)
        if asked is not None and bool(gold.rows) != is_empty:
            return asked
    return None


def settle(
    question: Question, gold: Gold, shown: dict[str, Table], database: Database,
    lengths: Callable[[Sequence[Gold]], list[int]], room: int, draws: Draws, needs_choices: bool = True,
) -> AskedQuestion | None:  # fmt: skip
    """The question with its choices; None if its answer does not fit into the room, or has no near misses though it needs them."""
    if lengths([gold])[0] > room:
        return None
    if not gold.rows:
        return AskedQuestion(question, gold, None, None)
    missed = near_misses(gold, question, shown, database, lengths, draws.child("near misses"))
    if missed is None:
        return None if needs_choices else AskedQuestion(question, gold, None, None)
    texts = draws.child("choices").shuffled([write_gold(one) for one in (gold, *missed)])
    return AskedQuestion(question, gold, tuple(texts), texts.index(write_gold(gold)))
