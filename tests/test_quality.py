"""bench/quality.py end to end on a tiny model: rows, plans, table, nothing made twice, the same recovery for all, one sentence for bad input."""

import json
import shutil
import sys
from pathlib import Path

import pytest
from command_line import call
from tiny_text import TEXT, write_model, write_text

sys.path.insert(0, str(Path(__file__).parents[1] / "bench"))

import quality  # noqa: E402

from pydisp.plan import PruningPlan  # noqa: E402
from pydisp.pruning import corpora  # noqa: E402
from pydisp.speed import memory  # noqa: E402
from pydisp.text import Text  # noqa: E402

FAST = ("--steps", "2", "--context", "32", "--batch-size", "2", "--round-to", "4")


@pytest.fixture(autouse=True)
def short_journeys(monkeypatch):
    monkeypatch.setattr(corpora, "other_text", lambda: Text("other", (TEXT[:2000].upper(),)))
    monkeypatch.setattr(memory, "peak_mib", lambda *_args: 100.0)


@pytest.fixture
def run(monkeypatch):
    """Commands in this process; `recover`, which only copies here, says how many steps it was asked for."""
    ran = []

    def run(arguments):
        ran.append(list(arguments))
        options = dict(zip(arguments, arguments[1:], strict=False))
        if arguments[0] == "recover" or "--recover" in arguments:
            if arguments[0] == "recover":
                shutil.copytree(arguments[1], options["--out"])
            else:
                plain = arguments[: arguments.index("--minutes")]
                assert call(*plain, "--out", options["--out"])[0] == 0
            file = Path(options["--out"]) / "report.json"
            report = json.loads(file.read_text())
            report["facts"]["result"]["recovery"] = {"steps": int(options.get("--steps" if arguments[0] == "recover" else "", 7))}
            file.write_text(json.dumps(report))
            return
        status, _, err = call(*arguments)
        if status:
            raise ChildProcessError(err)

    monkeypatch.setattr(quality, "pydisp", run)
    run.ran = ran
    return run


@pytest.fixture
def arguments(tmp_path):
    """The command line; its folders are in tmp_path."""
    model, text = write_model(tmp_path / "tiny"), write_text(tmp_path / "notes.txt")
    (tmp_path / "test.txt").write_text(TEXT[:2000].swapcase())
    return [
        str(model), "--text", str(text), "--test", f"unseen={tmp_path / 'test.txt'}", "--keep-ratio", "0.7", "--keep-ratio", "0.6",
        "--methods", "disp,wanda", "--contexts", "32,64", "--test-tokens", "512", f"--prune-options={' '.join(FAST)}",
        "--out", str(tmp_path / "out"), "--results", str(tmp_path / "results"), "--plans", str(tmp_path / "plans"),
    ]  # fmt: skip


def command(monkeypatch, capsys, *args):
    monkeypatch.setattr(sys, "argv", ["quality.py", *map(str, args)])
    status = 0
    try:
        quality.main()
    except SystemExit as stop:
        status = stop.code
    return status, *capsys.readouterr()


def test_a_row_for_each_ratio_and_method(arguments, tmp_path, run, monkeypatch, capsys):
    status, printed, err = command(monkeypatch, capsys, *arguments)
    assert status == 0 and len(run.ran) == 4, err
    record = json.loads((tmp_path / "results/quality-tiny.json").read_text())
    assert [(row["keep_ratio"], row["method"]) for row in record["rows"]] == [(r, m) for r in (0.7, 0.6) for m in ("disp", "wanda")]
    for row in record["rows"]:
        assert row["kept"]["block"] <= row["keep_ratio"] and row["speed"]["models"]["pruned"]["peak_mib"] == 100
        for context, scored in row["tests"]["unseen"].items():
            windows = 512 // int(context)
            assert scored["tokens"] == windows * (int(context) - 1) and scored["standard_error"] > 0
            dense, pruned = scored["perplexity"].values()
            assert pruned == pytest.approx(dense * 2.718281828459045 ** scored["damage"])
    assert str(tmp_path) not in json.dumps(record)  # no path of the machine
    assert record["command"].startswith("python bench/quality.py tiny --text notes.txt --test unseen=test.txt --keep-ratio 0.7")
    plans = sorted(path.name for path in (tmp_path / "plans").iterdir())
    assert plans == ["tiny-0.6-disp.safetensors", "tiny-0.7-disp.safetensors"]
    digest = PruningPlan.load(tmp_path / "plans" / plans[1]).digest()
    assert digest == record["rows"][0]["plan_digest"]
    lines = printed.splitlines()
    assert lines[0].startswith("| tiny | kept of blocks | kept of all | perplexity, unseen, 32 | damage, unseen, 32 | damage, unseen, 64 |")
    assert lines[2].startswith("| dense | 100% | 100% |") and len(lines) == 7 and len({line.count("|") for line in lines}) == 1
    assert command(monkeypatch, capsys, "--table", tmp_path / "results/quality-tiny.json")[1] == printed


