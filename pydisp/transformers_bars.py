"""transformers' own progress bars, shown as pydisp's while it reads or writes weights."""

import contextlib
from collections.abc import Callable, Iterator, Sequence

from pydisp.progress import Bar


@contextlib.contextmanager
def as_ours(say: Callable[[str], None], title: str, unit: str) -> Iterator[None]:
    """Inside the `with`, what transformers would show a bar of is a `Bar` of this title; `silence` for `say` drops it."""
    from transformers.utils import logging

    def ours(_factory, args, kwargs):
        return _Shown(args[0], say, title, unit) if args and hasattr(args[0], "__len__") else logging.EmptyTqdm(*args, **kwargs)

    if hasattr(logging, "set_tqdm_hook"):
        before = logging.set_tqdm_hook(ours)
        try:
            yield
        finally:
            logging.set_tqdm_hook(before)
        return
    was_shown = logging.is_progress_bar_enabled()  # a version without hooks: no bar
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if was_shown:
            logging.enable_progress_bar()


class _Shown:
    """What transformers iterates over, with a bar; everything else that it asks of a bar does nothing."""

    def __init__(self, items: Sequence, say: Callable[[str], None], title: str, unit: str):
        self._items, self._bar = items, (say, title, unit)

    def __iter__(self):
        say, title, unit = self._bar
        with Bar(len(self._items), say, title=title, unit=unit) as bar:
            for item in self._items:
                yield item
                bar.advance(1)

    def __getattr__(self, _name):
        return lambda *_args, **_kwargs: None
