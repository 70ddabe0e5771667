"""Generated databases: the same bytes for a seed, longer ones begin with shorter ones, references hold, common values are common."""

import hashlib
import random
from collections import Counter

import pytest

from pydisp.holobench.database.domains import DOMAINS
from pydisp.holobench.database.drawn_columns import FIRST_NUMBER
from pydisp.holobench.database.generated import LARGEST, SMALLEST, generate
from pydisp.holobench.database.tables import TableError

DIGESTS = {
    "shop": "1facc687989010ac5ae8b86e3f01b823957d7a1f981e64f53e8392c711cd65c3",
    "school": "3708efd134742eaa91c2ccc7dc0ee87b1c64f602c52edc90187f006fa2aba438",
    "railway": "982a7e9ef77f29e51d71818d789b1c390080782817bbb2407300d1f53428559e",
    "clinic": "3b6653f83376b6d515ecb4302b91439d288eb260a46114779cf33ff922a7454e",
    "league": "6d5ebf0d0cfc1702c8f8b8388b3c6e6700deb46cbba1dabaf58b4426ace46d86",
}


def digest(database) -> str:
    return hashlib.sha256(repr([(table.name, table.rows) for table in database.tables]).encode()).hexdigest()


@pytest.fixture(params=DOMAINS)
def domain(request):
    return request.param


def test_a_seed_gives_the_same_bytes_everywhere(domain):
    assert digest(generate(domain, seed=0, rows=200)) == DIGESTS[domain]


def test_another_seed_gives_other_rows_in_every_table(domain):
    for one, other in zip(generate(domain, 0, 60).tables, generate(domain, 1, 60).tables, strict=True):
        assert one.rows != other.rows


def test_a_larger_database_begins_with_the_rows_of_a_smaller_one(domain):
    fewer, more = (SMALLEST + random.randrange(200) for _ in range(2))
    seed = random.randrange(1000)
    print("seed", seed, "rows", fewer, more)
    small, large = generate(domain, seed, min(fewer, more)), generate(domain, seed, max(fewer, more))
    for one, other in zip(small.tables, large.tables, strict=True):
        assert other.rows[: len(one.rows)] == one.rows


@pytest.mark.parametrize("rows", [SMALLEST, 41, 777])
def test_the_largest_table_has_so_many_rows_and_every_reference_a_row(domain, rows):
    database = generate(domain, seed=3, rows=rows)
    assert max(len(table.rows) for table in database.tables) == rows
    for table in database.tables:
        assert len(set(table.values(table.key))) == len(table.rows) > 0
        for reference in table.references:
            target = database.table(reference.table)
            assert reference.target == target.key
            assert table.column(reference.column).role == "reference"
            assert set(table.values(reference.column)) <= set(target.values(reference.target))


def test_each_domain_has_three_linked_tables_and_two_that_nothing_is_linked_to(domain):
    tables = generate(domain, rows=SMALLEST).tables
    linked = {table.name for table in tables if table.references} | {one.table for table in tables for one in table.references}
    assert (len(linked), len(tables)) == (3, 5)


def test_two_domains_or_more_have_names_for_keys_that_others_refer_to_and_two_have_numbers():
    kinds = Counter()
    for domain in DOMAINS:
        database = generate(domain, rows=SMALLEST)
        targets = {database.table(one.table) for table in database.tables for one in table.references}
        kinds[frozenset(table.column(table.key).kind for table in targets)] += 1
    assert kinds[frozenset({"text"})] >= 2 and kinds[frozenset({"integer"})] >= 2


def test_labels_and_keys_are_unique_at_20000_rows(domain):
    for table in generate(domain, seed=1, rows=20_000).tables:
        for column in table.columns:
            if column.role in ("key", "label"):
                assert len(set(table.values(column.name))) == len(table.rows)


def test_values_have_the_kinds_of_their_columns(domain):
    kinds = {"integer": "int", "decimal": "Decimal", "text": "str", "date": "str"}
    for table in generate(domain, rows=100).tables:
        assert table.columns[0].name == table.key
        for column in table.columns:
            assert {type(value).__name__ for value in table.values(column.name)} == {kinds[column.kind]}
            if column.kind == "decimal":
                assert {value.as_tuple().exponent for value in table.values(column.name)} == {-2} == {-column.decimals}
            if column.kind == "date":
                assert all(len(value) == 10 for value in table.values(column.name))


def test_common_values_are_common_and_rare_ones_are_there(domain):
    for table in generate(domain, seed=2, rows=4000).tables:
        for column in table.columns:
            counts = sorted(Counter(table.values(column.name)).values(), reverse=True)
            if column.role == "category":
                assert counts[0] > 2 * counts[-1]
            if column.role == "reference":
                assert counts[0] > len(table.rows) / 20  # of hundreds of rows that could be referred to
                assert len(counts) > 30


def test_the_largest_measures_of_a_sample_are_seldom_equal(domain):
    for table in generate(domain, seed=4, rows=4000).tables:
        for column in table.columns:
            if column.role == "measure":
                values = list(table.values(column.name))
                ties = 0
                for start in range(0, len(values) - 40, 40):
                    first, second = sorted(values[start : start + 40])[-2:]
                    ties += first == second
                assert ties <= len(values) / 40 / 5, column.name


def test_no_club_plays_against_itself():
    matches = generate("league", seed=random.randrange(1000), rows=4000).table("matches")
    assert all(home != guest for home, guest in zip(matches.values("home"), matches.values("guest"), strict=True))


def test_no_person_of_one_table_stands_in_another(domain):
    names = [set(table.values(column.name)) for table in generate(domain, rows=4000).tables for column in table.columns
             if column.kind == "text" and column.role in ("key", "label")]  # fmt: skip
    assert sum(map(len, names)) == len(set().union(*names))


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        ({"domain": "shops"}, "shop, school, railway, clinic, league"),
        ({"rows": SMALLEST - 1}, "39 rows"),
        ({"rows": LARGEST + 1}, "choose 40 to 1000000"),
        ({"rows": 100.0}, "100.0"),
        ({"rows": True}, "True"),
        ({"seed": "1"}, "'1'"),
    ],
)
def test_what_cannot_be_generated_is_refused_in_one_sentence(arguments, part):
    with pytest.raises(TableError) as refused:
        generate(**arguments)
    assert part in str(refused.value) and "\n" not in str(refused.value)


def test_numbers_of_rows_are_no_small_counts():
    assert min(generate("shop", rows=SMALLEST).table("orders").values("order_no")) == FIRST_NUMBER > 100
