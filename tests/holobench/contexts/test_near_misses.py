"""Near misses: wrong answers of the gold's form and number of tokens, that no rule without reading tells from it."""

from collections import Counter
from decimal import Decimal

import pytest
from holobench_databases import shop

from pydisp.draws import Draws
from pydisp.holobench.contexts.near_misses import CHOICES, near_misses
from pydisp.holobench.contexts.questions import Question
from pydisp.holobench.contexts.topic_questions import AnswerLengths
from pydisp.holobench.items import Gold
from pydisp.holobench.prompts import Prompts, Style
from pydisp.loading import load_tokenizer


@pytest.fixture(scope="module")
def lengths():
    return AnswerLengths(Prompts(load_tokenizer("demo"), Style()))


def _missed(lengths, gold, kind, sources, seed, shown=range(8), **more):
    database = shop()
    tables = {name: database.table(name).with_rows(shown) for name in ("customers", "orders")}
    question = Question("?", "SELECT 1", kind, sources, tuple(tables), **more)
    found = near_misses(gold, question, tables, database, lengths, Draws(seed))
    if found is not None:
        assert len(found) == CHOICES - 1 and len({one.rows for one in (gold, *found)}) == CHOICES
        assert all((one.columns, one.types, len(one.rows)) == (gold.columns, gold.types, len(gold.rows)) for one in found)
        assert len(set(lengths([gold, *found]))) == 1
    return found


@pytest.mark.parametrize(
    ("gold", "source"),
    [
        (Gold(("n",), ("integer",), ((17,),)), None),
        (Gold(("n",), ("integer",), ((240,),)), None),
        (Gold(("p",), ("decimal(2)",), ((27.75,),)), ("orders", "price")),
        (Gold(("p",), ("decimal(2)",), ((-3.5,),)), None),
        (Gold(("no",), ("identifier",), ((104,),)), ("orders", "order_no")),
    ],
)
def test_the_gold_is_each_of_the_four_ranks_equally_often(lengths, gold, source):
    value = gold.rows[0][0]
    ranks = Counter()
    for seed in range(120):
        found = _missed(lengths, gold, "count", (source,), seed)
        ranks[sum(one.rows[0][0] < value for one in found)] += 1
    assert sorted(ranks) == [0, 1, 2, 3] and min(ranks.values()) >= 14, ranks


def test_a_name_is_missed_by_names_that_the_context_shows(lengths):
    gold = Gold(("name",), ("text",), (("Customer 3",),))
    for seed in range(10):
        found = _missed(lengths, gold, "extreme", (("customers", "name"),), seed)
        assert {one.rows[0][0] for one in found} <= {f"Customer {number}" for number in range(1, 9)} - {"Customer 3"}


def test_of_several_rows_one_value_is_wrong_or_two_change_places(lengths):
    gold = Gold(("city", "n"), ("text", "integer"), (("Rome", 2), ("Oslo", 5), ("Bonn", 1)))
    for seed in range(10):
        for one in _missed(lengths, gold, "group", (("customers", "city"), None), seed):
            assert 1 <= sum(a != b for a, b in zip(one.rows, gold.rows, strict=True)) <= 2


def test_a_ranking_may_be_missed_by_its_order(lengths):
    gold = Gold(("name",), ("text",), (("Customer 3",), ("Customer 5",), ("Customer 1",)))
    kinds = Counter(
        sorted(one.rows) == sorted(gold.rows)
        for seed in range(10)
        for one in _missed(lengths, gold, "top_k", (("customers", "name"),), seed)
    )
    assert kinds[True] and kinds[False]
    for seed in range(10):  # elsewhere the order does not make an answer wrong
        assert all(sorted(one.rows) != sorted(gold.rows) for one in _missed(lengths, gold, "filter", (("customers", "name"),), seed))


def test_where_there_are_too_few_there_are_none(lengths):
    assert _missed(lengths, Gold(("name",), ("text",), ()), "filter", (("customers", "name"),), 0) is None
    assert (
        _missed(lengths, Gold(("city",), ("text",), (("Rome",), ("Oslo",), ("Bonn",), ("Lyon",))), "filter", (("customers", "city"),), 0)
        is None
    )
    assert _missed(lengths, Gold(("x",), ("text",), (("nowhere",),)), "filter", (None,), 0) is None


def test_the_same_seed_gives_the_same_misses(lengths):
    gold = Gold(("p",), ("decimal(2)",), ((float(Decimal("27.75")),),))
    first, again, other = (_missed(lengths, gold, "extreme", (("orders", "price"),), seed) for seed in (4, 4, 5))
    assert first == again != other


def test_an_average_is_missed_by_averages_of_as_many_values(lengths):
    gold = Gold(("mean",), ("decimal(2)",), ((27.75,),))
    for seed in range(10):
        found = _missed(lengths, gold, "aggregate", (None,), seed, summed=("customers", "age"), averaged=4)
        assert all((one.rows[0][0] * 4) % 1 == 0 for one in found), found


def test_a_sum_of_prices_is_missed_by_sums_of_prices(lengths):
    gold = Gold(("total",), ("decimal(2)",), ((120.5,),))
    for seed in range(10):
        found = _missed(lengths, gold, "aggregate", (None,), seed, summed=("orders", "price"))
        assert all(round(one.rows[0][0] * 100) % 25 == 0 for one in found), found  # every price is a quarter


def test_rows_stand_in_the_gold_order(lengths):
    gold = Gold(("name",), ("text",), (("Customer 1",), ("Customer 3",), ("Customer 5",)))
    for seed in range(10):
        assert all(list(one.rows) == sorted(one.rows) for one in _missed(lengths, gold, "filter", (("customers", "name"),), seed))


def test_names_of_the_rows_shown_come_before_others(lengths):
    gold = Gold(("name",), ("text",), (("Customer 2",), ("Customer 3",)))
    shown = {f"Customer {number}" for number in range(1, 9)}
    for seed in range(10):
        found = _missed(lengths, gold, "filter", (("customers", "name"),), seed)
        assert all({row[0] for row in one.rows} <= shown for one in found)
