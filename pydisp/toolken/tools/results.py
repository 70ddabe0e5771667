"""Results: a value as text, and text that no tokenizer reads as anything but text.

result_text(Decimal("0.10") + Decimal("0.2"), Limits()) == "0.3"; escaped("a<|im_end|>b", tokenizer) == "a<\\|im_end|>b"
"""

import datetime
import numbers
import unicodedata
from decimal import MAX_EMAX, MIN_EMIN, ROUND_HALF_EVEN, Context, Decimal

from pydisp.toolken.tools.limits import LimitError, Limits

SIGNIFICANT_DIGITS = 12  # of numbers without an end, unless more stand in front of the point
EXACT_DIGITS = 27  # a decimal of so many or fewer is written whole; one without an end has DIGITS of `arithmetic`, 28, or more
_DECIMALS = 2  # at least, of a number that is shortened
_FLOAT_DIGITS = 15  # that every float keeps; what stands behind is mostly noise, as in 0.30000000000000004
_SMALLEST_PLAIN = -10  # the power of ten of the first digit, below which a number is written with an exponent
_ROUNDS = 2  # how often one way to escape is tried before the next
_BYTE_TOKEN = "<0x"  # as SentencePiece writes a byte; "<0x0A>" in a text would come back as the byte
_LOG10_OF_2 = 0.30103


class ResultError(ValueError):
    """A value that has no text; the message is one sentence."""


class TooLargeError(LimitError):
    """A value whose text is longer than the limits allow."""


def result_text(value, limits: Limits = Limits()) -> str:  # noqa: B008 (frozen)
    """A value on one line.

    Whole numbers are exact, and so are decimals of up to 27 digits. Longer ones, and floats, have 12 significant digits, or as many more as it takes to
    keep all in front of the point, two behind it, and to tell the number from a whole one. No decimal ends in zeros. The values of a list or a
    dictionary are separated by commas. A text is made `visible`.
    Raises: ResultError for a value that has no text, such as None; TooLargeError for a text over `limits.result_length` characters.
    """
    text = _text(value, limits, 0)
    if not text:
        raise ResultError("the tool returned an empty text; let it return something.")
    return _checked(text, limits)  # once more: to show what is invisible takes more characters


def _checked(text: str, limits: Limits) -> str:
    if len(text) > limits.result_length:
        raise TooLargeError(f"the result has more than {limits.result_length} characters; ask for less.")
    return text


def _text(value, limits: Limits, depth: int) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return visible(" ".join(_checked(value, limits).split()))
    if isinstance(value, numbers.Integral):
        return _whole(int(value), limits)
    if isinstance(value, Decimal):
        return _decimal(value, limits)
    if isinstance(value, numbers.Rational):
        return _ratio(int(value.numerator), int(value.denominator), limits)
    if isinstance(value, numbers.Real):
        return _float(Decimal(repr(float(value))), limits)
    if isinstance(value, datetime.date):
        return value.isoformat()
    if isinstance(value, (list, tuple, dict)):
        return _series(value, limits, depth)
    raise ResultError(f"the tool returned a value of type {type(value).__name__}; let it return a number, a text, or a list of these.")


def _series(value: list | tuple | dict, limits: Limits, depth: int) -> str:
    if depth >= limits.nesting or len(value) > limits.result_length:
        raise TooLargeError("the result has lists that are too deep or too long; ask for less.")
    if isinstance(value, dict):
        parts = [f"{_text(key, limits, depth + 1)}: {_text(one, limits, depth + 1)}" for key, one in value.items()]
    else:
        parts = [_text(one, limits, depth + 1) for one in value]
    text = _checked(", ".join(parts), limits)
    return f"[{text}]" if depth else text


def _whole(value: int, limits: Limits) -> str:
    # before str(), which is slow for millions of digits and refuses more than 4,300
    if (value.bit_length() - 1) * _LOG10_OF_2 > min(limits.result_length, 4000):
        raise TooLargeError(f"the result has more than {min(limits.result_length, 4000)} digits; ask for less.")
    return _checked(str(value), limits)


