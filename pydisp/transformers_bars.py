"""transformers' own progress bars, shown as pydisp's while it downloads, reads or writes weights."""

import contextlib
from collections.abc import Callable, Iterator, Sequence

from pydisp.hub_bars import hub_as_ours
from pydisp.patch import Patch
from pydisp.progress import Bar


@contextlib.contextmanager
def as_ours(say: Callable[[str], None], title: str, unit: str) -> Iterator[None]:
    """Inside the `with`, what transformers would show a bar of is a `Bar` of this title, and a download has its own; `silence` drops them."""
    with hub_as_ours(say), _patch.use((say, title, unit)):
        yield


def _applied() -> Callable[[], None]:
    from transformers import modeling_gguf_pytorch_utils as unpacking
    from transformers.utils import logging

    def ours(*args, **kwargs):
        shown = _patch.newest
        return _Shown(args[0], shown) if shown and args and hasattr(args[0], "__len__") else logging.EmptyTqdm(*args, **kwargs)

    after = contextlib.ExitStack()
    after.callback(setattr, unpacking, "tqdm", unpacking.tqdm)
    unpacking.tqdm = ours  # a GGUF file's weights have a bar that transformers cannot switch off
    if hasattr(logging, "set_tqdm_hook"):
        after.callback(logging.set_tqdm_hook, logging.set_tqdm_hook(lambda _factory, args, kwargs: ours(*args, **kwargs)))
    elif logging.is_progress_bar_enabled():  # a version without hooks: no bar
        after.callback(logging.enable_progress_bar)
        logging.disable_progress_bar()
    return after.close


_patch: Patch[tuple[Callable[[str], None], str, str]] = Patch(_applied)


class _Shown:
    """What transformers iterates over, with a bar; everything else that it asks of a bar does nothing."""

    def __init__(self, items: Sequence, bar: tuple[Callable[[str], None], str, str]):
        self._items, self._bar = items, bar

    def __iter__(self):
        say, title, unit = self._bar
        with Bar(len(self._items), say, title=title, unit=unit) as bar:
            for item in self._items:
                yield item
                bar.advance(1)

    def __getattr__(self, _name):
        return lambda *_args, **_kwargs: None
