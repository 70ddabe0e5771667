"""Drafts: which questions stand together on one context, drawn or from a user's file, and the rows that they are asked on."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from pydisp.draws import Draws
from pydisp.holobench.contexts.context import BudgetError, Plan
from pydisp.holobench.contexts.lines import Lines
from pydisp.holobench.contexts.questions import Question, Topic, tables_for, topics
from pydisp.holobench.contexts.sampling import Row, draw_relevant
from pydisp.holobench.contexts.topic_questions import AnswerLengths, AskedQuestion, ask_drawn, settle
from pydisp.holobench.database.tables import Table
from pydisp.holobench.items import CLASSES
from pydisp.holobench.prompts import Prompts
from pydisp.holobench.sql.gold import GoldError, Session
from pydisp.holobench.sql.question_file import UserQuestion

_EMPTY_EVERY, _EMPTY = 36, (9, 25)  # two questions in so many, a filter and a join, have no matching row
_FEWEST_ROWS = 6  # of a topic's relevant rows, where some topic has room for so many
_ATTEMPTS, _FEW_ATTEMPTS = 60, 12  # samples of rows for a context of drawn questions, and for another class in the place of one
_USER_ATTEMPTS = 20
_TYPICAL = "Which customers have a total price above 30? Give the name of each."  # its tokens are kept for a question that is not drawn yet
_LONG = "List the name of the customers with the city Rome and a price below 3000 whose total price is above the average of all customers. Give each once."


class NoQuestion(ValueError):
    """No question fits the rows that a length leaves room for; the message is one sentence."""


@dataclass(frozen=True)
class Drafted:
    """The relevant rows of a context and what is asked on them."""

    tables: tuple[str, ...]
    relevant: tuple[Row, ...]
    asked: tuple[AskedQuestion, ...]
    draws: Draws


@dataclass(frozen=True)
class Draft:
    """One context to be made at every length.

    Args:
        number: of the first of its questions. lines: of its database. kinds: the class of each question.
        questions: those of a user's file; empty for drawn ones.
    """

    number: int
    lines: Lines
    kinds: tuple[str, ...]
    questions: tuple[UserQuestion, ...] = ()

    @property
    def name(self) -> str:
        """The replicate of all statistics."""
        return f"{self.lines.database.name}-{self.number:04d}"

    @property
    def numbers(self) -> str:
        """Which questions of the user's file these are."""
        return f"question{'s' if len(self.questions) > 1 else ''} {', '.join(str(one.number) for one in self.questions)}"


def drawn_drafts(sources: Sequence[Lines], per_length: int, per_context: int) -> list[Draft]:
    """Contexts for so many questions: classes in turn, databases in turn."""
    kinds = [CLASSES[number % len(CLASSES)] for number in range(per_length)]
    starts = range(0, per_length, per_context)
    return [Draft(start, sources[place % len(sources)], tuple(kinds[start : start + per_context])) for place, start in enumerate(starts)]


def user_drafts(lines: Lines, questions: Sequence[UserQuestion], per_context: int) -> list[Draft]:
    """Contexts for the questions of a file: those of the same tables may stand together."""
    together: dict[tuple[str, ...], list[UserQuestion]] = {}
    for question in questions:
        together.setdefault(tuple(sorted(question.tables)), []).append(question)
    drafts, number = [], 0
    for group in together.values():
        for start in range(0, len(group), per_context):
            chosen = tuple(group[start : start + per_context])
            drafts.append(Draft(number, lines, tuple(one.kind for one in chosen), chosen))
            number += len(chosen)
    return drafts


def relevant_tokens(plan: Plan, prompts: Prompts) -> int:
    """The tokens of relevant rows that a context is to have.

    Raises: BudgetError if the prompt without facts is as long as the budget.
    """
    needed = len(prompts.ids("", _TYPICAL)) + prompts.style.room
    if plan.length <= needed:
        raise BudgetError(
            f"a length of {plan.length} tokens leaves no room for facts: the prompt without them has about {needed - prompts.style.room} tokens and "
            f"{prompts.style.room} are kept for the answer; ask for longer --lengths or a smaller --room."
        )
    if plan.amount is not None:
        return plan.amount
    left = max(1, plan.length - prompts.style.room - len(prompts.ids("", _LONG)))
    return min(int((plan.length - needed) * plan.density), left)


