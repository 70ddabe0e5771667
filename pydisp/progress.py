"""The progress that a long run shows, and the way to stop it; for every kind of run.

with stop_requests() as is_stop_requested, Bar(steps, say, title="search") as bar:
    for step in range(1, steps + 1):
        loss = work()
        bar(step, loss=loss)              # "search: step 60 of 600, loss 3.214, about 2 min 05 s left"
        if is_stop_requested():
            raise Interrupted(f"stopped after step {step} of {steps}; repeat the command with --resume to go on from there.")
"""

import contextlib
import logging
import shutil
import signal
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from typing import TextIO

FIRST_LINE_SECONDS = 2.0  # what takes less needs no line
LINE_SECONDS, MOST_LINE_SECONDS, SHARE_OF_TIME = 10.0, 60.0, 0.05  # between two lines: a share of the time so far, within these
BYTE = "byte"  # a unit that is shown in MiB

logger = logging.getLogger("pydisp")


class Interrupted(Exception):
    """The user stopped a run; the message says how to go on."""


def duration_words(seconds: float) -> str:
    """4 s, 1 min 01 s, 12 min, 2 h 01 min."""
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 10:
        return f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min"


def silence(_line: str) -> None:
    """Receives the lines of a silent run and drops them; a Bar with this function shows nothing on a terminal either."""


def write_line(line: str) -> None:
    """Write a line to standard error, above the bar that stands there."""
    from tqdm import tqdm

    tqdm.write(folded(line, sys.stderr), file=sys.stderr)
    sys.stderr.flush()


def folded(text: str, stream: TextIO) -> str:
    """The text for a stream: on a terminal, lines that are too long for it break at spaces; elsewhere each line stays one."""
    if not stream.isatty():
        return text
    options = dict(subsequent_indent="  ", break_long_words=False, break_on_hyphens=False)
    columns = shutil.get_terminal_size().columns
    return "\n".join(line if len(line) <= columns else textwrap.fill(line, columns, **options) for line in text.split("\n"))


def on_stderr(line: str) -> None:
    """Receives the lines of a Python call that a person waits for, and writes them to standard error.

    A program that wants them elsewhere sets up `logging` for level INFO: its handlers then get them. One that wants none sets a level for
    pydisp: logging.getLogger("pydisp").setLevel("WARNING").
    """
    if logger.isEnabledFor(logging.INFO) and logger.hasHandlers():
        logger.info(line)
    elif not is_silent(on_stderr):
        write_line(line)


def is_silent(say: Callable[[str], None]) -> bool:
    """Whether nobody wants to see the progress of a run that has this function for its lines."""
    return say is silence or say is on_stderr and logger.level > logging.INFO


class Bar:
    """Shows the progress of one phase of a run, with its figures and the time left: as a bar on a terminal and in a notebook, else in lines.

    Lines come after 2 seconds, then every 10 to 60 seconds, and at the end of a phase that had one or has figures. They name the phase.

    Args:
        steps: number of steps in all; None if nobody knows it, which leaves out the time left. It may be changed on the way.
        say: a function that receives the lines.
        done: steps that an earlier process has done; the bar starts there.
        title: the name of the phase.
        unit: name of a step; BYTE is shown in MiB.
        is_brief: whether it mostly takes less than 2 seconds; a terminal then shows it only after these, too.
    """

    def __init__(
        self,
        steps: int | None,
        say: Callable[[str], None],
        done: int = 0,
        *,
        title: str,
        unit: str = "step",
        is_brief: bool = False,
    ):
        from tqdm.auto import tqdm

        self.steps, self.say, self.first, self.title, self.unit = steps, say, done, title, unit
        self.step, self.told, self.start = done, done, time.monotonic()
        self.next_line = self.start + FIRST_LINE_SECONDS
        self.is_drawn = not is_silent(say) and (sys.stderr.isatty() or is_notebook())
        scale = dict(unit="B", unit_scale=True, unit_divisor=1024) if unit == BYTE else dict(unit=unit)
        delay = FIRST_LINE_SECONDS if is_brief else 0
        self.bar = tqdm(total=steps, initial=done, desc=title, delay=delay, disable=not self.is_drawn, **scale)

    def __call__(self, step: int, **figures: float) -> None:
        """Show that `step` steps are done."""
        self.step = step
        shown = {name: f"{value:.3f}" for name, value in figures.items()}
        if self.is_drawn:
            self._show_steps()
            self.bar.set_postfix(shown, refresh=False)
            self.bar.update(step - self.bar.n)
            return
        now = time.monotonic()
        is_end = step == self.steps and (shown or now >= self.start + FIRST_LINE_SECONDS)
        if step > self.first and (is_end or now >= self.next_line):
            used = now - self.start
            self.next_line = now + min(MOST_LINE_SECONDS, max(LINE_SECONDS, SHARE_OF_TIME * used))
            self.told = step
            words = [self._place(step), *(f"{name} {value}" for name, value in shown.items()), self._time_words(step, used)]
            self.say(f"{self.title}: {', '.join(words)}")

    def _show_steps(self) -> None:
        """The number of steps may have changed; a notebook's widget has its own."""
        if self.bar.total == self.steps:
            return
        self.bar.total = self.steps
        container = getattr(self.bar, "container", None)
        if container is not None and self.steps:
            _, widget, _ = container.children
            widget.max, widget.layout.width = self.steps, None

    def _place(self, step: int) -> str:
        if self.unit == BYTE:
            return f"{step / 2**20:,.1f}{'' if self.steps is None else f' of {self.steps / 2**20:,.1f}'} MiB"
        return f"{self.unit} {step:,}{'' if self.steps is None else f' of {self.steps:,}'}"

    def _time_words(self, step: int, used: float) -> str:
        if self.steps is None or step >= self.steps:
            return f"in {duration_words(used)}"
        return f"about {duration_words(used / (step - self.first) * (self.steps - step))} left"

    def advance(self, steps: int, **figures: float) -> None:
        """Show that so many more steps are done."""
        self(self.step + steps, **figures)

    def __enter__(self) -> "Bar":
        return self

    def __exit__(self, error: type | None = None, *_more) -> None:
        if error is None and self.step > self.first and self.step != self.steps:  # it took fewer steps than thought, or nobody knew
            self.steps = self.step
            if self.is_drawn or self.told != self.step:
                self(self.step)
        self.bar.close()


def is_notebook() -> bool:
    """Whether tqdm draws its bars as widgets of a notebook."""
    if "ipykernel.zmqshell" not in sys.modules:
        return False
    from tqdm.auto import tqdm
    from tqdm.notebook import tqdm_notebook

    return issubclass(tqdm, tqdm_notebook)


@contextlib.contextmanager
def stop_requests() -> Iterator[Callable[[], bool]]:
    """Note the first Ctrl-C or SIGTERM, so that the current step can finish; a second one has its usual effect and stops at once.

    Yields a function that tells whether a signal came. Outside the main thread, signals are not touched.
    """
    asked: list[int] = []
    before = {}

    def restore():
        for number, handler in before.items():
            signal.signal(number, handler)

    def ask(number, _frame):
        asked.append(number)
        restore()

    with contextlib.suppress(ValueError):  # not in the main thread
        for number in (signal.SIGINT, signal.SIGTERM):
            before[number] = signal.signal(number, ask)
    try:
        yield lambda: bool(asked)
    finally:
        restore()
