"""What lm-eval shows while it runs, as pydisp's: a `Bar` for each of its bars, nothing of what it prints, no call of git."""

import contextlib
import importlib
import sys
from collections.abc import Callable, Iterator

import tqdm
from lm_eval import evaluator
from lm_eval.api import metrics

from pydisp.progress import Bar

_MODULES = ("lm_eval.api.model", "lm_eval.api.task", "lm_eval.models.huggingface", "pydisp.integrations.lm_eval")
_NAMES = {"": "lm-eval", "Running loglikelihood requests": "log-likelihoods", "Running generate_until requests": "texts"}


@contextlib.contextmanager
def lm_eval_as_ours(say: Callable[[str], None]) -> Iterator[None]:
    """Inside the `with`, lm-eval's bars are ours; `silence` for `say` drops them."""

    class Shown(_Shown):
        receiver = staticmethod(say)

    with contextlib.ExitStack() as after:
        after.callback(setattr, Shown, "is_over", True)  # a module that is imported meanwhile keeps this class
        after.enter_context(contextlib.redirect_stdout(sys.stderr))  # a command has its result on the other
        after.callback(vars(metrics).pop, "print", None)
        metrics.print = lambda *_args, **_options: None  # it tells of each bootstrap
        for module in (*map(importlib.import_module, _MODULES), tqdm):  # the last one for what it imports as it runs
            _put(after, module, "tqdm", Shown)
        _put(after, evaluator, "get_git_commit_hash", lambda: None)  # git would complain of a folder that is no repository
        yield


def _put(after: contextlib.ExitStack, module, name: str, value) -> None:
    after.callback(setattr, module, name, getattr(module, name))
    setattr(module, name, value)


class _Shown(tqdm.tqdm):
    """A bar of tqdm that draws nothing and shows a `Bar` instead."""

    receiver: Callable[[str], None]
    is_over = False

    def __init__(self, iterable=None, desc=None, total=None, leave=True, *args, disable=False, initial=0, **options):
        if self.is_over:
            super().__init__(iterable, desc, total, leave, *args, disable=disable, initial=initial, **options)
            self._bar = None
            return
        super().__init__(iterable, desc, total, disable=True)
        title, unit = _NAMES.get(desc or "") or desc.lower(), "request" if desc else "step"
        self._bar = None if disable else Bar(self.total, self.receiver, initial, title=title, unit=unit, is_brief=True)

    def __iter__(self):
        if self._bar is None:
            yield from super().__iter__()
            return
        for one in self.iterable:
            yield one
            self.update()
        self.close()

    def update(self, n=1):
        if self._bar is None:
            super().update(n)
        else:
            self._bar.advance(n)

    def close(self):
        bar, self._bar = vars(self).get("_bar"), None
        if bar is not None:
            bar.__exit__()
        super().close()