def fill(draft: Draft, plan: Plan, prompts: Prompts, lengths: AnswerLengths, seed: int) -> tuple[Drafted | None, list[str]]:
    """Rows and questions of a context, and what cannot be asked of a user's questions; None if nothing of these can.

    Raises: NotEnoughRows, BudgetError, or NoQuestion for drawn questions.
    """
    target = relevant_tokens(plan, prompts)
    if draft.questions:
        return _fill_user(draft, target, prompts, lengths, seed)
    first: NoQuestion | None = None
    for one in _alternatives(_possible(draft), draft):
        attempts = _ATTEMPTS if first is None else _FEW_ATTEMPTS
        try:
            found = _fill_drawn(replace(draft, kinds=one), plan, target, prompts, lengths, seed, attempts)
        except NoQuestion as error:
            first = first or error
            continue
        return found, _given_way(draft, one)
    raise first


def _possible(draft: Draft) -> tuple[str, ...]:
    """The classes of the context; in the place of one that the database does not allow, another."""
    database = draft.lines.database
    allowed = [kind for kind in CLASSES if topics(database, kind)]
    if not allowed:
        raise NoQuestion(
            f"{database.name} has no table on which questions can be drawn; they need a column that names a row, and categories that rows share or "
            "numbers: ask by --questions, or take another --database."
        )
    return tuple(kind if kind in allowed else allowed[CLASSES.index(kind) % len(allowed)] for kind in draft.kinds)


def _alternatives(kinds: tuple[str, ...], draft: Draft) -> list[tuple[str, ...]]:
    """The classes, and for a context of one question every other class in turn."""
    if len(kinds) > 1:
        return [kinds]
    place = CLASSES.index(kinds[0])
    turn = [CLASSES[(place + shift) % len(CLASSES)] for shift in range(len(CLASSES))]
    return [(kind,) for kind in turn if kind == kinds[0] or topics(draft.lines.database, kind)]


def _given_way(draft: Draft, kinds: tuple[str, ...]) -> list[str]:
    return [
        f"draw {draft.name}: a question of the class {other} stands in the place of one of the class {kind}, which these rows do not give."
        for kind, other in zip(draft.kinds, kinds, strict=True)
        if kind != other
    ]


def _fill_drawn(draft: Draft, plan: Plan, target: int, prompts: Prompts, lengths: AnswerLengths, seed: int, attempts: int) -> Drafted:
    chosen = _topics(draft, target)
    hopeless = (target, prompts.style.room, draft.kinds)
    rows = 0
    for attempt in range(attempts if hopeless not in draft.lines.hopeless else 0):
        draws = Draws(seed, "draw", draft.number, attempt)
        topic = draws.choice(chosen)
        relevant = draw_relevant(draft.lines, topic.tables, target, draws.child("relevant"))
        rows = max(rows, len(relevant))
        asked = _ask_all(draft, topic, relevant, prompts, lengths, draws)
        if asked is not None:
            return Drafted(topic.tables, tuple(relevant), asked, draws)
    if attempts == _ATTEMPTS:
        draft.lines.hopeless.add(hopeless)
    kinds = " and ".join(dict.fromkeys(draft.kinds))
    raise NoQuestion(
        f"{plan.length} tokens leave {target} for relevant rows, {f'at most {rows} rows' if rows else 'too few'} of {draft.lines.database.name}, on which "
        f"no question of the class {kinds} with an answer of at most {prompts.style.room} tokens could be asked in {_ATTEMPTS} samples; ask for longer "
        "--lengths, a higher --density, more --room or another --database."
    )


def _topics(draft: Draft, target: int) -> list[Topic]:
    """The topics that all classes of the context allow, if possible those that have enough rows."""
    database = draft.lines.database
    first = min(draft.kinds, key=lambda kind: not kind.startswith("join"))  # a join needs two tables, and the others can be asked of either
    common = [topic for topic in topics(database, first) if all(tables_for(kind, topic, database) for kind in draft.kinds)]
    if not common:
        raise NoQuestion(
            f"{database.name} has no table on which questions of the class {' and '.join(dict.fromkeys(draft.kinds))} can be asked; they need a column "
            "that names a row, categories that rows share, numbers, and for joins a foreign key: ask by --questions, or take another --database."
        )
    leaving = [topic for topic in common if len(topic.tables) < len(database.tables)] or common  # other tables, for filler
    enough = [topic for topic in leaving if draft.lines.total(topic.tables) >= target] or leaving
    return [topic for topic in enough if _rows(draft.lines, topic, target) >= _FEWEST_ROWS] or enough


