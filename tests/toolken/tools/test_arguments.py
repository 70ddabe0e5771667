"""Arguments: the grammar, the signature, and texts that read back as what was written."""

from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from toolken_calls import SMALL, calls

from pydisp.toolken.tools.arguments import Arguments, ArgumentsError, bound, parse, written
from pydisp.toolken.tools.limits import LimitError, Limits
from pydisp.toolken.tools.tool import Parameter, Tool

WIDE = Limits(digits=400, exponent=400, text_length=100)
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
decimals = st.decimals(allow_nan=False, allow_infinity=False, places=4).filter(lambda value: value != 0)
scalars = st.none() | st.booleans() | st.integers(-(10**30), 10**30) | decimals | texts
values = st.recursive(scalars, lambda inner: st.lists(inner, max_size=3), max_leaves=6)


def depth(value) -> int:
    return 1 + max(map(depth, value), default=0) if isinstance(value, list) else 0


@settings(deadline=None)
@given(st.lists(values.filter(lambda value: depth(value) <= 4), max_size=4))
def test_what_is_written_reads_back_with_its_types(given_values):
    read = parse(written(given_values), WIDE)
    assert repr(read.positional) == repr(tuple(given_values)) and not read.named
    named = {f"a{place}": value for place, value in enumerate(given_values)}
    assert repr(parse(written(named), WIDE).named) == repr(named)


@pytest.mark.parametrize(
    "text, positional, named",
    [("", (), {}), ("  ", (), {}), ("12, 7", (12, 7), {}), ("-0.5,1e2", (Decimal("-0.5"), Decimal("1e2")), {}), ("'a', \"b\"", ("a", "b"), {}),
     (r"'it\'s \"\\\/\n\t\r\u00e9'", ("it's \"\\/\n\t\ré",), {}), ("[1, [true], [ ]]", ([1, [True], []],), {}), ("null", (None,), {}),
     ("5, from_unit = 'km',to='m'", (5,), {"from_unit": "km", "to": "m"}), ("true=1", (), {"true": 1}), ("x.y-z=false", (), {"x.y-z": False}),
     ("'(\"'", ('("',), {}), ("'\u202e\u200b'", ("\u202e\u200b",), {})],
)  # fmt: skip
def test_the_grammar_written_out(text, positional, named):
    assert parse(text) == Arguments(positional, named)
    assert [type(one) for one in parse(text).positional] == [type(one) for one in positional]


@pytest.mark.parametrize(
    "text, place",
    [(",", 0), ("1,", 2), ("1 2", 2), ("1,,2", 2), ("[1,]", 3), ("[1", 2), ("[,]", 1), ("'a", 2), ("'a\n'", 2), ("'\x00'", 1), ("'\\x41'", 2),
     ("'\\ud800'", 2), ("'\\u12'", 2), ("'\ud800'", 1), ("+1", 0), ("01", 1), ("1.", 1), (".5", 0), ("1e", 1), ("1e5.5", 3), ("0x10", 1), ("1_0", 1),
     ("\u0661", 0), ("1\u0661", 1), ("\uff11", 0), ("\u200b1", 0), ("1\u00a0, 2", 1), ("\u202e1", 0), ("nan", 0), ("Infinity", 0), ("True", 0),
     ("None", 0), ("a", 0), ("a=1, 2", 5), ("a=1, a=2", 5), ("a=", 2), ("=1", 0), ("a==1", 2), ("(1)", 0), ("1)", 1), ("{1: 2}", 0), ("f'x'", 0),
     ("b'x'", 0), ("'a' 'b'", 4), ("1+1", 1), ("--1", 0), ("a.b", 0), ("__import__('os')", 0), ("lambda: 0", 0), ("1 if 1 else 2", 2), ("*[1]", 0),
     ("**{}", 0), ("`ls`", 0), ("$x", 0), ("#", 0), ("...", 0), ("1;2", 1), ("\\", 0)],
)  # fmt: skip
def test_what_is_not_in_the_grammar_is_refused_with_its_place(text, place):
    with pytest.raises(ArgumentsError, match=f"at character {place + 1} of the arguments") as caught:
        parse(text)
    assert caught.value.place == place


def test_a_number_with_zeros_in_front_says_so():
    with pytest.raises(ArgumentsError, match="no zeros in front"):
        parse("007")


