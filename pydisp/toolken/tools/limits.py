"""Limits: what one call of a tool may read, use and return.

Limits(seconds=0.5, memory_mib=64)

The arguments are held to them when they are parsed, the function while it runs, its result before it goes into the text.
"""

from dataclasses import asdict, dataclass

from pydisp.arguments import ABOVE_ZERO, check_fields, whole

_MOST_DIGITS = 4000  # Python converts texts of up to 4,300 digits into whole numbers
_MOST_NESTING = 50  # lists are read by functions that call themselves


class LimitError(ValueError):
    """A call that asks for more than the limits allow; the message is one sentence."""


@dataclass(frozen=True)
class Limits:
    """What a call may use.

    Args:
        digits: of one number, in front of and behind the point together. exponent: largest size of one, in a number ("1e50") or as a power.
        factorial: largest n of which combinations and permutations are counted.
        argument_length: characters between the brackets of a call. text_length: characters of one string.
        list_length: values of one list. nesting: lists inside each other; 1 is a list of plain values.
        seconds: of wall time; the worker is killed soon after. memory_mib: beyond what the worker has before the call.
        result_length: characters of the result's text.
    Raises: ValueError for limits that allow nothing.
    """

    digits: int = 60
    exponent: int = 200
    factorial: int = 1000
    argument_length: int = 4000
    text_length: int = 1000
    list_length: int = 200
    nesting: int = 4
    seconds: float = 2.0
    memory_mib: int = 256
    result_length: int = 1000

    def __post_init__(self):
        names = [name for name in asdict(self) if name != "seconds"]
        check_fields(self, "the limit ", **dict.fromkeys(names, whole(1)), seconds=ABOVE_ZERO)
        if self.digits > _MOST_DIGITS:
            raise ValueError(f"the limit digits is {self.digits}; it can be {_MOST_DIGITS} at most.")
        if self.nesting > _MOST_NESTING:
            raise ValueError(f"the limit nesting is {self.nesting}; it can be {_MOST_NESTING} at most.")
