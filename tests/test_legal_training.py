"""bench/legal_training.py on a tiny model: what is left out, the same bytes again, two arms that differ by their text, nothing trained twice."""

import hashlib
import json
import sys
from pathlib import Path

import pytest
import torch
from tiny_text import TEXT, write_model, write_text
from transformers import AutoModelForCausalLM, AutoTokenizer

sys.path.insert(0, str(Path(__file__).parents[1] / "bench"))

import legal_training  # noqa: E402

from pydisp.text import Text  # noqa: E402

SECTIONS = [
    f"22-{n}\nOffense {n}.\nWhoever takes {n} things of another shall be fined not more than ${n}00.\n(a)\nRepealed." for n in range(60)
]
ENDS = {"training": "22-7", "the held-out part": "22-59"}


@pytest.fixture(autouse=True)
def same_threads():
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.fixture
def arguments(tmp_path):
    """The command line; its folders are in tmp_path."""
    (tmp_path / "statutes.txt").write_text("\n\n".join(SECTIONS) + "\n\n")
    sources = [*(f"D.C. Code § {number}" for number in ENDS.values()), "LegalBench hearsay"]
    lines = [json.dumps({"id": str(n), "text": "…", "spans": [], "source": source}) for n, source in enumerate(sources)]
    (tmp_path / "passages.jsonl").write_text("\n".join(lines) + "\n")
    return [
        "--model", write_model(tmp_path / "tiny"), "--legal", tmp_path / "statutes.txt", "--other", write_text(tmp_path / "other.txt"),
        "--passages", tmp_path / "passages.jsonl", "--steps", 2, "--context", 64, "--seeds", "0", "--out", tmp_path / "out",
    ]  # fmt: skip


def command(monkeypatch, capsys, *args):
    monkeypatch.setattr(sys, "argv", ["legal_training.py", *map(str, args)])
    status = 0
    try:
        legal_training.main()
    except SystemExit as stop:
        status = stop.code
    return status, *capsys.readouterr()


def weights(folder):
    return (folder / "model.safetensors").read_bytes()


def sha256(documents):
    return hashlib.sha256("\n\n".join(documents).encode()).hexdigest()


def test_models_and_their_record(arguments, tmp_path, monkeypatch, capsys):
    status, printed, err = command(monkeypatch, capsys, *arguments, "--seeds", "0,1")
    assert status == 0, err
    out = tmp_path / "out"
    assert sorted(path.name for path in out.iterdir()) == ["legal-0", "legal-1", "other-0", "other-1", "training.json"]
    record = json.loads((out / "training.json").read_text())
    start = {name: value["nats_per_token"] for name, value in record["models"]["legal-0"]["before"].items()}
    for name, its in record["models"].items():
        model = AutoModelForCausalLM.from_pretrained(out / name)
        ids = AutoTokenizer.from_pretrained(out / name)("Whoever takes", return_tensors="pt")["input_ids"]
        assert model(ids).logits.isfinite().all() and model.dtype == torch.float32  # bfloat16 would round small steps away
        assert its == json.loads((out / name / "training.json").read_text()) and its["seconds"] > 0
        assert {text: loss["nats_per_token"] for text, loss in its["before"].items()} == start
        arm = name.partition("-")[0]
        assert its["after"][arm]["nats_per_token"] < start[arm]
    assert record["settings"]["steps"] == 2 and record["versions"]["torch"] == torch.__version__ and record["machine"]["threads"] == 1
    assert record["texts"]["legal"]["sha256"] == hashlib.sha256((tmp_path / "statutes.txt").read_bytes()).hexdigest()
    assert str(tmp_path) not in json.dumps(record)  # no path of the machine
    assert len({weights(out / name) for name in record["models"]}) == 4  # arms and seeds differ
    assert [line.count("|") for line in printed.splitlines()] == [4] * 5


