"""A caller of the functions of toolken_hostile, and arguments for them."""

import inspect

import toolken_hostile

from pydisp.toolken.tools.limits import Limits
from pydisp.toolken.tools.tool import Parameter, Tool
from pydisp.toolken.tools.tools import Tools

QUICK = Limits(seconds=0.3, memory_mib=64)
_TYPES = {"x": "number"}


def hostile_tools(*names: str) -> Tools:
    """The functions of those names; all of them for none."""
    functions = [one for one in vars(toolken_hostile).values() if inspect.isfunction(one) and one.__name__[0] != "_"]
    return Tools(
        Tool(
            one.__name__, inspect.getdoc(one), tuple(Parameter(name, _TYPES.get(name, "string")) for name in inspect.signature(one).parameters),
            function=f"toolken_hostile:{one.__name__}",
        )
        for one in functions
        if not names or one.__name__ in names
    )  # fmt: skip


def children(process: int) -> list[int]:
    """The processes that a process has started and not yet buried (Linux)."""
    with open(f"/proc/{process}/task/{process}/children", encoding="ascii") as file:
        return [int(one) for one in file.read().split()]
