"""`pydisp compare` as users type it: what it reads, what it puts side by side, and what it refuses."""

import json
import shutil

import pytest
from browser_page import needs_chromium, require_readable
from command_line import call, refused
from tiny_text import write_model
from transformers import LlamaConfig

from pydisp.commands import evaluate, fairness, holobench, probe
from pydisp.comparison import METHODS, compare
from pydisp.cost import Cost
from pydisp.fairness.weight_decay import report as sweep
from pydisp.pruning import folder
from pydisp.report import Metric, Report, Section
from pydisp.speed.models import PRUNED, UNPRUNED
from pydisp.speed.record import compared
from pydisp.speed.timing import Workload
from pydisp.toolken import evaluation_run

DATA = {"text": {"sha256": "ab"}, "result": {"context_tokens": 32, "tokens": 100}}


def written(place, method, title, metrics, facts=DATA, sections=()):
    """A folder of a method's report."""
    Report(title, summary=[f"{title}, in a sentence."], metrics=metrics, sections=sections, facts=facts).write(place)
    (place / METHODS[method][0]).write_text("{}")
    return place


def loss(value, **more):
    return [Metric("loss", value, "nats per token"), Metric("perplexity", 10 * value, **more), Metric(f"of {value}", 1)]


@pytest.fixture
def two(tmp_path):
    return [written(tmp_path / name, "Evaluation", f"{name} on notes", loss(value)) for name, value in (("a", 2.0), ("b", 3.0))]


def test_methods_are_known_by_the_files_that_commands_write():
    assert {method: file for method, (file, _) in METHODS.items()} == {
        "Pruning": folder.PLAN_FILE, "Speed": folder.SPEED_FILE, "Evaluation": evaluate.RESULT_FILE, "Fairness audit": fairness.RESULT_FILE,
        "Fairness sweep": sweep.OUTCOME_FILE, "Legal probe": probe.RESULT_FILE, "HoloBench": holobench.RESULT_FILE,
        "Toolken+": evaluation_run.RESULT_FILE,
    }  # fmt: skip


def test_figures_of_both_have_differences_and_those_of_one_are_listed(two, tmp_path):
    out = tmp_path / "out"
    status, printed, err = call("compare", *two, "--out", out, "--json")
    assert (status, err) == (0, "reading the reports\nwriting the page\n")
    assert call("compare", *two, "--out", out, "--json", "--overwrite", "--quiet") == (0, printed, "")
    result = json.loads(printed)
    (found,) = result["methods"].values()
    assert found["both"] == {
        "loss": {"unit": "nats per token", "a": 2.0, "b": 3.0, "difference": 1.0, "ratio": None},
        "perplexity": {"unit": "", "a": 20.0, "b": 30.0, "difference": 10.0, "ratio": 1.5},
    }
    assert (found["differing_data"], found["only_a"], found["only_b"]) == ([], {"of 2.0": 1}, {"of 3.0": 1})
    assert json.loads((out / "compare.json").read_text()) == {key: value for key, value in result.items() if key != "out"}
    page = Report.from_json((out / "report.json").read_text())
    (section,) = page.sections
    assert [part.title for part in section.parts] == ["a: a on notes", "b: b on notes", "Figures of both", "Figures of one alone"]
    assert section.parts[0].parts == ("a on notes, in a sentence.",)
    assert section.parts[2].rows[1] == ("perplexity", "20.00", "30.00", "+10.00", 1.5, "")
    assert section.parts[3].rows == (("of 2.0", "a", "1", ""), ("of 3.0", "b", "1", ""))
    assert str(tmp_path) not in (out / "report.html").read_text()
    assert call("compare", *two, "--out", out)[0] == 1
    status, printed, _ = call("compare", *two, "--out", out, "--overwrite")
    assert status == 0 and "Reports of both: Evaluation." in printed


def test_other_data_has_no_differences_and_is_named(two, tmp_path):
    other = {"text": {"sha256": "cd"}, "result": {"context_tokens": 32, "tokens": 99}}
    written(two[1], "Evaluation", "b on letters", loss(3.0), facts=other)
    _, printed, _ = call("compare", *two, "--out", tmp_path / "out", "--json")
    found = json.loads(printed)["methods"]["Evaluation"]
    assert found["differing_data"] == ["text.sha256", "result.tokens"] and found["both"]["perplexity"]["difference"] is None
    assert "not of the same data" in (tmp_path / "out" / "report.md").read_text()


