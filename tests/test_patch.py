"""A library's own code comes back after the last of several uses, in whatever order they end."""

from types import SimpleNamespace

import pytest

from pydisp.patch import Patch


@pytest.fixture
def library():
    return SimpleNamespace(word="own")


@pytest.fixture
def patch(library):
    def apply():
        library.word = "ours"
        return lambda: setattr(library, "word", "own")

    return Patch(apply)


@pytest.mark.parametrize("ends", ["first", "last"])
def test_it_ends_with_the_last_use(library, patch, ends):
    assert patch.newest is None
    uses = [patch.use(value) for value in ("same", "same")]
    for one in uses:
        one.__enter__()
    first, second = uses if ends == "first" else uses[::-1]
    first.__exit__(None, None, None)
    assert (library.word, patch.newest) == ("ours", "same")
    second.__exit__(None, None, None)
    assert (library.word, patch.newest) == ("own", None)


def test_the_newest_value_holds_and_an_error_ends_a_use(library, patch):
    with patch.use(1):
        with pytest.raises(KeyError), patch.use(2):
            assert patch.newest == 2
            raise KeyError
        assert (library.word, patch.newest) == ("ours", 1)
    assert library.word == "own"
    with patch.use(3):
        assert (library.word, patch.newest) == ("ours", 3)
