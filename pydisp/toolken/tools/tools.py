"""Tools: an ordered set of tools, each with a name of its own; the order is that of their toolkens.

tools = Tools([multiply, add])
tools["add"], tools.index("add"), tools.names
"""

import hashlib
import json
import os
from collections.abc import Iterable, Iterator

from pydisp.arguments import check, instance_of, iterable_of, list_of, takes
from pydisp.toolken.tools.tool import Tool, ToolError


class Tools:
    """An ordered set of tools.

    Raises: ToolError for none, and for two of one name.
    """

    @takes(tools=iterable_of("tools"))
    def __init__(self, tools: Iterable[Tool]):
        self._tools = check("tools", tuple(tools), list_of(instance_of(Tool, "give a Tool"), "tools"))
        if not self._tools:
            raise ToolError("there is no tool; give one or more.")
        self._places: dict[str, int] = {}
        for place, tool in enumerate(self._tools):
            if tool.name in self._places:
                raise ToolError(f"two tools are named {tool.name!r}; a name stands for one tool: rename one.")
            self._places[tool.name] = place

    def __len__(self) -> int:
        return len(self._tools)

    def __iter__(self) -> Iterator[Tool]:
        return iter(self._tools)

    def __contains__(self, name: str) -> bool:
        return name in self._places

    def __getitem__(self, name: str) -> Tool:
        return self._tools[self.index(name)]

    def __eq__(self, other) -> bool:
        return isinstance(other, Tools) and self._tools == other._tools

    __hash__ = None

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self._places)

    def index(self, name: str) -> int:
        """Raises: ToolError for a name that no tool has."""
        if name not in self._places:
            raise ToolError(f"there is no tool {name!r}; known: {', '.join(self.names[:20])}{', ...' if len(self) > 20 else ''}.")
        return self._places[name]

    def without(self, name: str) -> "Tools":
        place = self.index(name)
        return Tools(self._tools[:place] + self._tools[place + 1 :])

    def merged(self, other: "Tools") -> "Tools":
        """These, then the others.

        Raises: ToolError if both have a tool of one name.
        """
        return Tools([*self, *other])

    def check_files(self) -> None:
        """Refuse tools whose functions stand in a file that is not there any more.

        Raises: ToolError.
        """
        for tool in self:
            path, _, _ = (tool.function or "").rpartition(":")
            if path.endswith(".py") and not os.path.isfile(path):
                raise ToolError(
                    f"the function of the tool {tool.name!r} stands in {path}, which is no file any more; put the file back there, or train again "
                    "with the file where it is now."
                )

    @property
    def digest(self) -> str:
        """Of all that is known of the tools."""
        return hashlib.sha256(json.dumps([one.as_dict() for one in self], sort_keys=True).encode()).hexdigest()[:16]
