"""Tools and call texts drawn by hypothesis: valid calls in every spelling, and texts made of the characters that calls have."""

from decimal import Decimal

from hypothesis import strategies as st

from pydisp.toolken.tools.limits import Limits
from pydisp.toolken.tools.tool import Parameter, Tool

SMALL = Limits(digits=5, exponent=12, text_length=4, list_length=3, nesting=2)
spaces = st.sampled_from(["", "", "", " ", "\n", "\t "])
characters = st.characters(exclude_categories=["Cs"]) | st.sampled_from("\"'\\/\n\t\rabu\u200b\u202e\u0661\x00")
strings = st.text(characters, max_size=SMALL.text_length)


@st.composite
def number_texts(draw, is_whole: bool = False) -> str:
    whole = draw(st.sampled_from(["0", "7", "10", "25", "100", "12345"]) | st.integers(0, 99).map(str))
    sign = draw(st.sampled_from(["", "-"]))
    if is_whole:
        return sign + whole
    fraction = draw(st.sampled_from(["", "", ".5", ".0", ".05", ".250"]))
    exponent = draw(st.sampled_from(["", "", "e2", "E-3", "e+0", "e12", "E-02"]))
    text = sign + whole + fraction + exponent
    return text if sum(map(str.isdigit, whole + fraction)) <= SMALL.digits else sign + whole


@st.composite
def string_texts(draw, content: str) -> str:
    quote = draw(st.sampled_from("\"'"))
    parts = []
    for one in content:
        simple = {"\\": "\\\\", '"': '\\"', "'": "\\'", "/": "\\/", "\n": "\\n", "\t": "\\t", "\r": "\\r"}.get(one)
        forms = [simple] if simple else []
        if ord(one) < 0x10000:
            forms += [f"\\u{ord(one):04x}", f"\\u{ord(one):04X}"]
        is_control = ord(one) < 0x20 or 0x7F <= ord(one) < 0xA0 or one in "\u2028\u2029"
        if one not in ("\\", quote) and not is_control:
            forms.append(one)
        parts.append(draw(st.sampled_from(forms)))
    return quote + "".join(parts) + quote


@st.composite
def any_texts(draw, depth: int = 0) -> str:
    kind = draw(st.sampled_from(["number", "string", "word", "list"] if depth < SMALL.nesting else ["number", "string", "word"]))
    if kind == "number":
        return draw(number_texts())
    if kind == "string":
        return draw(string_texts(draw(strings)))
    if kind == "word":
        return draw(st.sampled_from(["true", "false", "null"]))
    values = draw(st.lists(any_texts(depth + 1), max_size=SMALL.list_length))
    return f"[{draw(spaces)}" + f",{draw(spaces)}".join(f"{one}{draw(spaces)}" for one in values) + "]"


@st.composite
def value_texts(draw, parameter: Parameter) -> str:
    if not parameter.is_required and draw(st.integers(0, 4)) == 0:
        return "null"
    if parameter.type == "string":
        return draw(string_texts(draw(st.sampled_from(parameter.choices) if parameter.choices else strings)))
    if parameter.type == "boolean":
        return draw(st.sampled_from(["true", "false"]))
    if parameter.type == "list":
        return draw(any_texts().filter(lambda text: text.startswith("[")))
    if not parameter.choices:
        return draw(number_texts(parameter.type == "integer"))
    choice = draw(st.sampled_from(parameter.choices))
    return draw(st.sampled_from(spellings(choice, parameter.type == "integer")))


def spellings(choice: int | float, is_whole: bool) -> list[str]:
    """Ways to write a number within SMALL; every one of them has the value."""
    if is_whole:
        return [str(choice), "-0"] if choice == 0 else [str(choice)]
    value = Decimal(repr(choice))
    sign = "-" if value < 0 else ""
    digits = "".join(map(str, value.as_tuple().digits)).rstrip("0") or "0"
    texts = [f"{value:f}"]
    for body in (digits, f"{digits[0]}.{digits[1:] or '0'}", f"0.{digits}", f"0.00{digits}", f"{digits}0", f"{digits}00.0", f"{digits}.0"):
        shift = value.adjusted() - Decimal(body).adjusted() if value else 3
        for mark in ("e", "E", "e+", "e0", "E-0"):
            texts.append(f"{sign}{body}{mark[0]}{shift}" if len(mark) == 1 else f"{sign}{body}{mark}{abs(shift)}")
        texts.append(sign + body)

    def is_within(text: str) -> bool:
        mantissa, _, exponent = text.lower().partition("e")
        fits = (
            sum(map(str.isdigit, mantissa)) <= SMALL.digits
            and len(exponent.lstrip("+-")) <= 2
            and abs(int(exponent or 0)) <= SMALL.exponent
        )
        has_zeros = len(mantissa.lstrip("-").partition(".")[0]) > 1 and mantissa.lstrip("-").startswith("0")
        return fits and not has_zeros and Decimal(text) == value

    return sorted({text for text in texts if is_within(text)})


NAMES = ["a", "ab", "true", "tru", "n.x", "null-1"]


@st.composite
def parameters(draw, name: str) -> Parameter:
    kind = draw(st.sampled_from(["number", "integer", "string", "boolean", "list"]))
    allowed = {
        "number": st.lists(st.sampled_from([0, 7, -25, 0.25, 1500, -0.001, 12.5, 1e10, 2e-9]), max_size=3),
        "integer": st.lists(st.sampled_from([0, 7, 70, -25, 99999]), max_size=3),
        "string": st.lists(st.sampled_from(["km", "kg", "", "a'b", '"\\', "\u00e9\n", "\U0001f600", "A/b"]), max_size=3),
    }
    choices = tuple(draw(allowed[kind])) if kind in allowed else ()
    return Parameter(name, kind, choices, draw(st.booleans()))


@st.composite
def tools(draw) -> Tool:
    names = draw(st.lists(st.sampled_from(NAMES), unique=True, max_size=4))
    return Tool("t", "A tool.", tuple(draw(parameters(name)) for name in names))


@st.composite
def calls(draw) -> tuple[Tool, str]:
    """A tool and a valid call of it, to the closing bracket."""
    tool = draw(tools())
    positional = draw(st.integers(0, len(tool.parameters)))
    first, others = tool.parameters[:positional], tool.parameters[positional:]
    others = draw(st.permutations([one for one in others if one.is_required or draw(st.booleans())]))
    texts = [draw(value_texts(one)) for one in first]
    texts += [f"{one.name}{draw(spaces)}={draw(spaces)}{draw(value_texts(one))}" for one in others]
    return tool, draw(spaces) + f",{draw(spaces)}".join(f"{text}{draw(spaces)}" for text in texts) + ")"


CALL_CHARACTERS = "0123456789.-+eE\"'\\u/ntr[], )=abkmgtrueflsn \u0661\u200b"
loose_texts = st.text(st.sampled_from(CALL_CHARACTERS), max_size=12)
