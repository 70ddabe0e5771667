"""Column roles: keys, references and what can be asked of a column, from names and values."""

import pytest

from pydisp.holobench.database.column_kinds import typed
from pydisp.holobench.database.column_roles import Declared, Draft, tables_of
from pydisp.holobench.database.tables import Reference


def draft(name: str, key: str | None = None, references: tuple = (), /, **values) -> Draft:
    columns = [typed(column, list(given)) for column, given in values.items()]
    return Draft(name, [column for column, _ in columns], [given for _, given in columns], Declared(key, list(references)))


def read(*drafts: Draft):
    tables, notes = tables_of(list(drafts))
    return {table.name: table for table in tables}, notes


def roles(table) -> dict[str, str]:
    return {column.name: column.role for column in table.columns}


def role(name: str, values) -> str:
    tables, _ = read(draft("t", **{"first": ["same"] * len(values), name: values}))
    return roles(tables["t"])[name]


@pytest.mark.parametrize(
    ("name", "values", "expected"),
    [
        ("price", [3, 3, 4], "measure"),
        ("price", [3.5, None, 4], "measure"),
        *[(name, [3, 3, 4], "other") for name in ("house_number", "PostalCode", "zip", "Phone", "owner_id", "RoomNo")],
        ("year", [1999, 2100, None, 1999], "year"),
        ("YearBuilt", [1000, 1000], "year"),
        ("years", [3, 3, 999], "measure"),
        ("year", [1999, 2101], "measure"),
        ("born", ["2001-01-01", None], "date"),
        ("code", ["12", "12", "-1.5"], "other"),
        ("kind", ["12", "12", "x"], "category"),
        ("color", ["red", "red", "blue"], "category"),
        ("color", ["red", "red", None], "other"),
        ("color", ["c" * 41] * 3, "other"),
        ("color", list("aaaabbbbcccc"), "category"),
        ("color", list("aaaabbbbcccd"), "other"),
        ("title", list("abcdefghij"), "label"),
        ("title", list("abcdefghii"), "label"),
        ("title", list("abcdefghhh"), "other"),
        ("title", [*"abcdefghij", None], "other"),
        ("title", [letter * 61 for letter in "abcdefghij"], "other"),
        ("title", [*"abcdefghi", "j" * 400], "label"),
    ],
)
def test_roles(name, values, expected):
    # three values of twelve are a category, four are not
    assert role(name, values) == expected


def test_a_declared_key_is_the_key_if_each_row_has_its_own():
    tables, notes = read(draft("t", "b", a=[1, 2], b=["x", "y"]), draft("u", "B", a_no=[1, 2], b=["z", "z"]))
    assert (tables["t"].key, tables["u"].key) == ("b", "a_no")
    assert notes == ["u.b is no key, because it has no value or the same value in some rows."]


@pytest.mark.parametrize(
    ("columns", "key"),
    [
        ({"size": [2, 1], "name": ["a", "b"]}, "size"),  # numbers in the first column
        ({"name": ["a", "b"], "size": [2, 1]}, None),
        ({"name": ["a", "b"], "ID": [2, 1]}, "ID"),
        ({"name": ["a", "b"], "country_code": ["x", "y"], "No": [1, 2]}, "country_code"),
        ({"No": [1, 1], "id": [None, 2]}, None),
        ({"id": [1.5, 2.5]}, None),
    ],
)
def test_the_first_unique_column_that_looks_like_a_key_is_one(columns, key):
    assert read(draft("t", **columns))[0]["t"].key == key


def test_declared_references_are_kept_whatever_the_letter_case():
    tables, notes = read(
        draft("Child", None, (Reference("P", "parent", "id"), Reference("q", "PARENT", "")), no=[1, 2, 3], p=[7, 8, None], q=[8, 8, 8]),
        draft("Parent", "ID", ID=[7, 8]),
    )
    assert tables["Child"].references == (Reference("p", "Parent", "ID"), Reference("q", "Parent", "ID"))
    assert roles(tables["Child"]) == {"no": "key", "p": "reference", "q": "reference"}
    assert notes == []