def test_folders_of_reports_are_paired_by_method_and_by_name(tmp_path):
    for side, value in (("a", 2.0), ("b", 3.0)):
        for name in ("notes", "letters"):
            written(tmp_path / side / name, "Evaluation", f"{side} on {name}", loss(value))
        section = Section("Inside", [Metric("inner", value, decimals=1)])
        written(tmp_path / side / f"of {side}", "Legal probe", f"probe of {side}", [Metric("share", -value, "points")], sections=[section])
    written(tmp_path / "b" / "audit", "Fairness audit", "audit of b", [])
    (tmp_path / "a" / "without").mkdir()
    long = "a" * 80
    for name in ("x", "y"):  # addresses of long titles are cut, and would be the same
        written(tmp_path / "b" / name, "HoloBench", f"{long} {name}", [Metric("F1", 3.0, "%")])
    _, printed, err = call("compare", tmp_path / "a", tmp_path / "b", "--out", tmp_path / "out", "--json")
    result = json.loads(printed)
    assert list(result["methods"]) == ["Evaluation", "Evaluation (2)", "Legal probe"], err
    assert result["methods"]["Legal probe"]["both"] == {
        "share": {"unit": "points", "a": -2.0, "b": -3.0, "difference": -1.0, "ratio": None},
        "inner": {"unit": "", "a": 2.0, "b": 3.0, "difference": 1.0, "ratio": 1.5},
    }
    assert result["only"] == {"a": [], "b": ["audit of b", f"{long} x", f"{long} y"]} and result["size"] == {"a": None, "b": None}
    alone = Report.from_json((tmp_path / "out" / "report.json").read_text()).sections[-1]
    assert [part.title for part in alone.parts] == ["1. b: audit of b", f"2. b: {long} x", f"3. b: {long} y"]
    assert alone.parts[1].parts == (f"{long} x, in a sentence.", Metric("F1", 3.0, "%"))


def test_a_pruned_folder_and_its_model_have_sizes_and_the_perplexity_of_the_report(model, pruned, tmp_path):
    place, result, _ = pruned
    _, printed, err = call("compare", model, place, "--out", tmp_path / "out", "--json")
    found = json.loads(printed)
    sizes = {side: found["size"][side]["parameters"] for side in "ab"}
    assert sizes == {"a": result["params"]["dense"], "b": result["params"]["pruned"]}, err
    assert found["size"]["b"]["MiB of weights"] == sizes["b"] * 2 / 2**20 and found["size"]["b"]["dtype"] == "bfloat16"
    assert {key: found["perplexity"]["held-out"][side] for key, side in (("dense", "a"), ("pruned", "b"))} == result["perplexity"]
    (section,) = [s for s in Report.from_json((tmp_path / "out" / "report.json").read_text()).sections if s.title == "Models"]
    assert [row[0] for row in section.parts[-1].rows][:3] == ["parameters", "MiB of weights", "perplexity, held-out text"]


def test_two_pruned_folders_have_the_perplexity_of_the_same_text(pruned, tmp_path):
    place = pruned[0]
    other = tmp_path / "other" / place.name
    shutil.copytree(place, other)
    _, printed, _ = call("compare", place, other, "--out", tmp_path / "out", "--json")
    found = json.loads(printed)
    assert found["b"] == f"other/{place.name}" and found["perplexity"]["other"]["ratio"] == 1
    assert found["methods"]["Pruning"]["both"]["damage, held-out text"]["difference"] == 0
    facts = json.loads((other / "report.json").read_text())
    facts["facts"]["texts"]["sha256"] = "0"
    (other / "report.json").write_text(json.dumps(facts))
    _, printed, _ = call("compare", place, other, "--out", tmp_path / "again", "--json")
    assert json.loads(printed)["perplexity"] == {} and json.loads(printed)["methods"]["Pruning"]["differing_data"] == ["texts"]


def dense_named(place):
    """A folder with a model's config alone."""
    LlamaConfig(hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=1, vocab_size=16).save_pretrained(place)
    return place


def with_times(pruned, folder_of_copies):
    """Two copies of a pruned folder, each with the times of a comparison."""
    places = [folder_of_copies / name for name in ("one", "two")]
    for place, seconds in zip(places, (0.5, 0.25), strict=True):
        shutil.copytree(pruned[0], place)
        times = {
            name: {"prefill": [scale * seconds] * 3, "decode": [scale * seconds / 4] * 3} for name, scale in ((PRUNED, 1), (UNPRUNED, 2))
        }
        workload = Workload(prompt_tokens=256, decode_tokens=4)
        figures = compared(times, dict.fromkeys(times, Cost(10, 20)), workload)
        conditions = {"device": "cpu", "dtype": "float32", "threads": 1, "prompt_tokens": 256, "decode_tokens": 4}
        figures["models"][PRUNED]["peak_mib"] = 100 * seconds
        figures["times"][UNPRUNED]["decode"] = seconds
        (place / folder.SPEED_FILE).write_text(json.dumps({"source": place.name, "against": "m", **conditions, **figures}))
    return places


