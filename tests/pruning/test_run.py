"""A run before its start: which numbers are given, which are chosen by time, and which are defaults."""

import time
from dataclasses import replace

import pytest
import torch
from tiny_text import tiny_llama

from pydisp.pruning import estimate, minutes, run
from pydisp.pruning.corpora import Corpora
from pydisp.pruning.estimate import RecoveryTrial, Trial
from pydisp.pruning.recovery_settings import RecoverySettings
from pydisp.pruning.run import Run, TimeLimit
from pydisp.pruning.settings import PruneSettings
from pydisp.spec import ModelSpec
from pydisp.text import Tokens

SETTINGS = dict(keep_ratio=0.6, ratio_of="block", round_to=4)


@pytest.fixture
def machine(monkeypatch):
    """A slow machine on which every trial says the same; the list of what was tried."""
    tried = []

    def try_search(_model, _spec, _windows, settings):
        tried.append("search")
        return Trial(0.005, 0.1, settings.context_tokens, held_bytes=0, network_parameters=0)

    def try_recovery(_model, _windows, _settings, kept):
        tried.append("recovery")
        return RecoveryTrial(0.002 + kept * 0.007, 0.2)

    def try_forward(_model, windows, count):
        tried.append("forward")
        return 0.002 * count * windows.shape[1]

    monkeypatch.setattr(run, "try_search", try_search)
    monkeypatch.setattr(run, "try_recovery", try_recovery)
    monkeypatch.setattr(run, "estimate_evaluation", try_forward)
    return tried


@pytest.fixture
def large(monkeypatch):
    monkeypatch.setattr(run, "SMALL_MODEL_PARAMETERS", 1000)


def checked(limit=None, said=None, recovery=None, **changes) -> Run:
    model = tiny_llama()
    corpora = Corpora(
        *(Tokens(name, torch.arange(n) % 250 + 1, 4 * n, has_bos=False) for name, n in zip("cho", (40_000, 9_000, 50_000), strict=True)), ""
    )
    say = (lambda _line: None) if said is None else said.append
    return Run.checked(
        "tiny", model, ModelSpec.from_model(model), PruneSettings(**{**SETTINGS, **changes}), corpora, None, say, limit, recovery
    )


def test_minutes_choose_steps_batch_and_evaluation(machine):
    said = []
    chosen = checked(TimeLimit(10), said).settings
    assert chosen.steps > 50 and (chosen.batch_size, chosen.context_tokens) == (4, 128) and 0 < chosen.evaluation_tokens < 9_000
    step = 4 * 128 * 0.005 + 0.1
    assert 0.6 * 600 < chosen.steps * step < 0.8 * 600
    assert machine == ["search", "forward"]
    assert len(said) == 1 and said[0].startswith(
        f"chosen for 10 minutes: 16 windows for the start, {chosen.steps} steps of search of 4 x 128 tokens, evaluation on "
    )
    assert checked(TimeLimit(20)).settings.steps > chosen.steps


def test_the_estimate_is_of_the_chosen_numbers_and_tries_nothing_again(machine):
    said = []
    chosen = checked(TimeLimit(10), said)
    machine.clear()
    chosen.announce()
    assert machine == [] and said[-1].startswith("estimate: about ") and "of search (from a trial of 128 tokens)" in said[-1]


def test_what_is_free_is_told_and_little_of_it_warned_of(machine, monkeypatch):
    chosen, said = checked(TimeLimit(10)), []
    needed = chosen.needed_bytes
    for free, warns in ((10 * needed, False), (1.1 * needed, True), (None, False)):
        said.clear()
        monkeypatch.setattr(run, "free_bytes_around", lambda _model, free=free: free)
        replace(chosen, say=said.append).announce()
        told = f"{needed / 2**20:,.0f} MiB more than now ({(free or 0) / 2**20:,.0f} MiB are free)"
        assert (told in " ".join(said)) is (free is not None)
        assert said[-1].startswith("warning: about ") is warns