def test_what_is_there_is_not_made_again(arguments, tmp_path, run, monkeypatch, capsys):
    stopped = []

    def stop(args):
        if "wanda" in args and not stopped:
            stopped.append(args)
            raise ChildProcessError("`pydisp prune` ended with 130")
        run(args)

    monkeypatch.setattr(quality, "pydisp", stop)
    status, _, err = command(monkeypatch, capsys, *arguments)
    assert status == 1 and err.splitlines()[-1] == "`pydisp prune` ended with 130" and len(run.ran) == 1
    assert len(json.loads((tmp_path / "results/quality-tiny.json").read_text())["rows"]) == 1
    (tmp_path / "out/0.7-wanda.partial").mkdir()
    (tmp_path / "out/0.7-wanda.partial/search.pt").touch()

    resumed = []
    monkeypatch.setattr(
        quality,
        "pydisp",
        lambda args: (
            resumed.append(args),
            shutil.rmtree(tmp_path / "out/0.7-wanda.partial", True),
            run([a for a in args if a != "--resume"]),
        ),
    )
    assert command(monkeypatch, capsys, *arguments)[0] == 0
    assert [("--resume" in args) for args in resumed] == [True, False, False]
    before = len(run.ran)
    assert command(monkeypatch, capsys, *arguments)[0] == 0 and len(run.ran) == before
    status, _, err = command(monkeypatch, capsys, *arguments, "--test-tokens", "640")
    assert status == 1 and "holds results with test_tokens 512, this command has 640; give another --out" in err and len(run.ran) == before


def test_every_method_is_recovered_for_as_many_steps(arguments, tmp_path, run, monkeypatch, capsys):
    one = [
        a
        for a, before in zip(arguments, ["", *arguments[:-1]], strict=True)
        if not (a == "0.6" or (a == "--keep-ratio" and before == "0.7"))
    ]
    assert command(monkeypatch, capsys, *one, "--recover")[0] == 0
    recovered = [args for args in run.ran if args[0] == "recover"]
    assert [args[1] for args in recovered] == [str(tmp_path / f"out/0.7-{method}") for method in ("disp", "wanda")]
    assert "--steps" not in recovered[0] and recovered[1][recovered[1].index("--steps") + 1] == "7"
    record = json.loads((tmp_path / "results/quality-tiny.json").read_text())
    assert all(row["tests"] == row["tests_before"] and row["recovery"] == {"steps": 7} for row in record["rows"])  # copies
    assert "damage without recovery, unseen, 32" in quality.table(record)


def test_a_searched_method_with_minutes_is_one_run(arguments, tmp_path, run, monkeypatch, capsys):
    status, printed, _ = command(monkeypatch, capsys, *arguments, "--recover", "--minutes", "3", "--methods", "disp,wanda")
    assert status == 0 and [(args[0], "--recover" in args, "--minutes" in args) for args in run.ran[:3]] == [
        ("prune", True, True), ("prune", False, False), ("recover", False, False),
    ]  # fmt: skip
    assert not (tmp_path / "out/0.7-disp").exists() and (tmp_path / "plans/tiny-0.7-disp.safetensors").is_file()
    disp = run.ran[3]
    assert disp[disp.index("--recover-steps") + 1] == "7"
    record = json.loads((tmp_path / "results/quality-tiny.json").read_text())
    assert [bool(row["tests_before"]) for row in record["rows"]] == [False, True] * 2 and len(printed.splitlines()) == 7


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        (["--methods", "disp,wonda"], "unknown method 'wonda'; known: disp, "),
        (["--keep-ratio", "1.5"], "1.5"),
        (["--contexts", "32,many"], "--contexts is '32,many'; give whole numbers"),
        (["--test-tokens", "40"], "--test-tokens is 40; it must be at least 64"),
        (["--recover-steps", "5"], "without --recover; add it"),
        (["--test", "unseen=elsewhere.txt"], "two tests are called 'unseen'"),
        (["--test", "no-such.txt"], "no-such.txt"),
        (["--contexts", "32,4000", "--test-tokens", "4000"], "one window needs 4000"),
    ],
)
def test_bad_input_is_one_sentence_before_anything_is_made(arguments, tmp_path, run, monkeypatch, capsys, changed, words):
    status, printed, err = command(monkeypatch, capsys, *arguments, *changed)
    assert (status, printed) == (1, "") and words in err and len(err.splitlines()) == 1
    assert not run.ran and not (tmp_path / "out").exists() and not (tmp_path / "results").exists()


def test_without_a_model_the_help_is_named(monkeypatch, capsys):
    status, _, err = command(monkeypatch, capsys, "--text", "a")
    assert status == 1 and "no MODEL was given" in err


def test_damage_pairs_the_windows():
    scored = quality.against([2.0, 4.0], [2.5, 4.7], 32)
    assert scored["damage"] == pytest.approx(0.6) and scored["standard_error"] == pytest.approx(0.1) and scored["tokens"] == 62
    assert quality.against([2.0], [2.5], 32)["standard_error"] is None
