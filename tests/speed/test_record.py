"""What is told of a comparison: ratios within turns, in programs' figures and on the page of a pruned model."""

import errno
import json
import re

import pytest
import torch
from browser_page import needs_chromium, require_readable
from command_line import call

from pydisp.cost import Cost
from pydisp.report.words import number
from pydisp.speed import NAMES, PRUNED, SAME, UNPRUNED, Workload, memory, models, timing
from pydisp.speed.record import compared


def test_ratios_are_taken_within_turns():
    drift = (1.0, 5.0, 2.0)  # the machine, not the models
    times = {
        name: {"prefill": [d * own for d in drift], "decode": [d * own / 10 for d in drift]}
        for name, own in ((UNPRUNED, 2.0), (PRUNED, 1.0), (SAME, 0.8))
    }
    comparison = compared(times, {UNPRUNED: Cost(400, 40), PRUNED: Cost(100, 20), SAME: Cost(100, 20)}, Workload(10, 1, 3))
    assert comparison["rounds"] == 3 and comparison["times"][UNPRUNED] == pytest.approx(
        {"prefill": 0.5, "decode": 0.5, "bytes_per_token": 0.25, "products_per_prompt": 0.5}
    )
    assert comparison["times"][SAME]["prefill"] == pytest.approx(1.25)
    assert comparison["models"][PRUNED]["prefill_tokens_per_second"] == pytest.approx(5) and comparison["models"][PRUNED][
        "decode_ms"
    ] == pytest.approx(200)


def measured(out):
    """The section of a report's page that holds what was measured, and its figures beside the headlines."""
    page = (out / "report.html").read_text()
    (section,) = re.findall(r'<section id="[^"]*" class="measured">.*?</section>', page, re.DOTALL)
    return section, dict(re.findall(r'<div class="measured"><dt>([^<]+)</dt><dd class="value">([^< ]+)', page))


@needs_chromium
def test_a_page_with_a_section_of_speed_is_readable(folder):
    require_readable({"pruned": (folder[0] / "report.html").read_text()})


def test_prune_keeps_its_speed_beside_the_report(folder):
    out, result, *_ = folder
    comparison = json.loads((out / "speed.json").read_text())
    assert comparison == result["speed"] and set(comparison["models"]) == set(NAMES)
    assert (comparison["source"], comparison["against"]) == ("pruned", "tiny") and comparison["kept_block"] == pytest.approx(
        result["kept"]["block"]
    )
    for values in comparison["models"].values():
        assert values["prefill_tokens_per_second"] > 0 and values["decode_tokens_per_second"] > 0 and 50 < values["peak_mib"] < 4000
    for name in (UNPRUNED, SAME):
        ratios = comparison["times"][name]
        assert ratios["decode"] > 0 and ratios["peak"] == comparison["models"][PRUNED]["peak_mib"] / comparison["models"][name]["peak_mib"]
    section, cards = measured(out)
    assert "Speed on this machine" in section and f"On cpu in float32, {torch.get_num_threads()} thread" in section
    unpruned = comparison["times"][UNPRUNED]
    assert cards == {
        "prompt, pruned": number(1 / unpruned["prefill"]),
        "decoding, pruned": number(1 / unpruned["decode"]),
        "peak memory, pruned": number(comparison["models"][PRUNED]["peak_mib"]),
    }
    rows = section.split("<tr>")
    assert all(f">{head}</th>" in rows[1] for head in (*NAMES, "÷ unpruned", "÷ same shapes"))
    for words, key in (("prompt, ms", "prefill"), ("decoded token, ms", "decode"), ("peak, MiB", "peak")):
        row = next(line for line in rows if f">{words}<" in line)
        cells = [comparison["models"][name]["peak_mib" if key == "peak" else f"{key}_ms"] for name in NAMES]
        cells += [comparison["times"][name][key] for name in (UNPRUNED, SAME)]
        assert re.findall(r">([^<>]+)</td>", row)[-5:] == [number(value) for value in cells]


def test_the_report_of_prune_counts(folder):
    out, result, *_ = folder
    report = json.loads((out / "report.json").read_text())
    headlines = {metric["name"]: metric["value"] for metric in report["metrics"]}
    assert list(headlines) == ["parameters kept", "weights", "perplexity, pruned ÷ dense"]  # size, then quality
    assert headlines["parameters kept"] == 100 * result["kept"]["total"]
    assert headlines["weights"] == 2 * result["params"]["pruned"] / 2**20  # saved in bfloat16
    assert headlines["perplexity, pruned ÷ dense"] == result["perplexity"]["pruned"] / result["perplexity"]["dense"]
    assert report["facts"]["result"]["cost"] == result["cost"] and "speed" not in report["facts"]["result"]
    work = next(s for s in report["sections"] if s["title"].startswith("Computing work"))["parts"][0]["table"]
    dense, pruned = result["cost"]["dense"], result["cost"]["pruned"]
    assert work["rows"][0][1:] == pytest.approx([dense["bytes_per_token"] / 2**20, pruned["bytes_per_token"] / 2**20, pruned["bytes_per_token"] / dense["bytes_per_token"]])  # fmt: skip
    assert work["rows"][1][3] == pytest.approx(result["speed"]["times"][UNPRUNED]["products_per_prompt"], rel=0.02)


def out_of_memory(*_args, **_kwargs):
    raise OSError(errno.ENOMEM, "Cannot allocate memory")


@pytest.mark.parametrize("case", ["peaks", "last peak", "room", "times", "left out"])
def test_a_prune_that_cannot_measure_succeeds_and_says_so(folder, tmp_path, monkeypatch, case):
    if case == "peaks":
        monkeypatch.setattr(memory.subprocess, "run", out_of_memory)
    if case == "room":
        monkeypatch.setattr(models, "free_bytes", lambda _device: 1 << 20)
    if case == "times":
        monkeypatch.setattr(timing, "run_once", out_of_memory)
    if case == "last peak":
        monkeypatch.setattr(memory, "peak_mib", lambda _source, name, *_args: out_of_memory() if name == SAME else 100.0)
    elif case != "peaks":
        monkeypatch.setattr(memory, "peak_mib", lambda *_args: pytest.fail("measured"))
    status, out, err = call(
        "prune", folder[2], "--plan", folder[0] / "plan.safetensors", "--text", folder[3], "--context", "32", "--out", tmp_path / "out",
        *(["--no-speed"] if case == "left out" else []), "--json",
    )  # fmt: skip
    assert status == 0, err
    comparison, (section, _) = json.loads((tmp_path / "out/speed.json").read_text()), measured(tmp_path / "out")
    assert comparison == json.loads(out)["speed"]
    key = "peak_absent" if case in ("peaks", "last peak", "room") else "absent"
    why = {"room": "unpruned and pruned side by side take", "left out": "--no-speed was given"}.get(case, "Cannot allocate memory")
    assert why in comparison[key] and why in section and ("models" in comparison) == (key == "peak_absent")
    assert case == "left out" or re.search(f"(not measured|left out): {re.escape(comparison[key])}", err)
    if key == "peak_absent":
        has_peaks = case == "last peak"
        assert [name for name in NAMES if "peak_mib" in comparison["models"][name]] == [UNPRUNED, PRUNED] * has_peaks
        assert ("peak, MiB" in section) == has_peaks and comparison["times"][UNPRUNED].get("peak") == (1.0 if has_peaks else None)
    assert call("info", tmp_path / "out")[0] == 0