def test_one_seed_gives_the_same_bytes(arguments, tmp_path, monkeypatch, capsys):
    assert command(monkeypatch, capsys, *arguments)[0] == 0
    torch.rand(3)  # the global generator has no part in it
    assert command(monkeypatch, capsys, *arguments, "--out", tmp_path / "again")[0] == 0
    for name in ("legal-0", "other-0"):
        assert weights(tmp_path / "out" / name) == weights(tmp_path / "again" / name)


def test_only_the_text_differs_between_the_arms(arguments, tmp_path, monkeypatch, capsys):
    (tmp_path / "passages.jsonl").write_text('{"source": "LegalBench hearsay"}\n')
    assert command(monkeypatch, capsys, *arguments, "--other", tmp_path / "statutes.txt")[0] == 0
    assert weights(tmp_path / "out/legal-0") == weights(tmp_path / "out/other-0")


def test_sections_of_passages_are_in_no_text(arguments, tmp_path, monkeypatch, capsys):
    assert command(monkeypatch, capsys, *arguments)[0] == 0
    record = json.loads((tmp_path / "out/training.json").read_text())
    assert record["passages"]["sections"] == sorted(ENDS.values())
    left = [section for section in SECTIONS[:-1] if not section.startswith("22-7\n")]
    legal = record["texts"]["legal"]
    assert (legal["train"]["documents"], legal["held_out"]["documents"]) == (55, 3)
    assert (legal["train"]["sha256"], legal["held_out"]["sha256"]) == (sha256(left[:55]), sha256(left[55:]))


def test_whole_documents():
    articles = " \n = One = \n \n Text . \n \n = = Part = = \n \n = n = \n More . \n \n = Two = \n \n Text . \n"
    cut = legal_training.whole_documents(Text("wiki", (articles,)))
    assert [document.split("\n")[0] for document in cut.documents] == [" = One = ", " = Two = "]
    assert legal_training.whole_documents(Text("code", ("1\na\n\n2\nb\n\n",))).documents == ("1\na", "2\nb")
    records = Text("records", ("a\n\nb", "c"))
    assert legal_training.whole_documents(records) is records


def test_a_twentieth_is_held_out():
    text = Text("code", tuple(f"{n:02d}" * 5 for n in range(40)))
    train, held_out = legal_training.apart(text)
    assert train.documents + held_out.documents == text.documents and len(held_out.documents) == 2
    train, held_out = legal_training.apart(Text("code", ("a" * 10, "b" * 9, "c" * 100)))
    assert held_out.documents == ("c" * 100,)


def test_a_whole_folder_is_not_trained_again(arguments, tmp_path, monkeypatch, capsys):
    fit, fitted = legal_training.fit, []

    def stopped(*args):
        fitted.append(args[3])
        if len(fitted) == 2:
            raise KeyboardInterrupt
        fit(*args)

    monkeypatch.setattr(legal_training, "fit", stopped)
    status, printed, err = command(monkeypatch, capsys, *arguments, "--seeds", "3,4")
    assert (status, printed) == (130, "") and err.splitlines()[-1].startswith("stopped; the same command keeps")
    out = tmp_path / "out"
    assert [path.name for path in out.iterdir()] == ["legal-3"]
    (out / "other-3.partial").mkdir()  # what a kill leaves
    (out / "other-3.partial/pydisp.lock").touch()
    first = (out / "legal-3/model.safetensors").stat()
    assert command(monkeypatch, capsys, *arguments, "--seeds", "3,4")[0] == 0 and fitted == [3, 3, 3, 4, 4]
    assert (out / "legal-3/model.safetensors").stat() == first
    assert command(monkeypatch, capsys, *arguments, "--seeds", "3,4")[0] == 0 and len(fitted) == 5
    assert command(monkeypatch, capsys, *arguments, "--seeds", "4", "--out", tmp_path / "alone")[0] == 0
    assert weights(tmp_path / "alone/legal-4") == weights(out / "legal-4")  # whatever was trained before it


