"""Nouns: what a question calls the tables and columns of a database file, made from their names."""

import re

_PARTS = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|_")
_ENGLISH = re.compile(r"[A-Za-z][A-Za-z0-9 ]*[A-Za-z]")


def words_for(name: str) -> str:
    """ "unit price" for UnitPrice and unit_price; words in capitals keep them, as in "customer ID"."""
    words = _PARTS.sub(" ", name).split()
    return " ".join(word.lower() if word[1:].islower() else word for word in words)


def nouns(table: str) -> dict[str, str]:
    """One row and many, such as {"one": "invoice line", "many": "invoice lines"} for InvoiceLine; nothing for names that are not of Latin letters."""
    words = words_for(table)
    if not _ENGLISH.fullmatch(words):
        return {}
    if not words.lower().endswith("s") or words.lower().endswith(("ss", "us", "is")):
        return {"one": words, "many": _plural(words)}
    if words.lower().endswith("ies"):
        return {"one": words[:-3] + "y", "many": words}
    return {"one": words[:-2] if words.lower().endswith(("sses", "xes", "ches", "shes")) else words[:-1], "many": words}


def _plural(words: str) -> str:
    if words.lower().endswith(("s", "x", "ch", "sh")):
        return f"{words}es"
    return f"{words[:-1]}ies" if re.search("[^aeiou]y$", words) else f"{words}s"
