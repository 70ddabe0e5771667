"""Arguments in Python: a value of another kind is named in one sentence before a function begins."""

import inspect
from collections import deque
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_text import tiny_tokenizer

from pydisp import arguments
from pydisp.arguments import check, check_fields, list_of, one_of, optional, plain, takes, whole

HOSTILE = [
    None, True, -1, 0, 1.5, float("nan"), float("inf"), 10**400, "", "x", "a\0b", "\ud800", "x" * 5000, b"x", [], [[1]], {}, {"a": 1}, (), object(),
    print, int, np.zeros(2), np.int64(3), np.float32("nan"), np.array(None), torch.zeros(2), torch.tensor(3), torch.empty((), device="meta"),
    Path("x"), Path("x" * 300), range(3), 1j, np.array(["a"]), [np.zeros(2)],
    "a", tiny_tokenizer(),
]  # fmt: skip
KINDS = {name: value for name, value in vars(arguments).items() if isinstance(value, arguments.Kind)} | {
    "whole": whole(1), "one_of": one_of(("a", "b")), "list_of": list_of(whole(0), "whole numbers"), "optional": optional(whole(1)),
    "iterable_of": arguments.iterable_of("records"), "instance_of": arguments.instance_of(dict, "give a dict"),
}  # fmt: skip


class Place(str, Enum):  # noqa: UP042 - its `str` is "Place.CPU"
    CPU = "cpu"
    WIDE = "torch.float64"


def test_a_text_that_is_an_enum_is_the_text():
    assert check("device", Place.CPU, arguments.DEVICE) == "cpu" and check("dtype", Place.WIDE, arguments.DTYPE) == "float64"


def test_any_sequence_is_a_list():
    assert check("lengths", range(2, 5), list_of(whole(1), "tokens")) == (2, 3, 4)
    assert check("text", deque(["a.txt", Path("b.txt")]), arguments.SOURCES) == ("a.txt", "b.txt")
    for text in ("234", b"234"):
        with pytest.raises(ValueError, match="must be a list of tokens"):
            check("lengths", text, list_of(whole(1), "tokens"))


@pytest.mark.parametrize("number", [np.int64(3), np.float32(0.5), torch.tensor(3), torch.tensor(0.5), np.bool_(True)])
def test_numbers_of_numpy_and_torch_become_plain(number):
    assert type(plain(number)) in (int, float, bool) and plain(number) == number


@pytest.mark.parametrize("value", [None, "3", [3], np.zeros(2), torch.zeros(1), torch.empty((), device="meta")])
def test_all_else_stays_as_it_is(value):
    assert plain(value) is value


@pytest.mark.parametrize("name", KINDS)
def test_each_kind_takes_any_value_or_refuses_it_in_one_sentence(name):
    refused = 0
    for value in HOSTILE:
        try:
            check("it", value, KINDS[name])
        except (ValueError, TypeError) as error:
            words = str(error)
            assert words.startswith(("it is ", "it[0] is ")) and words.endswith(".") and "\n" not in words and len(words) < 300
            refused += 1
    assert 0 < refused < len(HOSTILE)


@pytest.mark.parametrize(
    ("kind", "right", "wrong"),
    [
        (whole(1), [1, np.int32(2), torch.tensor(5)], [0, 1.0, True, "1", None, [1]]),
        (whole(0, 3), [0, 3], [-1, 4]),
        (optional(whole(1)), [None, 1], [0, ""]),
        (arguments.SHARE, [0, 1, 0.5, np.float64(0.5)], [-0.1, 1.1, float("nan"), "0.5", True]),
        (arguments.ABOVE_ZERO, [1e-9, 3], [0, float("inf"), 10**400]),
        (arguments.SWITCH, [True, np.bool_(False)], [0, 1, "no", None]),
        (arguments.SEED, [0, 2**63 - 1], [-1, 2**63, 1.5, "a"]),
        (arguments.NAME, ["cpu"], ["", "  ", 5]),
        (arguments.PATH, ["a/b", Path("a")], ["", b"a", "a\0", "x" * 5000, "x" * 256, 5, ["a"]]),
        (arguments.DEVICE, ["cpu", torch.device("cpu")], [0, torch.float32]),
        (arguments.RECEIVER, [print], [None, "x"]),
        (arguments.TOKENIZER, [tiny_tokenizer()], [None, "demo", print, type(tiny_tokenizer())]),
        (list_of(whole(1), "whole numbers", least=1), [[1], (1, np.int64(2))], [[], 1, "1", {1}]),
        (arguments.iterable_of("records"), [[], range(2), np.zeros(2)], ["ab", b"ab", {"a": 1}, 5, None]),
    ],
)  # fmt: skip
def test_what_is_of_a_kind(kind, right, wrong):
    for value in right:
        check("it", value, kind)
    for value in wrong:
        with pytest.raises((ValueError, TypeError), match="^it is "):
            check("it", value, kind)


def test_values_are_made_what_a_function_wants():
    assert check("text", Path("a"), arguments.SOURCES) == ("a",) and check("text", ["a", Path("b")], arguments.SOURCES) == ("a", "b")
    assert check("dtype", torch.bfloat16, arguments.DTYPE) == "bfloat16" and check("device", torch.device("cpu"), arguments.DEVICE) == "cpu"
    assert check("lengths", [np.int64(3)], list_of(whole(1), "whole numbers")) == (3,)


def test_a_wrong_value_in_a_list_is_named():
    with pytest.raises(ValueError, match=r"^lengths\[1\] is '3'; it must be a whole number of at least 1\.$"):
        check("lengths", [2, "3"], optional(list_of(whole(1), "whole numbers")))
    assert check("lengths", None, optional(list_of(whole(1), "whole numbers"))) is None


def test_a_function_begins_only_with_what_it_takes():
    begun = []

    @takes(count=whole(1), name=optional(arguments.NAME))
    def function(count, *rest, name=5, **named):  # a default is trusted
        """Its words."""
        begun.append((count, rest, name, named))

    function(np.int64(2), 3, other=4)
    assert begun == [(2, (3,), 5, {"other": 4})] and type(begun[0][0]) is int
    assert function.__doc__ == "Its words." and list(inspect.signature(function).parameters) == ["count", "rest", "name", "named"]
    with pytest.raises(ValueError, match=r"^count is 2\.5; it must be a whole number of at least 1\.$"):
        function(2.5)
    with pytest.raises(ValueError, match="^name is ''; it must be a text that is not empty"):
        function(1, name="")
    with pytest.raises(TypeError, match="missing 1 required positional argument: 'count'"):
        function()
    assert len(begun) == 1


def test_a_misspelt_argument_is_seen_when_a_function_is_made():
    with pytest.raises(AssertionError, match="cuont"):
        takes(cuont=whole(1))(lambda count: count)


def test_fields_of_a_dataclass():
    @dataclass(frozen=True)
    class Settings:
        steps: int
        share: float = 0.5

        def __post_init__(self):
            check_fields(self, "some: ", steps=whole(1), share=arguments.SHARE)

    assert type(Settings(np.int64(3)).steps) is int
    with pytest.raises(ValueError, match="^some: share is nan; it must lie between 0 and 1"):
        Settings(1, float("nan"))
