"""transformers' own progress bars, shown as pydisp's while it downloads, reads or writes weights."""

import contextlib
from collections.abc import Callable, Iterator, Sequence

from pydisp.hub_bars import hub_as_ours
from pydisp.progress import Bar


@contextlib.contextmanager
def as_ours(say: Callable[[str], None], title: str, unit: str) -> Iterator[None]:
    """Inside the `with`, what transformers would show a bar of is a `Bar` of this title, and a download has its own; `silence` drops them."""
    from transformers import modeling_gguf_pytorch_utils as unpacking
    from transformers.utils import logging

    def ours(*args, **kwargs):
        return _Shown(args[0], say, title, unit) if args and hasattr(args[0], "__len__") else logging.EmptyTqdm(*args, **kwargs)

    with hub_as_ours(say), contextlib.ExitStack() as after:
        after.callback(setattr, unpacking, "tqdm", unpacking.tqdm)
        unpacking.tqdm = ours  # a GGUF file's weights have a bar that transformers cannot switch off
        if hasattr(logging, "set_tqdm_hook"):
            after.callback(logging.set_tqdm_hook, logging.set_tqdm_hook(lambda _factory, args, kwargs: ours(*args, **kwargs)))
        elif logging.is_progress_bar_enabled():  # a version without hooks: no bar
            after.callback(logging.enable_progress_bar)
            logging.disable_progress_bar()
        yield


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