def test_a_pruned_model_without_room_is_refused_before_the_search(machine, monkeypatch):
    parameters = sum(p.numel() for p in tiny_llama().parameters())
    monkeypatch.setattr(estimate, "free_bytes_around", lambda _model: 2 * parameters)
    with pytest.raises(ValueError, match="the pruned model needs about .* GiB of memory beside the model on cpu, and .* are free"):
        checked(method="magnitude", evaluation_tokens=1000)


def test_the_evaluation_before_a_recovery_is_in_the_estimate(machine, monkeypatch):
    counted = []
    monkeypatch.setattr(run, "duration_words", lambda seconds: counted.append(seconds) or "some time")
    for recovery in (None, RecoverySettings(steps=3)):
        counted.clear()
        checked(recovery=recovery, steps=3, evaluation_tokens=1280, context_tokens=128).announce()
        assert counted[-1] == pytest.approx((10 * 2 * 3 + (10 * 2 if recovery else 0)) * 128 * 0.002)


def test_time_that_has_passed_or_is_to_come_is_not_given_away(machine):
    whole = checked(TimeLimit(10)).settings.steps
    assert checked(TimeLimit(10, after_seconds=200)).settings.steps < whole
    assert checked(TimeLimit(10, started=time.monotonic() - 200)).settings.steps < whole


def test_a_large_model_on_a_cpu_gets_the_numbers_of_45_minutes(machine, large):
    said = []
    assert checked(None, said).settings.steps == pytest.approx(checked(TimeLimit(45)).settings.steps, abs=2)
    assert said[0].startswith("chosen for 45 minutes (no --minutes was given): ")


def test_nothing_is_tried_for_a_small_model_or_for_given_numbers(machine, large, monkeypatch):
    given = checked(steps=7, evaluation_tokens=1000).settings
    assert (given.steps, given.evaluation_tokens) == (7, 1000)
    monkeypatch.undo()
    small = checked().settings
    assert (small.steps, small.batch_size, small.evaluation_tokens) == (600, 4, 0)


def test_given_numbers_stay_and_the_others_are_chosen(machine, large):
    chosen = checked(TimeLimit(10), context_tokens=64, batch_size=2, evaluation_tokens=640).settings
    assert (chosen.context_tokens, chosen.batch_size, chosen.evaluation_tokens) == (64, 2, 640) and chosen.steps > 50
    machine.clear()
    chosen = checked(steps=7).settings
    assert chosen.steps == 7 and chosen.batch_size == 4 and chosen.evaluation_tokens > 0 and machine[-1] == "forward"


def test_a_baseline_has_its_evaluation_chosen_alone(machine, large):
    chosen = checked(method="magnitude")
    assert machine == ["forward"] and chosen.settings.evaluation_tokens > 0


def test_too_few_minutes_are_refused(machine):
    with pytest.raises(ValueError, match="0.01 minutes are too short for one step of 128 tokens"):
        checked(TimeLimit(0.01))
    for wrong in (0.0, -1.0, float("nan"), float("inf")):
        with pytest.raises(ValueError, match="it must be a number above 0"):
            TimeLimit(wrong)
    with pytest.raises(ValueError, match="steps 5 and minutes 3 exclude each other"):
        TimeLimit(3).check(PruneSettings(**SETTINGS, steps=5))


def test_memory_is_checked_before_anything_is_tried(machine, monkeypatch):
    monkeypatch.setattr("pydisp.pruning.estimate.free_bytes_around", lambda _device: 2**20)
    for limit in (None, TimeLimit(10)):
        with pytest.raises(ValueError, match="the search needs about .* choose a shorter --context"):
            checked(limit)
    assert machine == [] and checked(method="random").settings.method == "random"


