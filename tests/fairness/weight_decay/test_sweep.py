"""A sweep trains every run of its configuration to the same bytes, however it was stopped, and its figures are those of the runs."""

import contextlib
import json
import math

import numpy as np
import pytest
import torch
from tiny_text import TEXT
from transformers.trainer_pt_utils import get_parameter_names

from pydisp.fairness.frequency_loss import by_frequency, scored
from pydisp.fairness.weight_decay import sweep
from pydisp.fairness.weight_decay import workers as workers_module
from pydisp.fairness.weight_decay.config import read_config
from pydisp.fairness.weight_decay.text import read_sweep_text
from pydisp.fairness.weight_decay.training_run import TrainingRun, decay_groups, new_model
from pydisp.progress import Interrupted, silence

DOCUMENTS = TEXT.split("\n\n")
CHANGED = {  # of the defaults, to be done in no time
    "vocabulary_size": 300, "context_tokens": 16, "train_tokens": 640, "held_out_tokens": 192, "hidden_size": 16, "intermediate_size": 24,
    "num_hidden_layers": 2, "num_attention_heads": 2, "num_key_value_heads": 1, "batch_windows": 4, "learning_rate": 0.01, "points": 4,
    "curve_tokens": 64, "least_count": 2,
}  # fmt: skip


@pytest.fixture
def config(tmp_path):
    """Two arms: 2 weight decays and 2 seeds of 6 steps each, and 1 run of 3 epochs over fewer tokens."""
    for name, documents in (("train", DOCUMENTS[:20]), ("held", DOCUMENTS[20:])):
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps({"text": d}) + "\n" for d in documents))
    arms = {"few": {"steps": 6}, "many": {"train_tokens": 160, "epochs": 3, "weight_decay": [1], "seeds": [3], "decay_embeddings": False}}
    sources = {"train": [str(tmp_path / "train.jsonl")], "held_out": [str(tmp_path / "held.jsonl")]}
    return {**CHANGED, **sources, "weight_decay": [0, 20], "seeds": [0, 1], "arms": arms}