@pytest.mark.parametrize(
    "text, of",
    [("123456", "digits"), ("1.00001", "digits"), ("0.00000", "digits"), ("1e13", "exponent"), ("1e-13", "exponent"), ("1e0000012", "exponent"),
     ("'abcde'", "characters"), ("'a\\u0062cd\\n'", "characters"), ("[1,2,3,4]", "values"), ("[[[1]]]", "deep")],
)  # fmt: skip
def test_values_over_a_limit_are_refused(text, of):
    with pytest.raises(LimitError, match=of):
        parse(text, SMALL)


@pytest.mark.parametrize("text", ["12345", "1.0000", "1e12", "1e-12", "1E+12", "'abcd'", "[1,2,3]", "[[1]]"])
def test_values_at_a_limit_are_read(text):
    assert parse(text, SMALL).positional


@pytest.mark.parametrize(
    "text", ["[" * 100_000, "9" * 1_000_000, "'" + "\\" * 100_001, "1," * 100_000, "1e" + "9" * 100_000, " " * 1_000_000 + "x"]
)
def test_long_texts_end_soon_and_with_one_of_two_errors(text):
    with pytest.raises((ArgumentsError, LimitError)):
        parse(text)


TOOL = Tool(
    "t", "A tool.",
    (Parameter("n", "number", (1, 0.5)), Parameter("i", "integer"), Parameter("s", "string", ("km", "m")), Parameter("b", "boolean", is_required=False),
     Parameter("l", "list", is_required=False)),
)  # fmt: skip


@pytest.mark.parametrize(
    "text", ["1.0, 2, 'km'", "0.50, i=2, s='m'", "5e-1, 2, 'm', null, null", "1, 2, 'm', true, [null]", "s='m', i=-2, n=1"]
)
def test_arguments_that_fit(text):
    assert list(bound(TOOL, parse(text)))[:3] == ["n", "i", "s"]


def test_null_is_the_same_as_leaving_out():
    assert bound(TOOL, parse("1, 2, 'm', null, l=null")) == bound(TOOL, parse("1, 2, 'm'")) == {"n": 1, "i": 2, "s": "m"}


@pytest.mark.parametrize(
    "text, says",
    [("", "'n' is missing"), ("1, 2", "'s' is missing"), ("1, null, 'm'", "'i' is missing"), ("1, 2, 'm', true, [], 3", "6 arguments"),
     ("1, 2, 'm', x=3", "no argument 'x'"), ("1, 2, 'm', n=1", "'n' is given twice"), ("2, 2, 'm'", "one of 1, 0.5"), ("1, 2.0, 'm'", "an integer"),
     ("1, true, 'm'", "an integer"), ("true, 1, 'm'", "a number"), ("'1', 1, 'm'", "a number"), ("1, 1, 'M'", 'one of "km", "m"'), ("1, 1, 5", "a string"),
     ("1, 1, 'm', 1", "a boolean"), ("1, 1, 'm', l='x'", "a list"), ("1, 1, 'm', limits=1", "no argument 'limits'"), ("1, 1, 'm', self=1", "no argument")],
)  # fmt: skip
def test_arguments_that_do_not_fit_say_why(text, says):
    with pytest.raises(ArgumentsError, match=says):
        bound(TOOL, parse(text))


@settings(deadline=None, max_examples=50)
@given(calls())
def test_the_written_form_of_a_call_is_the_same_call(drawn):
    tool, text = drawn
    values = bound(tool, parse(text[:-1], SMALL))
    assert bound(tool, parse(written(values), Limits(exponent=400))) == values


@pytest.mark.parametrize("text", ["0.50", "1e2", "123456e200", "0.001e-200", "-10.0e200", "0.000000123"])
def test_a_written_number_has_its_value_and_digits(text):
    assert parse(written([Decimal(text)]), WIDE).positional[0].as_tuple() == Decimal(text).as_tuple()


@pytest.mark.parametrize("value", [object(), float("nan"), 0.5, Decimal("NaN"), Decimal("Infinity"), "\ud800", {1: 2}, b"x", (1,)])
def test_values_without_a_text_are_refused(value):
    with pytest.raises(TypeError):
        written([value])
