"""Question forms: from a typed schema and the rows that are shown to a question with its SQL, for each class of questions.

    question = ask("group", Topic("orders", "customers"), shown, database, draws)
    question.text, question.sql           # 'For each product, how many orders are there? …', 'SELECT "product", COUNT(*) …'

A form draws its columns, its wording, and constants that make the answer neither trivial nor long. Gold comes from DuckDB (`gold`), never from here.
"""

from pydisp.draws import Draws
from pydisp.holobench.contexts.group_forms import ask_comparison, ask_group
from pydisp.holobench.contexts.join_forms import ask_absent_join, ask_join, ask_join_aggregate
from pydisp.holobench.contexts.questions import JOINS, Question, Topic, name_of, tables_for
from pydisp.holobench.contexts.row_forms import ask_absent, ask_aggregate, ask_count, ask_extreme, ask_filter, ask_top_k
from pydisp.holobench.database.tables import Database, Table


def ask(kind: str, topic: Topic, shown: dict[str, Table], database: Database, draws: Draws, *, is_empty: bool = False) -> Question | None:
    """One question of a class on the rows shown; None if these rows give no answer that is worth asking for.

    Args:
        shown: the rows of the topic's tables that the context has, by the table's name.
        is_empty: of the classes "filter" and "join", ask for rows that are not there, though the whole database has some.
    """
    names = tables_for(kind, topic, database)
    if not names:
        return None
    table = shown[draws.choice(names)]
    if len(table.rows) < 2 or name_of(table) is None:
        return None
    if is_empty:
        if kind in JOINS:
            return ask_absent_join(table, shown[topic.parent], database.table(topic.parent), topic.reference, draws)
        return ask_absent(table, database.table(table.name), draws)
    if kind in JOINS:
        return _FORMS[kind](table, shown[topic.parent], topic.reference, draws)
    return _FORMS[kind](table, draws)


_FORMS = {
    "filter": ask_filter,
    "count": ask_count,
    "aggregate": ask_aggregate,
    "extreme": ask_extreme,
    "group": ask_group,
    "comparison": ask_comparison,
    "top_k": ask_top_k,
    "join": ask_join,
    "join_aggregate": ask_join_aggregate,
}
