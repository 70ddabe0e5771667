"""The progress that a long run shows, and the way to stop it; for every kind of run.

with stop_requests() as is_stop_requested, Bar(steps, say) as bar:
    for step in range(1, steps + 1):
        loss = work()
        bar(step, loss=loss)              # "step 60 of 600: loss 3.214, about 2 min 05 s left"
        if is_stop_requested():
            raise Interrupted(f"stopped after step {step} of {steps}; repeat the command with --resume to go on from there.")
"""

import contextlib
import signal
import sys
import time
from collections.abc import Callable, Iterator


class Interrupted(Exception):
    """The user stopped a run; the message says how to go on."""


def duration_words(seconds: float) -> str:
    """4 s, 1 min 01 s, 2 h 01 min."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"


def silence(_line: str) -> None:
    """Receives the lines of a silent run and drops them; a Bar with this function shows nothing on a terminal either."""


def on_stderr(line: str) -> None:
    """Receives the lines of a run that a person waits for, and writes them to standard error."""
    print(line, file=sys.stderr, flush=True)


class Bar:
    """Shows the progress of a run, with its figures and the time left: a bar on a terminal, else a line after each tenth of the steps.

    Args:
        steps: number of steps in all.
        say: a function that receives the lines.
        done: steps that an earlier process has done; the bar starts there.
        title: text before the bar.
        unit: name of a step.
        every_seconds: instead of a line each tenth, the least time between two lines and before the first.
    """

    def __init__(
        self,
        steps: int,
        say: Callable[[str], None],
        done: int = 0,
        title: str = "search",
        unit: str = "step",
        every_seconds: float | None = None,
    ):
        from tqdm import tqdm

        self.steps, self.say, self.start, self.first, self.unit = steps, say, time.monotonic(), done, unit
        self.every_seconds, self.said = every_seconds, self.start
        self.terminal = sys.stderr.isatty() and say is not silence
        self.bar = tqdm(total=steps, initial=done, unit=unit, desc=title, disable=not self.terminal)

    def __call__(self, step: int, **figures: float) -> None:
        """Show that `step` steps are done."""
        shown = {name: f"{value:.3f}" for name, value in figures.items()}
        if self.terminal:
            self.bar.set_postfix(shown, refresh=False)
            self.bar.update(step - self.bar.n)
        elif self._is_due(step):
            self.said = time.monotonic()
            left = (self.said - self.start) / (step - self.first) * (self.steps - step)
            words = [f"{name} {value}" for name, value in shown.items()]
            self.say(f"{self.unit} {step} of {self.steps}: {', '.join([*words, f'about {duration_words(left)} left'])}")

    def _is_due(self, step: int) -> bool:
        if self.every_seconds is None:
            return step % max(1, self.steps // 10) == 0 or step == self.steps
        return time.monotonic() - self.said >= self.every_seconds and step < self.steps

    def __enter__(self) -> "Bar":
        return self

    def __exit__(self, *_error) -> None:
        self.bar.close()


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
