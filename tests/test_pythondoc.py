import ast

import pytest

from pydisp import pythondoc
from pydisp.pythondoc import KINDS, PARTS, documents, part_of


@pytest.mark.parametrize("kind", KINDS)
def test_parts_are_disjoint_and_make_up_the_whole(kind):
    parts = {part: {d.name for d in documents(kind, part)} for part in PARTS}
    names = [d.name for d in documents(kind)]
    assert all(parts.values())
    assert sorted(n for part in parts.values() for n in part) == sorted(names)
    assert len(set(names)) == len(names)


def test_no_paragraph_of_the_topics_is_in_two_parts():
    paragraphs = [{p for d in documents("topics", part) for p in d.text.split("\n\n")} for part in PARTS]
    assert not paragraphs[0] & paragraphs[1] and not paragraphs[1] & paragraphs[2] and not paragraphs[0] & paragraphs[2]


@pytest.mark.parametrize("kind", KINDS)
def test_a_second_reading_gives_the_same(kind):
    first = list(documents(kind))
    pythondoc._docstrings_read.clear() if kind == "docstrings" else pythondoc._topics.cache_clear()
    assert documents(kind) == first
    assert [d.name for d in first] == sorted((d.name for d in first), key=lambda name: name.split("/"))


def test_docstrings_come_in_the_order_of_ast_walk():
    source = (
        '"""m"""\nif a:\n    def f():\n        """f"""\n        class I:\n            """i"""\n'
        'else:\n    class E:\n        """e"""\ndef g():\n    """g"""\n'
        'try:\n    class T:\n        """t"""\nexcept E:\n    def h():\n        """h"""\nfinally:\n    def z():\n        """z"""\n'
        'match a:\n    case 1:\n        async def c():\n            """c"""\n'
    )
    tree = ast.parse(source)
    kinds = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef
    expected = [text for node in ast.walk(tree) if isinstance(node, kinds) and (text := ast.get_docstring(node))]
    assert list(pythondoc._docstrings_of(tree)) == expected
    assert sorted(expected) == sorted("mfegithzc")


def test_part_is_fixed_by_the_name_alone():
    assert {name: part_of(name) for name in EXPECTED_PARTS} == EXPECTED_PARTS


# Written out: another hash would move text that the demo model was trained on into calibration or held-out.
EXPECTED_PARTS = {"ast.py": "train", "argparse.py": "calibration", "asyncio/threads.py": "heldout"}


def test_unknown_kind_and_part_are_refused():
    with pytest.raises(ValueError, match="unknown kind of Python documentation 'peps'; known: docstrings, topics"):
        documents("peps")
    with pytest.raises(ValueError, match="unknown part 'test' of the Python documentation; known: train, calibration, heldout"):
        documents("topics", "test")
