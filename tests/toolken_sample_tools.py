"""Tools of Python functions, as a user writes them."""

from decimal import Decimal
from typing import Literal

from pydisp.toolken.tools.definition import tool
from pydisp.toolken.tools.limits import Limits

QUESTION = "Question: What is half of 9?\nAnswer:"


@tool(examples=[(QUESTION, "9")])
def half(x: float) -> float:
    """Half
    of a number.

    Args:
        x: the number.
    """
    return x / 2


@tool(name="greet.politely")
def greet(name: str, times: int = 1, tone: Literal["warm", "cold"] = "warm", loud: bool | None = None) -> str:
    """A greeting."""
    return f"{'Hello' if tone == 'warm' else 'Yes'}, {name}" * times + ("!" if loud else "")


@tool()
def total(values: list[float], factor: Decimal = Decimal(1), *, limits: Limits = Limits(seconds=9)):  # noqa: B008
    """The sum of some numbers."""
    return f"{sum(values)} {type(factor).__name__} {limits.seconds}"


alias = half
