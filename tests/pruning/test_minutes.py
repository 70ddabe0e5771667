"""The choice of numbers by time: the run ends in time, more time is never worse, and too little is refused."""

from dataclasses import replace

import pytest

from pydisp.pruning import minutes
from pydisp.pruning.minutes import Speeds, choose

TEXTS = (28_000, 90_000, 28_000) * 2  # both models
FAST, SLOW = Speeds(2e-5, 6e-5, 0.01), Speeds(2e-3, 5e-3, 0.1)  # about the demo model and SmolLM2 on two cores
GIANT = Speeds(0.05, 0.12, 1.0)


def recovering(speeds: Speeds) -> Speeds:
    token = speeds.forward_token + 0.8 * (speeds.search_token + speeds.forward_token)
    return replace(speeds, recovery_token=token, recovery_step=2 * speeds.search_step)


KINDS = {
    "search": lambda s: s,
    "search and recovery": recovering,
    "evaluation alone": lambda s: Speeds(s.forward_token),
    "recovery alone": lambda s: replace(recovering(s), search_token=None),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("speeds", [FAST, SLOW, GIANT], ids=["fast", "slow", "giant"])
@pytest.mark.parametrize("other", [0.0, 75.0])
def test_the_run_ends_in_time_and_more_time_is_never_worse(kind, speeds, other):
    speeds, before, tried = KINDS[kind](speeds), None, 0
    for time in (round(10 * 1.1**n) for n in range(95)):
        options = dict(
            texts=TEXTS, other_seconds=other, most_evaluation_tokens=32_768, start_windows=None if speeds.search_token is None else 16
        )
        try:
            chosen = choose(time, speeds, **options)
        except ValueError:
            assert before is None  # once it fits, it fits with more
            continue
        tried += 1
        assert chosen.seconds <= time and chosen.context_tokens == 256
        assert (chosen.steps is None) == (speeds.search_token is None) == (chosen.start_windows is None)
        assert (chosen.recovery_steps is None) == (speeds.recovery_token is None)
        windows = [(n or 0) * chosen.batch_size for n in (chosen.steps, chosen.recovery_steps)]
        now = [*windows, chosen.start_windows or 0, chosen.evaluation_tokens]
        if before is not None:
            assert all(after >= was - slack for after, was, slack in zip(now, before, (3, 3, 0, 0), strict=True)), (time, before, now)
        before = now
    assert tried > 20


def test_45_minutes_of_a_slow_model():
    chosen = choose(45 * 60, recovering(SLOW), texts=TEXTS, start_windows=16, most_evaluation_tokens=32_768, other_seconds=100.0)
    assert (chosen.context_tokens, chosen.batch_size) == (256, 4) and chosen.start_windows == 16
    assert min(chosen.steps, chosen.recovery_steps) >= 100 and chosen.evaluation_tokens >= 12 * 256
    assert 0.7 * 45 * 60 < chosen.seconds <= 0.8 * 45 * 60
    evaluation = 0.002 * sum(min(chosen.evaluation_tokens, tokens) for tokens in TEXTS)
    assert evaluation <= minutes.EVALUATION_SHARE * 45 * 60


def test_a_batch_is_halved_rather_than_have_few_steps():
    sizes = [choose(time, SLOW, texts=TEXTS).batch_size for time in (30, 150, 230, 2000)]
    assert sizes == sorted(sizes) and {1, 2, 4} == set(sizes)


def test_given_numbers_stay():
    chosen = choose(2000, SLOW, texts=TEXTS, batch_size=8, evaluation_tokens=512, context_tokens=128)
    assert (chosen.batch_size, chosen.evaluation_tokens, chosen.context_tokens) == (8, 512, 128)
    assert choose(4000, SLOW, texts=TEXTS, evaluation_tokens=0).evaluation_tokens == 0


def test_all_of_a_text_is_scored_where_it_fits_and_nothing_limits_it():
    assert choose(600, FAST, texts=TEXTS).evaluation_tokens == 0
    assert choose(600, FAST, texts=TEXTS, most_evaluation_tokens=32_768).evaluation_tokens == 32_768
    assert choose(600, FAST, texts=(300, 300, 300), most_evaluation_tokens=32_768).evaluation_tokens == 256


def test_too_short_says_what_fits():
    with pytest.raises(ValueError, match=r"1 minute is too short for one step of 256 tokens.*loading and measuring") as refused:
        choose(60, GIANT, texts=TEXTS, other_seconds=75.0)
    least = float(str(refused.value).split("--minutes ")[1].split()[0])
    assert choose(60 * least, GIANT, texts=TEXTS, other_seconds=75.0).steps == 1
    with pytest.raises(ValueError, match="too short"):
        choose(60 * (least - 0.2), GIANT, texts=TEXTS, other_seconds=75.0)
    with pytest.raises(ValueError, match="one step of 4 x 256 tokens"):
        choose(60, GIANT, texts=TEXTS, batch_size=4)


def test_no_search_is_longer_than_the_most_steps_and_recovery_gets_the_rest():
    short, long = (choose(time, recovering(FAST), texts=TEXTS) for time in (3600, 7200))
    assert short.steps == long.steps == minutes.MOST_STEPS or short.steps < long.steps
    assert long.recovery_steps >= short.recovery_steps


def test_the_choice_in_words():
    chosen = choose(45 * 60, recovering(SLOW), texts=TEXTS, start_windows=16, most_evaluation_tokens=32_768)
    words = chosen.in_words()
    assert words.startswith(
        f"16 windows for the start, {chosen.steps:,} steps of search of 4 x 256 tokens, {chosen.recovery_steps:,} steps of recovery"
    )
    assert f"evaluation on {chosen.evaluation_tokens:,} tokens of each text; about " in words
    assert "all of each text" in choose(600, FAST, texts=TEXTS).in_words()
