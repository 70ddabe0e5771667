"""Minutes: the numbers of a run that ends in time, chosen from the speeds of its machine.

    speeds = Speeds(forward_token=0.002, search_token=0.005, search_step=0.05)
    choose(45 * 60, speeds, texts=[120_000, 90_000, 120_000] * 2).steps

Only numbers come in, so that the choice can be tested without a model; `estimate.py` measures them. More seconds never give a stage fewer
windows, but for the rounding to whole steps: each has a share of the time, which the jumps of another stage do not change.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from pydisp.progress import duration_words
from pydisp.report.words import counted

DEFAULT_MINUTES = 45.0  # for a model above 50 M parameters on a CPU that was given none
RESERVE_SHARE = 0.2  # of all time: two runs of 45 minutes, with tests beside them, took 1.3 times what their trials foretold
EVALUATION_SHARE = 0.1  # at most; twice the text makes the standard error of a figure only 1.4 times smaller
START_SHARE = 0.08  # at most; the 16 windows of SmolLM2's gradient scores took 2 minutes of two cores, which is 5 % of 45
SEARCH_SHARE = 0.4  # of search and recovery together: 100 steps and 400 of recovery beat 900 steps (damage 0.13 against 0.22, demo model)
CONTEXT_TOKENS, WINDOWS_PER_STEP = 256, 4
FEWEST_STEPS = 50  # a batch is halved rather than have fewer: a budget needs steps to arrive at
MOST_STEPS = 10_000  # the paper's number


@dataclass(frozen=True)
class Speeds:
    """Seconds of the parts of a run on one machine.

    Attributes:
        forward_token: a token's loss, without gradients, in a whole window.
        search_token: its loss and the gradients of all gates; None where nothing is searched.
        search_step: what a step of the search does beside the model.
        recovery_token: a token of a step of the recovery; None where nothing is recovered.
        recovery_step: what such a step does for any number of tokens.
    """

    forward_token: float
    search_token: float | None = None
    search_step: float = 0.0
    recovery_token: float | None = None
    recovery_step: float = 0.0


@dataclass(frozen=True)
class Choice:
    """The numbers of a run; None for a stage that it does not have.

    Attributes:
        context_tokens, batch_size: of search and recovery: a step has batch_size windows of context_tokens tokens.
        evaluation_tokens: of each text at most; 0: all.
        seconds: what all stages will take, other work included; None if a number was given in place of the chosen one.
    """

    context_tokens: int
    batch_size: int
    start_windows: int | None
    steps: int | None
    recovery_steps: int | None
    evaluation_tokens: int
    seconds: float | None

    def in_words(self) -> str:
        """The numbers in one line."""
        start = [] if self.start_windows is None else [f"{counted(self.start_windows, 'window')} for the start"]
        size = f"{self.batch_size} x {self.context_tokens} tokens"
        stages = [f"{counted(n, 'step')} of {name}" for name, n in (("search", self.steps), ("recovery", self.recovery_steps)) if n]
        stages[:1] = [f"{stage} of {size}" for stage in stages[:1]]
        scored = f"{self.evaluation_tokens:,} tokens of each text" if self.evaluation_tokens else "all of each text"
        total = "" if self.seconds is None else f"; about {duration_words(self.seconds)} in all"
        return ", ".join([*start, *stages, f"evaluation on {scored}"]) + total


def choose(
    seconds: float,
    speeds: Speeds,
    *,
    texts: Sequence[int],
    context_tokens: int = CONTEXT_TOKENS,
    batch_size: int | None = None,
    evaluation_tokens: int | None = None,
    most_evaluation_tokens: int | None = None,
    start_windows: int | None = None,
    recovery_step_tokens: int | None = None,
    other_seconds: float = 0.0,
) -> Choice:
    """The numbers with which a run ends within `seconds`.

    Args:
        texts: tokens of each text to score; one is there as often as models are scored on it.
        batch_size, evaluation_tokens: those that are given and not to be chosen.
        most_evaluation_tokens: never choose more; None: all of the texts if they fit.
        start_windows: at most so many windows, each a forward and backward, score the features before the search; None: no start.
        recovery_step_tokens: of a step of the recovery, if its batch and context are given and not those of the search.
        other_seconds: what is spent already, and what is to come beside the stages.
    Raises: ValueError if not one step fits; it says what would.
    """
    window = context_tokens * speeds.forward_token
    counts = [tokens // context_tokens for tokens in texts]
    search_window = context_tokens * (speeds.search_token or 0.0)
    is_search, is_recovery = speeds.search_token is not None, speeds.recovery_token is not None

    def evaluation_seconds(windows: float) -> float:
        return window * sum(min(windows, count) for count in counts)

    def step_seconds(batch: int) -> float:
        return batch * search_window + (speeds.search_step if is_search else 0.0)

    def recovery_seconds(batch: int) -> float:
        tokens = recovery_step_tokens or batch * context_tokens
        return tokens * (speeds.recovery_token or 0.0) + (speeds.recovery_step if is_recovery else 0.0)

    fewest = batch_size or 1
    given = None if evaluation_tokens is None else evaluation_tokens // context_tokens or math.inf
    least_evaluation = evaluation_seconds(1 if given is None else given)
    least_start = search_window if start_windows else 0.0
    least_search, least_recovery = (step_seconds(fewest) if is_search else 0.0), recovery_seconds(fewest)
    time = seconds * (1 - RESERVE_SHARE) - other_seconds
    least = least_evaluation + least_start + least_search + least_recovery
    if time < least:
        raise ValueError(_too_short(seconds, (least + other_seconds) / (1 - RESERVE_SHARE), other_seconds, fewest, context_tokens))

    # each stage: its share, but what it needs at least, and not what the stages after it need at least
    if given is None:
        share = min(max(EVALUATION_SHARE * time, least_evaluation), time - least + least_evaluation)
        evaluation_tokens = _evaluation_tokens(share, evaluation_seconds, counts, context_tokens, most_evaluation_tokens)
    else:
        share = least_evaluation
    left = time - share
    if start_windows:
        share = min(max(min(START_SHARE * time, start_windows * search_window), least_start), left - least_search - least_recovery)
        start_windows = max(1, min(start_windows, int(share / search_window)))
        left -= share
    share = min(max(left * (SEARCH_SHARE if is_recovery else 1.0), least_search), left - least_recovery) if is_search else 0.0
    batch = batch_size or WINDOWS_PER_STEP
    while (
        batch_size is None
        and batch > 1
        and not (
            share >= (FEWEST_STEPS * step_seconds(batch) if is_search else 0.0) and left - share >= FEWEST_STEPS * recovery_seconds(batch)
        )
    ):
        batch //= 2
    steps = recovery_steps = None
    if is_search:
        share = min(share, MOST_STEPS * step_seconds(batch))  # what it leaves is the recovery's
        steps = max(1, int(share / step_seconds(batch)))
    if is_recovery:
        recovery_steps = min(MOST_STEPS, max(1, int((left - share) / recovery_seconds(batch))))
    total = (
        other_seconds
        + evaluation_seconds(evaluation_tokens // context_tokens or math.inf)
        + (start_windows or 0) * search_window
        + (steps or 0) * step_seconds(batch)
        + (recovery_steps or 0) * recovery_seconds(batch)
    )
    return Choice(context_tokens, batch, start_windows, steps, recovery_steps, evaluation_tokens, total)


def _evaluation_tokens(seconds: float, seconds_of, counts: Sequence[int], context_tokens: int, most: int | None) -> int:
    """0 for all, if they fit; else the largest power of two of windows that does, so that two runs on one machine mostly score the same."""
    if most is None and seconds_of(math.inf) <= seconds:
        return 0
    limit = max(counts) if most is None else max(1, min(max(counts), most // context_tokens))
    windows = 1
    while windows * 2 <= limit and seconds_of(windows * 2) <= seconds:
        windows *= 2
    return windows * context_tokens


def _too_short(seconds: float, needed: float, other: float, batch: int, context_tokens: int) -> str:
    size = f"{batch} x {context_tokens} tokens" if batch > 1 else f"{context_tokens} tokens"
    return (
        f"{seconds / 60:g} minute{' is' if seconds == 60 else 's are'} too short for one step of {size}: this and what a run needs beside it "
        f"(of which {duration_words(other)} are loading and measuring) take about {duration_words(needed)}; "
        f"give --minutes {math.ceil(needed / 6) / 10:g} or more, or a shorter --context."
    )