@pytest.mark.parametrize(
    ("values", "targets", "note"),
    [
        ([7, 9], [7, 8], "some of its values are not there"),
        (["7", "7"], [7, 8], "one is text and the other integer"),
        ([7, 7], [7, 7], "several rows or none"),
    ],
)
def test_declared_references_that_do_not_hold_are_left_out_and_named(values, targets, note):
    tables, notes = read(draft("c", None, (Reference("up", "p", "number"),), x=["a", "b"], up=values), draft("p", number=targets))
    assert tables["c"].references == ()
    assert len(notes) == 1 and notes[0].startswith("the reference c.up to p.number is left out") and note in notes[0]


def test_references_to_what_was_left_out_are_left_out():
    tables, notes = read(draft("c", None, (Reference("a", "nowhere", "x"), Reference("gone", "c", "a"), Reference("a", "c", "")), a=[1, 2]))
    assert (tables["c"].references, notes) == ((), [])


def test_a_table_may_refer_to_itself_if_the_file_says_so():
    tables, _ = read(draft("staff", "id", (Reference("boss", "staff", "id"),), id=[1, 2], boss=[None, 1]))
    assert tables["staff"].references == (Reference("boss", "staff", "id"),)


def test_references_are_inferred_from_names_and_values_and_said():
    tables, notes = read(
        draft("wine", No=[1, 2, 3], Grape=["a", "b", "a"], price=[1, 2, 2], other=["z", "y", "y"], maker_id=[5, 5, None]),
        draft("grapes", ID=[1, 2, 3], grape=["a", "b", "c"], price=[1, 2, 3], other=["x", "y", "w"]),
        draft("makers", maker_id=[5, 6]),
    )
    assert tables["wine"].references == (Reference("Grape", "grapes", "grape"), Reference("maker_id", "makers", "maker_id"))
    assert notes == [
        "wine.Grape is taken to refer to grapes.grape, because names and values fit.",
        "wine.maker_id is taken to refer to makers.maker_id, because names and values fit.",
    ]
    assert roles(tables["wine"])["price"] == "measure"  # small numbers that fit by chance
    assert tables["grapes"].references == ()


def test_keys_are_never_taken_for_references_and_two_columns_not_for_each_other():
    tables, notes = read(
        draft("a", id=[1, 2], name=["x", "y"]), draft("b", id=[1, 2, 3], name=["x", "y", "z"]), draft("c", id=[1], name=["x"])
    )
    assert tables["a"].references == (Reference("name", "b", "name"),)
    assert tables["b"].references == ()
    same, _ = read(draft("a", name=["x", "y"]), draft("b", name=["y", "x"]))
    assert (same["a"].references, same["b"].references) == ((Reference("name", "b", "name"),), ())


def test_a_key_is_referred_to_rather_than_another_column():
    tables, _ = read(
        draft("c", x=["p", "p"], code=["a", "a"]), draft("plain", n=[1, 2], code=["a", "b"], no=[1, 1]), draft("keyed", code=["a", "c"])
    )
    assert tables["c"].references[0].table == "keyed"


def test_numbers_in_texts_are_keys_and_references_but_nothing_else():
    tables, _ = read(draft("s", ID=["01", "02"], room=["1", "1"]), draft("t", id=["01", "01"], n=[1, 1]))
    assert roles(tables["s"]) == {"ID": "key", "room": "other"}
    assert roles(tables["t"])["id"] == "reference"


def test_one_label_is_kept_and_names_come_first():
    tables, _ = read(
        draft("t", address=list("abcdefghij"), first_name=list("abcdefghii"), last_name=list("klmnopqrst"), email=list("uvwxyzabcd"))
    )
    assert roles(tables["t"]) == {"address": "other", "first_name": "other", "last_name": "label", "email": "other"}
