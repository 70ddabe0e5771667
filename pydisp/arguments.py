"""Arguments that a caller in Python may get wrong, each held to a `Kind` before a function begins.

    @takes(steps=whole(1), text=SOURCES, say=RECEIVER)
    def train(steps, *, text, say=print): ...        # ValueError: steps is 2.5; it must be a whole number of at least 1.

A frozen dataclass calls `check_fields(self, k=whole(1), threshold=SHARE)` in its `__post_init__`. A number of numpy or torch arrives as one of
Python's own. The command line and YAML files check types by themselves; in Python anything may come.
"""

import inspect
import os
import sys
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import wraps
from typing import Any, TypeVar

from pydisp.given_value import short

Function = TypeVar("Function", bound=Callable)
_MOST = sys.float_info.max
_MOST_PATH, _MOST_PART = 4095, 255  # bytes that a system takes


@dataclass(frozen=True)
class Kind:
    """What an argument may be.

    Args:
        needed: the end of the sentence that refuses anything else, such as "it must be True or False", without its full stop.
        is_right: whether a value, after `plain`, is of this kind; it must not raise, whatever comes.
        made: the value as a function wants it.
        error: TypeError for kinds of objects, ValueError for values.
        part: of a list, the kind of each of its values, which then becomes a tuple.
    """

    needed: str
    is_right: Callable[[Any], bool]
    made: Callable[[Any], Any] = lambda value: value
    error: type[Exception] = ValueError
    part: "Kind | None" = None


def plain(value):
    """A number of numpy or torch as one of Python's own, which JSON and YAML can hold; anything else as it is."""
    if not hasattr(value, "item") or getattr(value, "shape", None) != ():
        return value
    try:
        return value.item()
    except (RuntimeError, TypeError):  # a tensor without values
        return value


def check(name: str, value, kind: Kind):
    """The value as `kind` makes it.

    Raises: ValueError or TypeError with one sentence for a value that is of another kind.
    """
    value = plain(value)
    if not kind.is_right(value):
        raise kind.error(f"{name} is {' '.join(short(value).split())}; {kind.needed}.")
    if kind.part is None or value is None:
        return kind.made(value)
    return tuple(check(f"{name}[{number}]", one, kind.part) for number, one in enumerate(value))


def takes(**kinds: Kind) -> Callable[[Function], Function]:
    """A decorator: the named arguments that are given are checked, in this order, before the function begins. Defaults are trusted.

    Raises: as `check`.
    """

    def decorate(function: Function) -> Function:
        signature = inspect.signature(function)
        assert kinds.keys() <= signature.parameters.keys(), kinds.keys() - signature.parameters.keys()

        @wraps(function)
        def call(*args, **kwargs):
            try:
                given = signature.bind(*args, **kwargs)
            except TypeError:
                return function(*args, **kwargs)  # Python's own sentence names the function too
            for name, kind in kinds.items():
                if name in given.arguments:
                    given.arguments[name] = check(name, given.arguments[name], kind)
            return function(*given.args, **given.kwargs)

        return call

    return decorate


def check_fields(instance, place: str = "", /, **kinds: Kind) -> None:
    """Hold fields of a frozen dataclass to these kinds; changes `instance`, whose fields are then as their kinds make them.

    Args:
        place: what stands before a field's name in a sentence, such as "recovery: ".
    Raises: as `check`.
    """
    for name, kind in kinds.items():
        object.__setattr__(instance, name, check(f"{place}{name}", getattr(instance, name), kind))


def optional(kind: Kind) -> Kind:
    """This kind, or None."""
    return replace(
        kind,
        is_right=lambda value: value is None or kind.is_right(value),
        made=lambda value: None if value is None else kind.made(value),
    )


def whole(least: int, most: int | None = None) -> Kind:
    """A whole number in a range, both ends included; a bool is none."""
    words = f"of at least {least}" if most is None else f"from {least} to {most}"
    return Kind(
        f"it must be a whole number {words}", lambda value: type(value) is int and least <= value and (most is None or value <= most)
    )


def number(words: str, is_right: Callable[[float], bool]) -> Kind:
    """A finite number for which `is_right` holds; `words` say which that are, after "it must"."""
    return Kind(f"it must {words}", lambda value: type(value) in (int, float) and -_MOST <= value <= _MOST and is_right(value))


def one_of(choices: Collection[str]) -> Kind:
    """One of some words."""
    return Kind(f"it must be one of: {', '.join(choices)}", lambda value: isinstance(value, str) and value in choices)