def test_times_of_two_pruned_folders_are_a_section(pruned, tmp_path):
    places = with_times(pruned, tmp_path)
    _, printed, err = call("compare", *places, "--out", tmp_path / "out", "--json")
    assert json.loads(printed)["speed"] == {
        "speed of decoding": {"a": 2, "b": 4, "ratio": 2}, "speed of a prompt": {"a": 2, "b": 2, "ratio": 1}, "peak memory, MiB": {"a": 50, "b": 25, "ratio": 0.5},
    }, err  # fmt: skip
    cards = Report.from_json((tmp_path / "out" / "report.json").read_text()).metrics
    assert [(card.name, card.value) for card in cards[2:]] == [
        ("speed of decoding", 2),
        ("speed of a prompt", 1),
        ("peak memory, MiB", 0.5),
    ]
    found = json.loads(printed)["methods"]["Speed"]
    assert found["differing_data"] == []
    assert found["both"]["prompt, pruned"] == {"unit": "tokens/s", "a": 512.0, "b": 1024.0, "difference": 512.0, "ratio": 2.0}
    assert found["both"]["decoding, pruned against unpruned"] == {"unit": "× as fast", "a": 2.0, "b": 4.0, "difference": 2.0, "ratio": 2.0}
    assert "of a run of its own" in (tmp_path / "out" / "report.md").read_text()
    of_model = compare(str(places[0]), str(dense_named(tmp_path / "m"))).speeds
    assert of_model == {"speed of decoding": (2, 1), "speed of a prompt": (2, 1)}
    other = json.loads((places[1] / folder.SPEED_FILE).read_text())
    (places[1] / folder.SPEED_FILE).write_text(json.dumps({**other, "threads": 2}))
    assert compare(*map(str, places)).speeds == {}
    for content in ("[]", '{"models": {}}', "{", '{"models": 3, "rounds": 1, "times": {}}'):
        (places[1] / folder.SPEED_FILE).write_text(content)
        refused([(["compare", *places, "--out", tmp_path / "no"], "delete it, or copy the folder again.")], tmp_path)
    (places[1] / folder.SPEED_FILE).write_text('{"absent": "--no-speed was given."}')
    _, printed, _ = call("compare", *places, "--out", tmp_path / "other", "--json")
    assert list(json.loads(printed)["methods"]) == ["Pruning"] and json.loads(printed)["only"]["one"] == ["Speed on this machine"]


@needs_chromium
def test_its_page_is_readable(pruned, two, tmp_path):
    pairs = {"times": with_times(pruned, tmp_path), "one method": two}
    for name, pair in pairs.items():
        assert call("compare", *pair, "--out", tmp_path / name)[0] == 0
    require_readable({name: (tmp_path / name / "report.html").read_text() for name in pairs})


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"num_attention_heads": -1}, "describes no causal language model (RuntimeError: "),
        ({"head_dim": 0}, "describes no causal language model (ZeroDivisionError: "),
        ({"hidden_act": "x"}, "describes no causal language model (KeyError: 'x')"),
        ({"pad_token_id": 10**6}, "describes no causal language model (AssertionError: "),
        ({"text_config": 5}, "describes no causal language model (AttributeError: "),
        ({"hidden_size": 0}, "has hidden_size 0, and it must be a whole number above 0"),
        ({"num_hidden_layers": 10**9}, "has num_hidden_layers 1000000000, and models have 1,000 layers at most"),
    ],
)
def test_a_config_of_no_model_is_refused(two, tmp_path, changed, words):
    place = dense_named(tmp_path / "small")
    (place / "config.json").write_text(json.dumps(json.loads((place / "config.json").read_text()) | changed))
    refused([(["compare", two[0], place, "--out", tmp_path / "out"], words)], tmp_path)


def test_the_size_of_a_config_of_more_layers_than_there_are_is_refused(two, tmp_path):
    place = write_model(tmp_path / "small")
    assert call("compare", two[0], place, "--out", tmp_path / "out")[0] == 0
    (place / "config.json").write_text(json.dumps(json.loads((place / "config.json").read_text()) | {"num_hidden_layers": 5}))
    refused([(["compare", two[0], place, "--out", tmp_path / "no"], "small holds 31,488 weights in its files, but its config")], tmp_path)


def test_what_has_no_report_is_refused(two, tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "report.json").write_text("{")
    out = ["--out", tmp_path / "out"]
    refused(
        [
            (["compare", two[0], tmp_path / "empty", *out], "holds no report.json and no model; give a folder that `pydisp prune`"),
            (["compare", two[0], tmp_path / "absent", *out], "is neither a folder with a report.json nor a model"),
            (["compare", "", two[0], *out], "neither a folder with a report.json nor a model"),
            (["compare", two[0], tmp_path / "broken", *out], "broken/report.json is no JSON"),
            (["compare", two[0], two[0], *out], "give two different folders"),
        ],
        tmp_path,
    )
