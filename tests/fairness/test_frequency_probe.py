"""Loss by frequency in training: the probe's figures are an audit's, and the callback logs them at its steps without changing the run."""

import json

import pytest
import torch
from tiny_text import TEXT, tiny_llama, tiny_tokenizer

from pydisp.fairness import Counts, audit
from pydisp.fairness.frequency_probe import FrequencyProbe

SMALL = {"context_tokens": 32, "most_tokens": 2048}


@pytest.fixture
def text(tmp_path):
    (tmp_path / "heldout.txt").write_text(TEXT)
    (tmp_path / "train.txt").write_text(TEXT[::-1] + TEXT)
    return tmp_path


def test_figures_are_those_of_an_audit(text):
    model, tokenizer = tiny_llama(), tiny_tokenizer()
    held, train = str(text / "heldout.txt"), str(text / "train.txt")
    found = FrequencyProbe(tokenizer, held, counts_text=train, **SMALL)(model)
    wanted = audit(model, tokenizer, held, mode="id", counts_text=train, **SMALL).as_dict()
    assert found["loss"] == pytest.approx(wanted["average_nats"]) and found["balanced_loss"] == pytest.approx(wanted["balanced_nats"])
    for part in ("head", "torso", "tail"):
        assert found[f"loss_{part}"] == pytest.approx(wanted["parts"][part]["nats"])
    for one in wanted["bins"]:
        if one["units"]:
            assert found[f"loss_count_{one['low']}_to_{one['high']}"] == pytest.approx(one["nats"])


def test_a_measurement_leaves_model_and_random_state_alone(text):
    model = tiny_llama().train()
    before, state = {n: p.clone() for n, p in model.state_dict().items()}, torch.get_rng_state()
    probe = FrequencyProbe(tiny_tokenizer(), str(text / "heldout.txt"), **SMALL)
    assert probe.counts.is_biased and probe(model) == probe(model)
    assert model.training and torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(p, before[n]) for n, p in model.state_dict().items())


def test_wrong_arguments_are_refused(text):
    held = str(text / "heldout.txt")
    with pytest.raises(ValueError, match="exclude each other"):
        FrequencyProbe(tiny_tokenizer(), held, counts="a", counts_text="b")
    with pytest.raises(ValueError, match="has a count for id 300"):
        FrequencyProbe(tiny_tokenizer(), held, counts=Counts("c", "token", {300: 1, 70: 2}), **SMALL)
    with pytest.raises(ValueError, match="counts by word, a probe is by id"):
        FrequencyProbe(tiny_tokenizer(), held, counts=Counts("c", "word", {"a": 1}), **SMALL)
    with pytest.raises(ValueError, match="has 128 positions"):
        FrequencyProbe(tiny_tokenizer(), held, context_tokens=200)(tiny_llama())
    with pytest.raises(ValueError, match="one window"):
        FrequencyProbe(tiny_tokenizer(), held, context_tokens=10**6, most_tokens=10**7)


def test_the_callback_logs_at_its_steps(text, tmp_path):
    pytest.importorskip("accelerate")
    from transformers import Trainer, TrainingArguments

    from pydisp.fairness.callback import FrequencyLossCallback

    tokenizer = tiny_tokenizer()
    ids = tokenizer(TEXT, add_special_tokens=False)["input_ids"]
    data = [{"input_ids": ids[n : n + 32], "labels": ids[n : n + 32]} for n in range(0, 640, 32)]
    probe = FrequencyProbe(tokenizer, str(text / "heldout.txt"), counts_text=str(text / "train.txt"), **SMALL)

    def trained(callbacks):
        arguments = TrainingArguments(
            str(tmp_path / "out"), max_steps=7, per_device_train_batch_size=4, learning_rate=1e-2, report_to="none", save_strategy="no",
            logging_steps=3, disable_tqdm=True, use_cpu=True, seed=3,
        )  # fmt: skip
        trainer = Trainer(tiny_llama(), arguments, train_dataset=data, callbacks=callbacks)
        for callback in callbacks:
            callback.trainer = trainer if callback.every == 2 else None
        trainer.train()
        return trainer

    for every, steps in ((3, [0, 3, 6, 7]), (2, [0, 2, 4, 6, 7])):
        callback = FrequencyLossCallback(probe, every=every)
        trainer = trained([callback])
        assert [row["step"] for row in callback.history] == steps
        logged = [row for row in trainer.state.log_history if "frequency/loss_tail" in row]
        assert [row["step"] for row in logged] == steps
        assert [row["step"] for row in trainer.state.log_history if "loss" in row] == [3, 6]  # the Trainer's own are not lost
        assert logged[-1]["frequency/loss"] == callback.history[-1]["loss"] < callback.history[0]["loss"]
    plain = trained([])
    for one, other in zip(plain.model.parameters(), trainer.model.parameters(), strict=True):
        assert torch.equal(one, other)
    with pytest.raises(ValueError, match="every is 0"):
        FrequencyLossCallback(probe, every=0)
    assert json.dumps(callback.history)