def instance_of(kinds: type | tuple[type, ...], needed: str) -> Kind:
    """An object of one of these classes; `needed` as in `Kind`."""
    return Kind(needed, lambda value: isinstance(value, kinds), error=TypeError)


def list_of(kind: Kind, words: str, least: int = 0) -> Kind:
    """A sequence of `least` or more values of one kind; `words` say what of, after "it must be a list of"."""
    return Kind(
        f"it must be a list of {words}",
        lambda value: isinstance(value, Sequence) and not isinstance(value, str | bytes) and len(value) >= least,
        part=kind,
    )


def iterable_of(words: str) -> Kind:
    """Anything that is iterated over, but for text and bytes; its parts are not looked at."""
    return Kind(
        f"give a list of {words}",
        lambda value: _is_iterable(value) and not isinstance(value, str | bytes | Mapping),
        error=TypeError,
    )


def _is_iterable(value) -> bool:
    try:
        iter(value)  # a tensor of no dimension has __iter__ too
    except TypeError:
        return False
    return True


def _is_path(value) -> bool:
    if not isinstance(value, str | os.PathLike) or not isinstance(text := os.fspath(value), str):
        return False
    try:
        written = os.fsencode(text)
    except UnicodeEncodeError:
        return False
    parts = written.replace(os.fsencode(os.sep), b"/").split(b"/")
    return bool(written) and b"\0" not in written and len(written) <= _MOST_PATH and all(len(part) <= _MOST_PART for part in parts)


def _is_sources(value) -> bool:
    values = [value] if isinstance(value, str | os.PathLike) else value
    return isinstance(values, Sequence) and len(values) > 0 and all(map(_is_path, values))


def _is_text(value) -> bool:
    if not isinstance(value, str):
        return False
    try:
        value.encode()
    except UnicodeEncodeError:  # half of a pair of surrogates
        return False
    return True


def _is_word(value) -> bool:
    return _is_text(value) and 0 < len(value.strip()) <= _MOST_PART


def _is_of_torch(value, kind: str) -> bool:
    return type(value).__module__ == "torch" and type(value).__name__ == kind


def _written(value) -> str:
    """A text, also of an Enum of texts, or the name of an object of torch."""
    return str.__str__(value) if isinstance(value, str) else str(value)


SWITCH = Kind("it must be True or False", lambda value: type(value) is bool)
SEED = whole(0, 2**63 - 1)
SHARE = number("lie between 0 and 1", lambda value: 0 <= value <= 1)
ABOVE_ZERO = number("be a finite number above 0", lambda value: value > 0)
ZERO_OR_MORE = number("be a finite number of at least 0", lambda value: value >= 0)
TEXT = Kind("it must be a text that UTF-8 can hold", _is_text)
NAME = Kind("it must be a text that is not empty and that UTF-8 can hold", lambda value: _is_text(value) and value.strip() != "")
PATH = Kind("give a path, as a text or a pathlib.Path, whose names have at most 255 bytes and no null character", _is_path)
SOURCES = Kind(
    "give a file, a folder, 'pythondoc' or 'hub:NAME', or a list of such",
    _is_sources,
    lambda value: tuple(os.fspath(one) for one in ([value] if isinstance(value, str | os.PathLike) else value)),
)
RECEIVER = Kind(
    "give a function that takes a line, such as print, or pydisp.progress.silence for none",
    lambda value: callable(value) and not isinstance(value, type),
    error=TypeError,
)
TOKENIZER = Kind(
    "give the model's tokenizer of transformers, such as AutoTokenizer loads",
    lambda value: callable(value) and not isinstance(value, type) and hasattr(value, "convert_ids_to_tokens"),
    error=TypeError,
)
# A model in memory is looked at more closely by those who use it: only they know what it must have.
MODEL = Kind(
    "give a transformers causal language model, a folder, a hub name, or 'demo'",
    lambda value: _is_path(value) or hasattr(value, "state_dict") and not isinstance(value, type),
    error=TypeError,
)
DEVICE = Kind("give the name of a device, such as 'cpu'", lambda value: _is_word(value) or _is_of_torch(value, "device"), _written)
DTYPE = Kind(
    "give the name of a dtype, such as 'float32'",
    lambda value: _is_word(value) or _is_of_torch(value, "dtype"),
    lambda value: _written(value).removeprefix("torch."),
)
REVISION = Kind("give the name of a branch or a tag, or the id of a commit", _is_word)
BY_NAME = {"device": optional(DEVICE), "dtype": optional(DTYPE), "revision": optional(REVISION), "trust_remote_code": SWITCH}
"""Those that go with a model by its name."""
