"""The bars of what comes from the hub, shown as pydisp's: "downloading model.safetensors: 12.0 of 256.6 MiB, about 20 s left".

Without this they are drawn on a terminal alone, and the bars of data sets in a pipe too.
"""

import contextlib
import functools
import sys
from collections.abc import Callable, Iterator

from pydisp.patch import Patch
from pydisp.progress import BYTE, Bar, silence

_UNITS = {"B": BYTE, " examples": "example"}  # other bars count files, whose bytes are shown
_TRANSFER = "downloading bytes"  # a second bar for one download, in bytes whose number is not known before


@contextlib.contextmanager
def hub_as_ours(say: Callable[[str], None], *, data_sets: bool = False) -> Iterator[None]:
    """Inside the `with`, downloads of huggingface_hub (and what `datasets` downloads and prepares) have a `Bar`; `silence` drops it."""
    with contextlib.ExitStack() as after:
        for one in _bar_classes(data_sets):
            after.enter_context(_patch(one).use(say))
        yield


def _bar_classes(data_sets: bool) -> list[type]:
    from huggingface_hub.utils import tqdm

    classes = [tqdm]
    if data_sets:
        with contextlib.suppress(ImportError):  # a version that keeps its bars elsewhere draws them itself
            from datasets.utils import tqdm as of_data_sets

            classes.append(of_data_sets)
    return classes


@functools.cache
def _patch(cls: type) -> Patch:
    """The methods of a class of bars, changed in the class, for its users have imported it under several names."""
    base = cls.__mro__[1]
    known = {name: vars(cls).get(name) for name in ("__init__", "update", "close")}

    def __init__(self, *args, name=None, **kwargs):
        base.__init__(self, *args, **kwargs | {"disable": True})
        self._ours = _bar(patch.newest or silence, self.total, kwargs)

    def update(self, n=1):
        if "_ours" not in vars(self):  # begun before the patch
            return (known["update"] or base.update)(self, n)
        if self._ours is not None:
            with self.get_lock():  # files are downloaded side by side
                self.n += n
                self._ours.steps = self.total  # it grows where files are found on the way
                self._ours(self.n)

    def close(self):
        ours, self._ours = vars(self).get("_ours"), None
        if ours is not None:
            ours.__exit__(*sys.exc_info())
        base.close(self)

    def apply() -> Callable[[], None]:
        for method in (__init__, update, close):
            setattr(cls, method.__name__, method)
        return undo

    def undo() -> None:
        for name, method in known.items():
            setattr(cls, name, method) if method else delattr(cls, name)

    patch: Patch[Callable[[str], None]] = Patch(apply)
    return patch


def _bar(say: Callable[[str], None], total: int | None, options: dict) -> Bar | None:
    from huggingface_hub.constants import HF_HUB_DISABLE_PROGRESS_BARS

    unit, words = _UNITS.get(options.get("unit")), options.get("desc") or ""
    if unit is None or words.lower().endswith(_TRANSFER) or HF_HUB_DISABLE_PROGRESS_BARS:
        return None
    file = words.partition(": ")[0]
    title = (
        words.lower() if unit != BYTE else "downloading" if file.startswith(("Reconstructing", "Downloading")) else f"downloading {file}"
    )
    return Bar(total, say, options.get("initial") or 0, title=title, unit=unit, is_brief=True)
