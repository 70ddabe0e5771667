"""A patch of a library: its own code is replaced while anyone wants that, in any thread, and put back after the last one."""

import contextlib
import threading
from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

Value = TypeVar("Value")


class Patch(Generic[Value]):
    """One replacement that several uses share, one inside the other or side by side.

    Args:
        apply: replaces, and returns what puts the library's own back. What it puts in its place asks for `newest`.
    """

    def __init__(self, apply: Callable[[], Callable[[], None]]):
        self._apply, self._lock = apply, threading.Lock()
        self._uses: list[list[Value]] = []

    @contextlib.contextmanager
    def use(self, value: Value) -> Iterator[None]:
        """Inside the `with`, the library is patched, and `value` is the newest until another use begins."""
        mine = [value]
        with self._lock:
            if not self._uses:
                self._undo = self._apply()
            self._uses.append(mine)
        try:
            yield
        finally:
            with self._lock:
                self._uses = [one for one in self._uses if one is not mine]
                if not self._uses:
                    self._undo()

    @property
    def newest(self) -> Value | None:
        """The value of the use that began last and has not ended; None after all have (in code of the patch that still runs)."""
        uses = self._uses
        return uses[-1][0] if uses else None
