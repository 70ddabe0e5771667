"""The guard: what questions need is let through, its tables are found under any name, and nothing else passes (see also test_gold)."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("duckdb")

from pydisp.holobench.database.tables import Column, Database, Table  # noqa: E402
from pydisp.holobench.sql.locked_database import GoldError  # noqa: E402
from pydisp.holobench.sql.sql_guard import read, tables_of  # noqa: E402
from pydisp.holobench.sql.sql_vocabulary import FUNCTIONS  # noqa: E402

ORDERS = Table("Orders", (Column("id", "integer"), Column("price", "decimal", 2), Column("day", "date"), Column("city", "text")), ())
PEOPLE = Table("people", (Column("id", "integer"), Column("name", "text")), ())
USERS = Table("Größe m²", (Column("user", "text"), Column("rowid", "integer"), Column("x", "integer")), ())
WORDS = [*"()*,;.[]{}?é\0\ud800", *"SELECT FROM WHERE WITH AS UNION LIMIT orders id 'a' -- /* */ :: $$ 1 -1 \"x".split()]  # noqa: SIM905
SHOP = Database("shop", (ORDERS, PEOPLE, USERS))


@pytest.mark.parametrize(
    ("sql", "tables"),
    [
        ("SELECT count(*) FROM orders", ("Orders",)),
        ("select COUNT(*) from ORDERS;", ("Orders",)),
        ("SELECT 1", ()),
        ("SELECT o.city FROM people p JOIN orders o ON o.id = p.id", ("Orders", "people")),
        ("SELECT city FROM orders, people", ("Orders", "people")),
        ("SELECT city FROM orders WHERE id IN (SELECT id FROM people)", ("Orders", "people")),
        ("SELECT city FROM orders WHERE EXISTS (SELECT 1 FROM people WHERE people.id = orders.id)", ("Orders", "people")),
        ("SELECT id FROM orders EXCEPT SELECT id FROM people", ("Orders", "people")),
        ("SELECT (SELECT max(id) FROM people) - (SELECT min(id) FROM people)", ("people",)),
        ("WITH t AS (SELECT id FROM people) SELECT * FROM t", ("people",)),
        ("WITH people AS (SELECT id FROM orders) SELECT * FROM people", ("Orders",)),
        ("WITH people AS (SELECT id FROM people) SELECT * FROM PEOPLE", ("people",)),
        ("WITH a AS (SELECT id FROM people), b AS (SELECT id FROM a) SELECT b.id FROM b JOIN orders USING (id)", ("Orders", "people")),
        ("WITH orders AS (SELECT 1 AS id) SELECT id FROM orders UNION SELECT id FROM people", ("people",)),
        ("SELECT x FROM (WITH orders AS (SELECT 1 AS x) SELECT x FROM orders), people", ("people",)),
        ("SELECT id FROM orders WHERE id IN (WITH people AS (SELECT 1 AS id) SELECT id FROM people)", ("Orders",)),
        ("SELECT t.id FROM (WITH people AS (SELECT 1 AS id) SELECT id FROM people) t JOIN people ON t.id = people.id", ("people",)),
        ('SELECT "user", rowid FROM "Größe m²" WHERE rowid > 1', ("Größe m²",)),
        ("SELECT * EXCLUDE (price) FROM orders", ("Orders",)),
        ("SELECT * FROM orders NATURAL JOIN people", ("Orders", "people")),
        ("SELECT * FROM orders LEFT JOIN people USING (id)", ("Orders", "people")),
        ('SELECT t."count_star()" FROM (SELECT count(*) FROM orders) t', ("Orders",)),
        ("SELECT a + 1 FROM (VALUES (1), (2)) t(a)", ()),
    ],
)
def test_tables_are_found_under_any_name(sql, tables):
    assert tables_of(sql, SHOP) == tables


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT city, count(*) AS n, sum(price), avg(price), min(day) FROM orders GROUP BY city HAVING count(*) > 1 ORDER BY n DESC",
        "SELECT count(DISTINCT city) FROM orders WHERE price BETWEEN 1 AND 2 OR NOT (city LIKE '%a%' AND city IS NOT NULL)",
        "SELECT sum(price) FILTER (WHERE city <> 'Rome') FROM orders",
        "SELECT CASE WHEN price > 3 THEN 'dear' ELSE 'cheap' END AS c, count(*) FROM orders GROUP BY 1",
        "SELECT ROUND(100.0 * sum(price) / count(*), 2), abs(-id), id % 2, id // 2, -id, id ** 2 FROM orders GROUP BY id",
        "SELECT upper(city) || '!', length(city), substring(city FROM 1 FOR 2), trim(city), concat(city, 'x') FROM orders",
        "SELECT replace(city, ' ', ''), instr(city, 'a'), position('a' IN city), starts_with(city, 'R'), city ILIKE 'r%' FROM orders",
        "SELECT coalesce(city, 'none'), nullif(city, 'x'), ifnull(city, 'none'), if(id > 1, 'a', 'b') FROM orders",
        "SELECT year(day), extract(MONTH FROM day), date_part('day', day), strftime(day, '%Y-%m'), date_diff('day', day, day) FROM orders",
        "SELECT CAST(id AS VARCHAR), id::DOUBLE, CAST(price AS DECIMAL(10, 1)), TRY_CAST(city AS INTEGER), DATE '2020-01-01' FROM orders",
        "SELECT city FROM orders WHERE id NOT IN (1, 2, 3)",
        "SELECT city FROM orders WHERE price > ALL (SELECT price FROM orders WHERE id < 3)",
        "SELECT city FROM orders WHERE city LIKE 'a!%%' ESCAPE '!'",
        "FROM orders SELECT city WHERE id = 3",
        'SELECT id AS "current_user" FROM orders ORDER BY "current_user"',
    ],
)
def test_what_questions_need_is_let_through(sql):
    assert read(sql, SHOP.tables).sql == sql


@pytest.mark.parametrize(
    ("sql", "reason"),
    [
        ("SELECT user FROM orders", "no column 'user'"),
        ("SELECT o.rowid FROM orders o", "no column 'rowid'"),
        ("SELECT orders FROM orders", "no column 'orders'"),
        ("SELECT id FROM orders JOIN people USING (rowid)", "no column 'rowid'"),
        ("SELECT main.orders.id FROM orders", "write table.column"),
        ("SELECT id FROM main.orders", "write its name alone"),
        ("SELECT id FROM t", "the tables are: Orders, people, Größe m²"),
        ("WITH b AS (SELECT id FROM a), a AS (SELECT id FROM people) SELECT id FROM b", "no table 'a'"),
        ("WITH a AS (SELECT id FROM people) SELECT * FROM (WITH a AS (SELECT 1) SELECT * FROM a)", "name 'a'"),
        ("SELECT DISTINCT ON (city) id FROM orders", "DISTINCT ON"),
        ("SELECT id FROM orders USING SAMPLE 3", "sample"),
        ("SELECT id FROM orders TABLESAMPLE 10%", "sample"),
        ("SELECT id FROM orders LIMIT 10%", "whole numbers|percent"),
        ("SELECT id FROM orders LIMIT 1 + 1", "whole numbers"),
        ("SELECT date_part(city, day) FROM orders", "name the part"),
        ("SELECT date_part('epoch', day) FROM orders", "name the part"),
        ("SELECT max(id, 3) FROM orders", "greatest"),
        ("SELECT sum(id ORDER BY id) FROM orders", "order"),
        ("SELECT replace(city, 'a', 'aa') FROM orders", "longer"),
        ("SELECT replace(city, 'a', 'é') FROM orders", "longer"),
        ("SELECT city LIKE '%a%b%c%' FROM orders", "wildcards"),
        ("SELECT contains(city, city) FROM orders", "100 characters"),
        ("SELECT " + ", ".join(f"(SELECT count(*) FROM orders WHERE id = {n})" for n in range(17)), "more than 16 tables"),
        ("SELECT " + "1 + " * 150 + "1", "too many expressions|depth"),
        ("SELECT '" + "x" * 10_000 + "'", "characters"),
    ],
)
def test_what_is_refused_is_named(sql, reason):
    with pytest.raises(GoldError, match=reason):
        read(sql, SHOP.tables)


def test_every_function_that_is_not_listed_is_refused():
    import duckdb

    connection = duckdb.connect()
    names = {name for (name,) in connection.execute("SELECT DISTINCT function_name FROM duckdb_functions()").fetchall()}
    connection.close()
    others = sorted(name for name in names - FUNCTIONS if name.isidentifier() and name.isascii())
    assert len(others) > 300 and "random" in others
    for name in others:
        with pytest.raises(GoldError):
            read(f'SELECT "{name}"() FROM orders', SHOP.tables)
        with pytest.raises(GoldError):
            read(f'SELECT * FROM "{name}"(1)', SHOP.tables)


@settings(max_examples=150, deadline=None)
@given(st.lists(st.sampled_from(WORDS), max_size=14))
def test_no_text_gets_anything_but_a_sentence(words):
    try:
        read(" ".join(words), SHOP.tables)
    except GoldError as error:
        assert str(error).endswith(".") and "\n" not in str(error)
