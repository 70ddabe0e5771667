"""Arguments that a caller in Python may get wrong, checked one by one: numbers, switches, and functions that receive lines.

    check_whole("steps", plain(steps), 1)        # ValueError: steps is 2.5; it must be a whole number of at least 1.

The command line and YAML files check types by themselves; in Python anything may come.
"""


def plain(value):
    """A number of numpy or torch as one of Python's own, which JSON and YAML can hold; anything else as it is."""
    return value.item() if hasattr(value, "item") and getattr(value, "shape", None) == () else value


def check_whole(name: str, value, least: int) -> None:
    """Refuse what is no whole number of at least `least`.

    Raises: ValueError.
    """
    if type(value) is not int or value < least:
        raise ValueError(f"{name} is {value!r}; it must be a whole number of at least {least}.")


def check_number(name: str, value, words: str) -> None:
    """Refuse what is no number; `words` say which are wanted, after "it must".

    Raises: ValueError.
    """
    if type(value) not in (int, float):
        raise ValueError(f"{name} is {value!r}; it must {words}.")


def check_switch(name: str, value) -> None:
    """Refuse what is neither True nor False.

    Raises: ValueError.
    """
    if type(value) is not bool:
        raise ValueError(f"{name} is {value!r}; it must be True or False.")


def check_receiver(say) -> None:
    """Refuse a `say` that cannot be called with a line.

    Raises: TypeError.
    """
    if not callable(say):
        raise TypeError(f"say is {say!r}; give a function that takes a line, such as print, or pydisp.progress.silence for none.")
