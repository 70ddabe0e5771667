"""Nouns: names of tables and columns as words."""

import pytest

from pydisp.holobench.database.nouns import nouns, words_for


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("UnitPrice", "unit price"),
        ("unit_price", "unit price"),
        ("ID", "ID"),
        ("isAVA", "is AVA"),
        ("s_ID", "s ID"),
        ("no", "no"),
        ("Größe", "größe"),
        ("a  b", "a b"),
    ],
)
def test_words(name, words):
    assert words_for(name) == words


@pytest.mark.parametrize(
    ("table", "one", "many"),
    [
        ("InvoiceLine", "invoice line", "invoice lines"),
        ("wine", "wine", "wines"),
        ("grapes", "grape", "grapes"),
        ("time_slot", "time slot", "time slots"),
        ("categories", "category", "categories"),
        ("category", "category", "categories"),
        ("day", "day", "days"),
        ("boxes", "box", "boxes"),
        ("box", "box", "boxes"),
        ("address", "address", "addresses"),
        ("classes", "class", "classes"),
        ("status", "status", "statuses"),
    ],
)
def test_one_and_many(table, one, many):
    assert nouns(table) == {"one": one, "many": many}


def test_names_that_are_not_latin_have_none():
    assert nouns("日本") == nouns("t1") == nouns("2nd") == nouns('a"b') == {}