def _rows(lines: Lines, topic: Topic, tokens: int) -> int:
    """About how many rows of a topic so many tokens hold."""
    return tokens * sum(len(lines.texts(table)) for table in topic.tables) // max(1, lines.total(topic.tables))


def _shown(draft: Draft, tables: Sequence[str], relevant: Sequence[Row]) -> dict[str, Table]:
    numbers: dict[str, list[int]] = {table: [] for table in tables}
    for table, number in relevant:
        numbers[table].append(number)
    return {table: draft.lines.database.table(table).with_rows(sorted(rows)) for table, rows in numbers.items()}


def _ask_all(
    draft: Draft, topic: Topic, relevant, prompts: Prompts, lengths: AnswerLengths, draws: Draws
) -> tuple[AskedQuestion, ...] | None:
    shown = _shown(draft, topic.tables, relevant)
    found: list[AskedQuestion] = []
    with Session(list(shown.values())) as session:
        for place, kind in enumerate(draft.kinds):
            is_empty = kind in ("filter", "join") and (draft.number + place) % _EMPTY_EVERY in _EMPTY
            asked = ask_drawn(
                kind, topic, shown, draft.lines.database, session, lengths, prompts.style.room, draws.child("question", place),
                is_empty=is_empty, taken=[one.question.text for one in found],
            )  # fmt: skip
            if asked is None:
                return None
            found.append(asked)
    return tuple(found)


def _fill_user(draft: Draft, target: int, prompts: Prompts, lengths: AnswerLengths, seed: int) -> tuple[Drafted | None, list[str]]:
    """The sample on which most of the questions have a fit answer."""
    tables = draft.questions[0].tables
    best: Drafted | None = None
    reasons: dict[int, str] = {}
    for attempt in range(_USER_ATTEMPTS):
        draws = Draws(seed, "draw", draft.number, attempt)
        relevant = draw_relevant(draft.lines, tables, target, draws.child("relevant"))
        shown = _shown(draft, tables, relevant)
        asked, missing = [], {}
        with Session(list(shown.values())) as session:
            for place, question in enumerate(draft.questions):
                answer = _ask_user(question, tables, session, shown, draft, lengths, prompts.style.room, draws.child("question", place))
                if isinstance(answer, str):
                    missing[place] = answer
                else:
                    asked.append(answer)
        if asked and (best is None or len(asked) > len(best.asked)):
            best, reasons = Drafted(tables, tuple(relevant), tuple(asked), draws), missing
        elif best is None:
            reasons = missing
        if not missing:
            break
    return best, [f"question {draft.questions[place].number}: {reason}" for place, reason in sorted(reasons.items())]


def _ask_user(
    question: UserQuestion, tables, session: Session, shown, draft: Draft, lengths, room: int, draws: Draws
) -> AskedQuestion | str:
    try:
        gold = session.answer(question.sql)
    except GoldError as error:
        return str(error)
    if not gold.rows:
        return "it has no answer on the rows that fit into the context; ask for a larger --density or --amount."
    found = Question(question.question, question.sql, question.kind, _sources(gold, shown), tuple(tables))
    asked = settle(found, gold, shown, draft.lines.database, lengths, room, draws, needs_choices=False)
    return asked or f"its answer has {len(gold.rows)} rows, which do not fit into {room} tokens; give it more --room."


def _sources(gold, shown: dict[str, Table]) -> tuple:
    """The column of the tables that holds all values of an answer's column of texts or dates."""
    found = []
    for place, type_ in enumerate(gold.types):
        values = {row[place] for row in gold.rows}
        sources = (
            (table.name, column.name)
            for table in shown.values()
            for column in table.columns
            if type_ in ("text", "date") and column.kind == type_ and values <= set(table.values(column.name))
        )
        found.append(next(sources, None))
    return tuple(found)