def test_a_folder_of_another_model_is_refused(arguments, tmp_path, monkeypatch, capsys):
    assert command(monkeypatch, capsys, *arguments)[0] == 0
    before = sorted((tmp_path / "out").rglob("*"))
    refuse(monkeypatch, capsys, [*arguments, "--steps", "3"], "legal-0 has steps 2, this command has 3; give another --out")
    (tmp_path / "passages.jsonl").write_text('{"source": "D.C. Code § 22-8"}\n')
    refuse(monkeypatch, capsys, [*arguments, "--seeds", "1,0"], "legal-0 has legal.train.sha256 ")
    assert sorted((tmp_path / "out").rglob("*")) == before
    (tmp_path / "else/other-0").mkdir(parents=True)
    refuse(monkeypatch, capsys, [*arguments, "--out", tmp_path / "else"], "other-0 exists and has no training.json of this script")


def refuse(monkeypatch, capsys, args, words):
    """The command ends in one sentence with these words, before anything is trained."""
    monkeypatch.setattr(legal_training, "fit", lambda *_args: pytest.fail("a model was trained"))
    status, printed, err = command(monkeypatch, capsys, *args)
    lines = [line for line in err.splitlines() if not line.startswith("warning: files differ from commit")]
    assert (status, printed, len(lines)) == (1, "", 1) and words in lines[0], (status, err)


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        (["--steps", "0"], "--steps 0; at least 2 tokens and 1 step are needed"),
        (["--seeds", "0,a"], "--seeds is '0,a'; give whole numbers"),
        (["--seeds", "1,1"], "seeds has 1 twice"),
        (["--learning-rate", "nan"], "learning_rate is nan"),
        (["--held-out-tokens", "40"], "held_out_tokens is 40, one window has 64 tokens"),
        (["--threads", "0"], "--threads is 0"),
        (["--legal", "no-such.txt"], "no-such.txt does not exist"),
        (["--passages", "no-such.jsonl"], "no-such.jsonl does not exist"),
        (["--model", "./no-such-model"], "there is no model folder at ./no-such-model"),
        (["--context", "200"], "the model has 128 positions"),
        (["--batch-windows", "1000"], "windows of 64 tokens, a step takes 1000"),
    ],
)
def test_bad_input_is_one_sentence_before_anything_is_trained(arguments, tmp_path, monkeypatch, capsys, changed, words):
    refuse(monkeypatch, capsys, [*arguments, *changed], words)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("passages.jsonl", '{"source": "D.C. Code § 22-99"}', "passages.jsonl names D.C. Code § 22-99, which statutes.txt lacks"),
        ("passages.jsonl", '{"source": "D.C. Code, title 22"}', "must read like 'D.C. Code § 22-3211'"),
        ("passages.jsonl", '{"text": "a"}', "line 1 has no text in the field 'source'"),
        ("other.txt", "one line", "other.txt is a single document"),
        ("other.txt", f"{TEXT[:900]}\n\nend", "other.txt (last 5 %): found"),
    ],
)
def test_bad_text_is_one_sentence_before_anything_is_trained(arguments, tmp_path, monkeypatch, capsys, name, content, words):
    (tmp_path / name).write_text(content)
    refuse(monkeypatch, capsys, arguments, words)
    assert not (tmp_path / "out").exists()


def test_a_loss_that_is_not_finite_names_the_step(arguments, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(legal_training, "token_nll", lambda model, _ids: next(model.parameters()).sum() * float("nan"))
    status, _, err = command(monkeypatch, capsys, *arguments)
    assert status == 1 and "at step 1; lower --learning-rate." in err and not (tmp_path / "out").exists()


def test_the_draws_depend_only_on_the_seed(monkeypatch):
    drawn = []
    monkeypatch.setattr(legal_training, "token_nll", lambda model, ids: drawn.append(ids[:, 0]) or model.weight.sum())
    settings = legal_training.ArmSettings(weight_decay=(0.0,), train_tokens=512, context_tokens=64, batch_windows=4, steps=2)
    for count in (10, 20):
        windows = torch.arange(count)[:, None].expand(-1, 64)
        legal_training.fit(torch.nn.Linear(2, 2), windows, settings, 0, lambda *_: None)
    few, many = torch.cat(drawn).view(2, 8)
    assert torch.equal(many % 10, few) and len(set(many.tolist())) > 4