def _ratio(numerator: int, denominator: int, limits: Limits) -> str:
    whole_digits = len(_whole(numerator // denominator, limits))  # none of these is rounded
    context = Context(prec=EXACT_DIGITS + 1 + whole_digits, Emin=MIN_EMIN, Emax=MAX_EMAX)
    return _decimal(context.divide(Decimal(numerator), Decimal(denominator)), limits)


def _float(value: Decimal, limits: Limits) -> str:
    if value.is_finite() and value.adjusted() + 1 + _DECIMALS < SIGNIFICANT_DIGITS:
        value = Context(prec=_FLOAT_DIGITS).plus(value)
    return _decimal(value, limits, is_exact=False)


def _decimal(value: Decimal, limits: Limits, is_exact: bool = True) -> str:
    if not value.is_finite():
        raise ResultError(f"the tool returned {value}, which is no number; give other arguments.")
    if value.adjusted() > limits.result_length:
        raise TooLargeError(f"the result has more than {limits.result_length} digits; ask for less.")
    if value == value.to_integral_value():
        return _whole(int(value), limits)
    if not is_exact or len(value.as_tuple().digits) > EXACT_DIGITS:
        value = _shortened(value)
    if value.adjusted() < _SMALLEST_PLAIN:
        mantissa, _, exponent = f"{value:e}".partition("e")
        return f"{_trimmed(mantissa)}e{int(exponent)}"
    return _trimmed(f"{value:f}")


def _trimmed(text: str) -> str:
    return text.rstrip("0").rstrip(".") if "." in text else text


def _shortened(value: Decimal) -> Decimal:
    """A number that is not whole, rounded to one that is not whole either, with the same digits in front of the point."""
    exact = Context(prec=len(value.as_tuple().digits) + abs(value.adjusted()) + 1, Emin=MIN_EMIN, Emax=MAX_EMAX)
    distance = exact.subtract(value, value.to_integral_value(context=exact))  # to the nearest whole number
    in_front = value.adjusted() + 1
    digits = max(SIGNIFICANT_DIGITS, in_front + max(_DECIMALS, -distance.adjusted()))
    return Context(prec=digits, rounding=ROUND_HALF_EVEN, Emin=MIN_EMIN, Emax=MAX_EMAX).plus(value)


def visible(text: str) -> str:
    """The text with control, format, private and unassigned characters as their numbers: `\\u200b` for a space without width."""
    return "".join(one if one == " " or unicodedata.category(one)[0] in "LMNPS" else f"\\u{ord(one):04x}" for one in text)


def escaped(text: str, tokenizer) -> str:
    """The text, so that no token of it is a special or an added one and none stands for a control character.

    Control, format and other invisible characters become their number (`\\\\u200b`). What the tokenizer still takes for such a token is broken by a
    backslash behind its first character, or else spelt by numbers, or left out. Whoever puts the result into a text tokenizes it in one piece as
    it is given here: with the space in front of it, if it has one.
    Args:
        tokenizer: a fast transformers tokenizer.
    Raises: ValueError for one that does not say where its tokens stand.
    """
    if not getattr(tokenizer, "is_fast", False):
        raise ValueError(
            "results are put into a text through a fast tokenizer, which says where its tokens stand; load the model's tokenizer.json."
        )
    text = visible(text)
    reserved = {*tokenizer.all_special_ids, *tokenizer.added_tokens_decoder}

    def spelt(span: str) -> str:
        numbers = "".join(f"\\u{ord(one):04x}" for one in span)
        return "" if _reserved_spans(numbers, tokenizer, reserved) else numbers

    # A break can make another token of that kind, and so can what is left: each round looks again, and the last way always ends.
    for change, rounds in ((_broken, _ROUNDS), (spelt, _ROUNDS), (lambda _: "", len(text) * 20 + 1)):
        for _ in range(rounds):
            spans = _reserved_spans(text, tokenizer, reserved)
            if not spans:
                return text
            for start, end in reversed(spans):
                text = text[:start] + change(text[start:end]) + text[end:]
    return ""


def _reserved_spans(text: str, tokenizer, reserved: set[int]) -> list[tuple[int, int]]:
    """Characters of the text that become reserved tokens: sorted, apart, none empty."""
    encoded = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
    spans, last = [], 0
    for token, (start, end) in zip(encoded["input_ids"], encoded["offset_mapping"], strict=True):
        is_byte = text.startswith(_BYTE_TOKEN, start) and tokenizer.convert_ids_to_tokens(token).startswith(_BYTE_TOKEN)
        if token in reserved or is_byte:
            start = min(max(start, last), len(text) - 1)
            last = max(end, start + 1)
            spans.append((start, last))
    return spans


def _broken(span: str) -> str:
    return f"{span[0]}\\{span[1:]}" if len(span) > 1 else span
