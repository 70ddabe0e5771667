"""Small databases for tests, some written by hand and some drawn by hypothesis; and SQLite's answer to a query on the rows of tables."""

import sqlite3
from decimal import Decimal

from hypothesis import strategies as st

from pydisp.holobench.database.tables import Column, Database, Reference, Table

AWKWARD = ("order", "Größe m²", "select", 'quo"te', "two words", "Ünï", "x", "VALUE")


def shop(orders: int = 40) -> Database:
    """Customers, their orders, and two tables beside them."""
    cities = ("Rome", "Oslo", "Bonn", "Lyon")
    customers = Table(
        "customers",
        (Column("name", "text", role="key"), Column("city", "text", role="category"), Column("age", "integer", role="measure")),
        tuple((f"Customer {number}", cities[number * number % 4], 20 + 7 * number % 50) for number in range(1, 11)),
        key="name",
        one="customer",
        many="customers",
    )
    rows = tuple((100 + n, f"Customer {n * n % 10 + 1}", Decimal(n * 37 % 91) / 4 + 5) for n in range(orders))
    bought = Table(
        "orders",
        (
            Column("order_no", "integer", role="key"),
            Column("customer", "text", role="reference"),
            Column("price", "decimal", decimals=2, role="measure"),
        ),
        tuple((number, name, price.quantize(Decimal("0.01"))) for number, name, price in rows),
        key="order_no",
        references=(Reference("customer", "customers", "name"),),
        one="order",
        many="orders",
    )
    plants = Table(
        "plants",
        (Column("plant_no", "integer", role="key"), Column("kind", "text", role="category"), Column("height", "integer", role="measure")),
        tuple((number, ("fern", "rose", "palm")[number % 3], 10 + 3 * number) for number in range(120)),
        key="plant_no",
    )
    return Database("shop", (customers, bought, plants))


def sqlite_rows(sql: str, tables) -> list[tuple]:
    """What SQLite answers on the rows of the tables."""
    connection = sqlite3.connect(":memory:")
    for table in tables:
        columns = ", ".join(f"{_quoted(c.name)} {c.sql_type}" for c in table.columns)
        connection.execute(f"CREATE TABLE {_quoted(table.name)} ({columns})")
        places = ", ".join("?" * len(table.columns))
        rows = [tuple(float(v) if isinstance(v, Decimal) else v for v in row) for row in table.rows]
        connection.executemany(f"INSERT INTO {_quoted(table.name)} VALUES ({places})", rows)
    found = connection.execute(sql).fetchall()
    connection.close()
    return found


def same_rows(ours, theirs, *, is_ordered: bool) -> bool:
    """Whether two answers are equal; numbers to 1e-9, because SQLite sums decimals as floats."""
    if len(ours) != len(theirs):
        return False
    if not is_ordered:
        ours, theirs = (
            sorted(rows, key=lambda row: tuple(f"{v:.4f}" if isinstance(v, int | float) else str(v) for v in row))
            for rows in (ours, theirs)
        )
    return all(
        len(a) == len(b) and all(abs(x - y) < 1e-9 if isinstance(x, int | float) and isinstance(y, int | float) else x == y for x, y in zip(a, b, strict=True))
        for a, b in zip(ours, theirs, strict=True)
    )  # fmt: skip


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


@st.composite
def databases(draw) -> Database:
    """A parent and a child table with random names and rows, and a table beside them for filler."""
    names = draw(st.permutations(AWKWARD))
    words = draw(
        st.lists(
            st.text(st.characters(categories=("Lu", "Ll", "Nd", "Po", "Zs")), min_size=1, max_size=8).filter(str.strip),
            min_size=2,
            max_size=4,
            unique=True,
        )
    )
    parents = draw(st.integers(2, 6))
    parent = Table(
        names[0],
        (Column(names[1], "integer", role="key"), Column(names[2], "text", role="category"), Column("size", "integer", role="measure")),
        tuple((10 + n, draw(st.sampled_from(words)), draw(st.integers(-50, 500))) for n in range(parents)),
        key=names[1],
    )
    child = Table(
        names[3],
        (
            Column("id", "integer", role="key"),
            Column(names[4], "integer", role="reference"),
            Column("cost", "decimal", decimals=2, role="measure"),
            Column("day", "date", role="date"),
            Column("kind", "text", role="category"),
        ),
        tuple(
            (
                100 + n,
                10 + draw(st.integers(0, parents - 1)),
                Decimal(draw(st.integers(-999, 99999))).scaleb(-2),
                f"20{draw(st.integers(10, 29))}-0{draw(st.integers(1, 9))}-1{draw(st.integers(0, 9))}",
                draw(st.sampled_from(words)),
            )
            for n in range(draw(st.integers(12, 40)))
        ),
        key="id",
        references=(Reference(names[4], names[0], names[1]),),
    )
    beside = Table(
        "beside",
        (Column("no", "integer", role="key"), Column("word", "text", role="category")),
        tuple((n, words[n % len(words)]) for n in range(150)),
        key="no",
    )
    return Database("random", (parent, child, beside))