def test_a_resumed_run_has_the_numbers_of_its_start():
    asked = PruneSettings(**SETTINGS, batch_size=2)
    was = {
        "steps": 70,
        "batch_size": 4,
        "context_tokens": 64,
        "evaluation_tokens": 640,
        "gradient_checkpointing": True,
        "bfloat16": False,
        "seed": 5,
        "start_windows": 3,
    }
    numbers = dict(steps=70, start_windows=3, batch_size=2, context_tokens=64, evaluation_tokens=640)
    assert asked.with_chosen(was) == PruneSettings(**SETTINGS, **numbers, gradient_checkpointing=True, bfloat16=False)
    assert asked.with_chosen({}) == asked == asked.with_chosen({"steps": "many"})


def test_the_most_steps_of_a_choice(machine, monkeypatch):
    monkeypatch.setattr(minutes, "MOST_STEPS", 60)
    assert checked(TimeLimit(10)).settings.steps == 60


def test_a_recovery_gets_most_of_the_time(machine):
    said, alone = [], checked(TimeLimit(10)).settings
    both = checked(TimeLimit(10), said, RecoverySettings(bfloat16=False))
    kept = both._kept
    assert 0.5 < kept < 0.8 and both.recovery_trial.step_seconds == pytest.approx(0.2 * 1.05)  # states are saved in a twentieth of it
    assert both.recovery_trial.token_seconds == pytest.approx(1.05 * (0.002 + kept * 0.007))
    assert 0.3 * alone.steps < both.settings.steps < 0.5 * alone.steps
    seconds = both.recovery.steps * (4 * 128 * both.recovery_trial.token_seconds + 0.21)
    assert 0.5 * 480 * 0.82 < seconds < 0.6 * 480
    assert f"{both.recovery.steps} steps of recovery" in said[0]
    both.announce()
    assert "of search (from a trial of 128 tokens), then about" in said[-1] and "of recovery, then about" in said[-1]


def test_the_steps_of_a_recovery_follow_its_own_batch(machine):
    small, large = (checked(TimeLimit(10), None, RecoverySettings(bfloat16=False, batch_size=n), method="random") for n in (4, 16))
    seconds = [run.recovery.steps * (run.recovery.batch_size * 128 * run.recovery_trial.token_seconds + 0.21) for run in (small, large)]
    assert seconds[0] == pytest.approx(seconds[1], rel=0.05) and 3 < small.recovery.steps / large.recovery.steps < 4


def test_a_model_of_another_dtype_is_searched_in_its_own(monkeypatch):
    monkeypatch.setattr(run, "has_bfloat16", lambda _device: True)
    model, asked = tiny_llama(), PruneSettings(**SETTINGS)
    spec = ModelSpec.from_model(model)
    assert run.resolved_for(model, spec, asked).bfloat16 is True
    assert run.resolved_for(model.double(), spec, asked).bfloat16 is run.resolved_for(model.bfloat16(), spec, asked).bfloat16 is False


def test_given_steps_stay_and_the_others_have_the_share_that_they_would_have_had(machine, large):
    chosen, said = checked(None, None, RecoverySettings(bfloat16=False)), []
    recovery_given = checked(None, said, RecoverySettings(steps=10**6, bfloat16=False))
    assert recovery_given.recovery.steps == 10**6 and recovery_given.settings.steps == pytest.approx(chosen.settings.steps, abs=2)
    assert "1,000,000 steps of recovery" in said[0] and "in all" not in said[0]
    search_given = checked(None, None, RecoverySettings(bfloat16=False), steps=10**6)
    assert search_given.settings.steps == 10**6 and search_given.recovery.steps == pytest.approx(chosen.recovery.steps, abs=2)
    with pytest.raises(ValueError, match="steps 100 and minutes 3 exclude each other"):
        TimeLimit(3).check(RecoverySettings(steps=100))


def test_too_little_memory_for_the_recovery_is_refused(machine, monkeypatch):
    monkeypatch.setattr("pydisp.pruning.estimate.free_bytes_around", lambda _model: 1000)
    with pytest.raises(ValueError, match=r"the recovery needs about .*LoRA \(--recover-lora-rank 8"):
        checked(None, None, RecoverySettings(), method="random")