def files(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def stop_after(monkeypatch, looks):
    """From now on a sweep in this process is asked to stop when it looks for the time `looks` whether it should."""
    left = [looks]

    @contextlib.contextmanager
    def stop_requests():
        def is_stop_requested():
            left[0] -= 1
            return left[0] < 0

        yield is_stop_requested

    monkeypatch.setattr(workers_module, "stop_requests", stop_requests)


def run_of(config, number=0):
    settings = read_config(config)
    return TrainingRun(settings.runs[number], read_sweep_text(settings))


def test_a_sweep_as_a_folder(config, tmp_path):
    threads, drawn = torch.get_num_threads(), torch.random.get_rng_state()
    said = []
    report, outcome = sweep(config, tmp_path / "out", workers=1, say=said.append)
    assert torch.get_num_threads() == threads and torch.equal(drawn, torch.random.get_rng_state())
    names = ["few-decay0-seed0", "few-decay0-seed1", "few-decay20-seed0", "few-decay20-seed1", "many-decay1-seed3"]
    assert {path.name for path in (tmp_path / "out").iterdir()} >= {
        "report.json",
        "report.md",
        "report.html",
        "sweep.json",
        "tokenizer.json",
    }
    assert {path.stem for path in (tmp_path / "out" / "runs").glob("*.json")} == set(names) == set(outcome["runs"])
    assert json.loads((tmp_path / "out" / "sweep.json").read_text()) == outcome
    assert not (tmp_path / "out.partial").exists()
    assert sum("nats a token on the train text" in line for line in said) == 5 and "5 runs, " in said[0]
    text = report.to_json() + (tmp_path / "out" / "report.html").read_text()
    assert str(tmp_path) not in text and "train.jsonl" in text
    assert outcome["arms"]["few"]["base"] == 0 and outcome["arms"]["many"]["train"]["differences"] == {}
    assert "many: only weight decay 1 was trained to its end, so there is nothing to compare it with." in report.summary


def test_the_same_bytes_again_with_two_processes_and_from_a_file(config, tmp_path):
    import yaml

    sweep(config, tmp_path / "here", workers=1, say=silence)
    for source in ("train", "held_out"):
        config[source] = [path.rpartition("/")[2] for path in config[source]]
    (tmp_path / "sweep.yaml").write_text(yaml.safe_dump(config))
    sweep(tmp_path / "sweep.yaml", tmp_path / "beside", workers=2, say=silence)
    assert files(tmp_path / "here") == files(tmp_path / "beside")


def test_stopped_again_and_again_it_gives_the_same_bytes(config, tmp_path, monkeypatch):
    sweep(config, tmp_path / "whole", workers=1, say=silence)
    parts = 0
    while not (tmp_path / "parts").exists():
        stop_after(monkeypatch, 11)
        with contextlib.suppress(Interrupted):
            sweep(config, tmp_path / "parts", workers=1, say=silence, resume=parts > 0, checkpoint_seconds=0)
        parts += 1
    assert parts > 6 and files(tmp_path / "whole") == files(tmp_path / "parts")
    assert not (tmp_path / "parts.partial").exists()


def test_a_stop_says_how_to_go_on_and_what_was_started_with_other_settings_does_not(config, tmp_path, monkeypatch):
    stop_after(monkeypatch, 30)
    with pytest.raises(
        Interrupted, match=r"^stopped with [1-4] of 5 runs finished; repeat the command with --resume to go on from there\.$"
    ):
        sweep(config, tmp_path / "out", workers=1, say=silence)
    assert not (tmp_path / "out").exists() and list((tmp_path / "out.partial" / "runs").glob("few-*.json"))
    with pytest.raises(ValueError, match="had arms.few.learning_rate 0.01, this command has 0.02; repeat its command with --resume"):
        sweep(config | {"learning_rate": 0.02}, tmp_path / "out", workers=1, resume=True, say=silence)
    monkeypatch.undo()
    sweep(config | {"learning_rate": 0.02}, tmp_path / "out", workers=1, say=silence)  # without resume it starts anew
    assert {json.loads(text)["learning_rate_sum"] > 0.04 for name, text in files(tmp_path / "out" / "runs").items() if "few" in name and name.endswith("json")} == {True}  # fmt: skip


def test_an_output_that_exists_is_kept(config, tmp_path):
    (tmp_path / "out").mkdir()
    with pytest.raises(FileExistsError, match="exists; choose another --out, or replace it with --overwrite"):
        sweep(config, tmp_path / "out", workers=1, say=silence)
    with pytest.raises(FileExistsError, match="is not the output of an earlier sweep"):
        sweep(config, tmp_path / "out", workers=1, overwrite=True, say=silence)
    with pytest.raises(FileNotFoundError, match="there is nothing to resume"):
        sweep(config, tmp_path / "new", workers=1, resume=True, say=silence)
    with pytest.raises(ValueError, match="workers is 0; it must be a whole number of at least 1"):
        sweep(config, tmp_path / "new", workers=0, say=silence)
    assert [path.name for path in tmp_path.iterdir() if path.is_dir()] == ["out"]


@pytest.mark.parametrize(
    "changes, words",
    [
        ({"weight_decays": [0]}, "unknown setting 'weight_decays'; known: name, train, "),
        ({"arms": {"few": {"rate": 1}}}, "arm few: unknown setting 'rate'; known: weight_decay, "),
        ({"arms": {"few": {"name": "x"}}}, "arm few: unknown setting 'name'"),
        ({"arms": {"a b": {}}}, "an arm is called 'a b'; its name must consist of at most 40 letters"),
        ({"arms": []}, "arms is []; it must hold a name"),
        ({"train": []}, "train names no text; list files"),
        ({"train": 3}, "train is 3; it must be a list of files"),
        ({"train": None}, "train is missing; it needs train, held_out, vocabulary_size."),
        ({"train": ["missing.txt"]}, "missing.txt does not exist"),
        ({"weight_decay": []}, "weight_decay is an empty list; name one value or more."),
        ({"weight_decay": [0, -1]}, "weight_decay has -1; each must be a finite number of at least 0."),
        ({"weight_decay": [0, math.inf]}, "weight_decay has inf; each must be a finite number"),
        ({"weight_decay": [1, 1.0]}, "weight_decay has 1 twice; name each value once."),
        ({"weight_decay": None}, "weight_decay is missing; give it for this arm, or at the top for all."),
        ({"seeds": [0, 0]}, "seeds has 0 twice"),
        ({"seeds": [-1]}, "seeds has -1; each must be a whole number from 0"),
        ({"seeds": [0.5]}, "seeds.0 is 0.5: "),
        ({"steps": 3, "epochs": 1, "arms": None}, "both epochs and steps are given; give one of the two."),
        ({"arms": None}, "neither epochs nor steps is given; give one of the two."),
        ({"arms": {"few": {"epochs": 0.01}}}, "epochs is 0.01; it must be a finite number that makes at least one step of 4 windows."),
        ({"learning_rate": 0}, "learning_rate is 0.0; it must be a finite number above 0."),
        ({"learning_rate": "1e-3"}, r"learning_rate is '1e-3', which YAML reads as text (write 1.0e-3): "),
        ({"warmup_share": 2}, "warmup_share is 2.0; it must lie between 0 and 1."),
        ({"schedule": "constant"}, "schedule is 'constant'; known: cosine, linear."),
        ({"betas": [0.9, 1]}, "betas is [0.9, 1.0]; both must be at least 0 and below 1."),
        ({"points": 2}, "points is 2; it must be a whole number of at least 3."),
        ({"hidden_size": 15}, "hidden_size is 15, num_attention_heads is 2; the first must be a multiple of the second."),
        ({"num_key_value_heads": 3}, "num_attention_heads is 2, num_key_value_heads is 3; the first must be a multiple"),
        ({"hidden_size": 6}, "a head has 3 dimensions; rotary positions need an even number"),
        ({"curve_tokens": 10}, "curve_tokens is 10, one window has 16 tokens; ask for at least as many."),
        ({"batch_windows": 41}, "640 train tokens are 40 windows, a step takes 41; ask for more tokens or a smaller batch_windows."),
        ({"vocabulary_size": 256}, "vocabulary_size is 256; it must be at least 257, an id for each byte and one for the end of a text."),
        ({"vocabulary_size": "300"}, "vocabulary_size is '300'; it must be a whole number."),
        ({"vocabulary_size": 30_000}, " ids, vocabulary_size is 30,000; give more text or a smaller vocabulary_size."),
        ({"train_tokens": 64_000}, " tokens of this vocabulary, train_tokens is 64,000; give more text or ask for fewer tokens."),
        ({"held_out_tokens": 64_000}, " tokens of this vocabulary, held_out_tokens is 64,000; give more text or ask for fewer tokens."),
    ],
)  # fmt: skip
def test_what_cannot_be_trained_is_refused_in_one_sentence(config, tmp_path, changes, words):
    before = files(tmp_path)
    with pytest.raises((ValueError, FileNotFoundError)) as error:
        sweep(config | changes, tmp_path / "out", workers=1, say=silence)
    assert words in str(error.value) and len(str(error.value).splitlines()) == 1
    assert files(tmp_path) == before and not (tmp_path / "out.partial").exists()


@pytest.mark.parametrize(
    "text, words",
    [
        ("- 1", "holds no settings"),
        ("a: [1", "line 1: this is no YAML"),
        ("steps: 1\nsteps: 2", "line 2: the key 'steps' stands twice in one mapping; leave one out."),
        ("arms:\n  a: {steps: 1, steps: 2}", "line 2: the key 'steps' stands twice in one mapping; leave one out."),
        ("a: &x 1\nb: *x", r"line 2: there is the alias \*x"),
        ("a: 2000-13-01", "line 1: a value here cannot be read"),
        ("a: " + "[" * 5000, "more than 20 deep"),
    ],
)
def test_a_file_that_holds_no_settings_is_refused(tmp_path, text, words):
    (tmp_path / "sweep.yaml").write_text(text)
    with pytest.raises(ValueError, match=words):
        read_config(tmp_path / "sweep.yaml")
    with pytest.raises(FileNotFoundError, match="there is no file .*absent.yaml; give a YAML file with train"):
        read_config(tmp_path / "absent.yaml")


def test_a_held_out_document_that_is_trained_on_is_left_out(config, tmp_path):
    with (tmp_path / "held.jsonl").open("a") as file:
        file.write(json.dumps({"text": DOCUMENTS[0]}) + "\n")
    assert read_sweep_text(read_config(config)).facts["held_out"]["documents_left_out"] == 1
    with pytest.raises(ValueError, match="every document of train.jsonl is in the train text too; give another text as held_out"):
        read_sweep_text(read_config(config | {"held_out": config["train"]}))


def test_text_as_ids(config):
    from tokenizers import Tokenizer

    text = read_sweep_text(read_config(config))
    assert len(text.train) == 640 and len(text.held_out) == 192 and text.vocabulary_size == 300 and text.train.max() < 300
    ids = text.train.tolist()
    ends = [place for place, number in enumerate(ids) if number == 0]
    tokenizer = Tokenizer.from_str(text.tokenizer)
    assert ends[0] == 0 and tokenizer.decode(ids[: ends[1]]) == DOCUMENTS[0] and tokenizer.decode(ids[ends[1] : ends[2]]) == DOCUMENTS[1]
    assert text.facts["train"]["documents"] == 20 and text.vocabulary == read_sweep_text(read_config(config)).vocabulary


def test_the_product_is_the_sum_of_what_the_optimizer_was_given(config):
    run = run_of(config, 2)
    rates, step = [], run.optimizer.step

    def counted():
        rates.append([group["lr"] * group["weight_decay"] for group in run.optimizer.param_groups])
        step()

    run.optimizer.step = counted
    run.train()
    assert len(rates) == 6 and {row[1] for row in rates} == {0.0}
    assert run.result()["decay_product"] == pytest.approx(sum(row[0] for row in rates)) and run.result()["decay_product"] > 0.2


def test_rates_warm_up_and_fall(config):
    few = read_config(config | {"warmup_share": 0.5, "schedule": "linear"}).arms["few"]
    assert few.rates == pytest.approx([0.01 * share for share in (1 / 3, 2 / 3 * 5 / 6, 4 / 6, 3 / 6, 2 / 6, 1 / 6)])
    assert read_config(config).arms["few"].rates[3] == pytest.approx(0.005)
    many = read_config(config).arms["many"]
    assert many.total_steps == 7 and many.windows == 10 and many.steps is None  # 3 epochs of 10 windows, 4 a step
    long = read_config(config | {"arms": {"few": {"steps": 1000}}, "points": 6}).arms["few"]
    assert long.points_at == (0, 10, 32, 100, 316, 1000)


@pytest.mark.parametrize("tied", [True, False])
def test_what_decays_is_what_the_trainer_of_transformers_decays(config, tied):
    settings = read_config(config | {"tie_word_embeddings": tied}).arms["few"]
    model = new_model(settings, 300, 0)
    forbidden = [r"bias", r"layernorm", r"rmsnorm", r"(?:^|\.)norm(?:$|\.)", r"_norm(?:$|\.)"]  # as Trainer.get_decay_parameter_names
    wanted = get_parameter_names(model, [torch.nn.LayerNorm], forbidden)
    decayed, others = decay_groups(model, True)
    assert {id(p) for p in decayed} == {id(p) for name, p in model.named_parameters() if name in wanted}
    assert len(decayed) + len(others) == len(list(model.parameters()))
    without, kept = decay_groups(model, False)
    assert len(decayed) - len(without) == (1 if tied else 2) and any(p is model.get_input_embeddings().weight for p in kept)


def test_every_epoch_has_each_window_once_in_its_own_order(config):
    run = run_of(config, 4)  # 10 windows, 4 a step, 7 steps
    batches = []
    while run.step < 7:
        batches.append(run._batch())
        run.step += 1
    rows = torch.cat(batches).tolist()
    windows = run.windows["train"].tolist()
    epochs = [[windows.index(row) for row in rows[start : start + 10]] for start in (0, 10)]
    assert [sorted(epoch) for epoch in epochs] == [list(range(10))] * 2 and epochs[0] != epochs[1]


def test_curves_have_their_points_and_bins_add_up(config):
    run = run_of(config)
    run.train()
    result = run.result()
    assert [point["step"] for point in result["curve"]] == list(run.arm.points_at) == [0, 1, 2, 6]
    for scores in [*result["final"].values(), *(point[text] for point in result["curve"] for text in ("train", "held_out"))]:
        for groups in (scores["bins"], scores["parts"]):
            assert sum(group["tokens"] for group in groups.values()) == scores["tokens"]
            assert sum(group["types"] for group in groups.values()) == scores["types"]
            for name, weight in (("average_nats", "tokens"), ("accuracy", "tokens"), ("balanced_nats", "types")):
                total = sum(group[name] * group[weight] for group in groups.values())
                assert total == pytest.approx(scores[name] * scores[weight])
    assert result["final"]["train"]["tokens"] == 40 * 15 and result["final"]["held_out"]["tokens"] == 12 * 15
    assert {point["train"]["tokens"] for point in result["curve"]} == {4 * 15}
    assert result["final"]["train"]["average_nats"] < result["curve"][0]["train"]["average_nats"]
    assert "0" not in result["final"]["train"]["bins"]  # no token of the train text has a count of 0


def test_scores_are_those_of_the_logits(config):
    run = run_of(config)
    windows = run.windows["held_out"]
    found = by_frequency(scored(run.model, windows, "digest"), run.counts)
    with torch.no_grad():
        logits = run.model(windows).logits[:, :-1].flatten(0, 1)
    targets = windows[:, 1:].flatten()
    nats = torch.nn.functional.cross_entropy(logits, targets, reduction="none").double().numpy()
    assert found["average_nats"] == pytest.approx(nats.mean(), rel=1e-5)
    assert found["accuracy"] == pytest.approx((logits.argmax(1) == targets).double().mean().item())
    rare = run.counts[targets.numpy()] == 0
    if rare.any():
        assert found["bins"]["0"]["tokens"] == rare.sum() and found["bins"]["0"]["average_nats"] == pytest.approx(
            nats[rare].mean(), rel=1e-5
        )
    by_type = [nats[targets.numpy() == i].mean() for i in np.unique(targets.numpy())]
    assert found["balanced_nats"] == pytest.approx(np.mean(by_type), rel=1e-5)


def test_a_run_that_diverges_is_named_and_the_others_go_on(config, tmp_path):
    config["arms"]["wild"] = {"steps": 6, "learning_rate": 1e38, "seeds": [0]}
    report, outcome = sweep(config, tmp_path / "out", workers=1, say=silence)
    assert outcome["runs"]["wild-decay0-seed0"]["diverged"]["step"] >= 1 and outcome["runs"]["few-decay0-seed0"]["diverged"] is None
    (line,) = [sentence for sentence in report.summary if sentence.startswith("wild")]
    assert line.startswith("wild: 2 of 2 runs diverged and are in no figure: wild-decay0-seed0 (") and "nan" in line
    assert "All 2 runs diverged; lower the learning rate." in report.to_markdown()


def test_a_damaged_checkpoint_is_refused(config, tmp_path, monkeypatch):
    stop_after(monkeypatch, 3)
    with pytest.raises(Interrupted):
        sweep(config, tmp_path / "out", workers=1, say=silence)
    monkeypatch.undo()
    (checkpoint,) = (tmp_path / "out.partial" / "runs").glob("*.pt")
    checkpoint.write_bytes(b"nothing")
    with pytest.raises(ValueError, match="is damaged .*; start the sweep anew without --resume"):
        sweep(config, tmp_path / "out", workers=1, resume=True, say=silence)


def test_a_sweep_whose_runs_all_diverge_is_no_result(config, tmp_path):
    arms = {"few": {"steps": 6, "weight_decay": [0], "seeds": [0]}}
    with pytest.raises(ValueError, match="all 1 runs diverged"):
        sweep({**config, "arms": arms, "learning_rate": 1e30}, tmp_path / "out", workers=1, say=silence)
    assert not (tmp_path / "out").exists()
