"""What lm-eval shows while it runs, as pydisp's: a `Bar` for each of its bars, nothing of what it prints, no call of git."""

import contextlib
import importlib
import io
from collections.abc import Callable, Iterator

import tqdm
from lm_eval import evaluator

from pydisp.progress import Bar

_MODULES = ("lm_eval.api.model", "lm_eval.api.task", "lm_eval.models.huggingface", "pydisp.integrations.lm_eval")
_NAMES = {"": "requests of the tasks", "Running loglikelihood requests": "log-likelihoods", "Running generate_until requests": "texts"}


@contextlib.contextmanager
def lm_eval_as_ours(say: Callable[[str], None]) -> Iterator[None]:
    """Inside the `with`, lm-eval's bars are ours; `silence` for `say` drops them."""

    class Shown(_Shown):
        receiver = staticmethod(say)

    with contextlib.ExitStack() as after:
        after.enter_context(contextlib.redirect_stdout(io.StringIO()))  # it tells of bootstraps there, where a command has its result
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

    def __init__(self, iterable=None, desc=None, total=None, disable=False, **_options):
        super().__init__(iterable, desc, total, disable=True)
        title = _NAMES.get(desc or "") or desc.lower()
        self._bar = None if disable else Bar(self.total, self.receiver, title=title, unit="request", is_brief=True)

    def __iter__(self):
        for one in self.iterable:
            yield one
            self.update()
        self.close()

    def update(self, n=1):
        if self._bar is not None:
            self._bar.advance(n)

    def close(self):
        bar, self._bar = vars(self).get("_bar"), None
        if bar is not None:
            bar.__exit__()
        super().close()
