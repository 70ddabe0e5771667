"""bench/: turns and ratios, wrong results, extra memory, results files, goals, the page, and the command for a GPU as far as a CPU goes."""

import json
import os
import subprocess
import sys
import time
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest
import torch

BENCH = Path(__file__).parents[1] / "bench"
sys.path.insert(0, str(BENCH))

import goals  # noqa: E402
import gpu  # noqa: E402
import machine  # noqa: E402
import page  # noqa: E402
import ratios  # noqa: E402
import results  # noqa: E402
import whole_model  # noqa: E402
from cases import COMPILED, EAGER, LIMIT, OURS, PEER, SUITES, Candidate, Case, Work, cases, compiled, error  # noqa: E402

from pydisp import speed  # noqa: E402

MACHINE = {
    "device": "Some CPU (R) Processor",
    "kind": "cpu",
    "instruction_set": "avx2",
    "cpu_instruction_sets": ["avx2", "fma"],
    "versions": {"torch": "2.13.0", "triton": None},
    "threads": 1,
    "commit": "0123456789ab",
    "date": "2026-11-21",
}


def toy(candidates: dict[str, Candidate], **more) -> Case:
    """A case whose right result is three ones."""
    work = Work(candidates, lambda: (torch.ones(3, dtype=torch.float64),), **more)
    return Case("toy", "toy", "small", "f32", "cpu", {"M": 1}, lambda case: work, tuple(candidates))


def test_turns_are_shuffled_and_a_slow_one_sits_rounds_out():
    order = ratios.turns_of({"a": 6, "b": 6, "c": 2})
    assert order == ratios.turns_of({"a": 6, "b": 6, "c": 2})
    before = {turn[turn.index("a") - 1] if turn[0] != "a" else None for turn in ratios.turns_of(dict.fromkeys("abcd", 21))}
    assert before == {None, "b", "c", "d"}  # nobody always runs behind the same one
    assert all(set(turn) >= {"a", "b"} for turn in order) and len(order) == 6
    at = [number for number, turn in enumerate(order) if "c" in turn]
    assert len(at) == 2 and at[1] - at[0] == 3  # spread over the run, not all at one end


def test_candidates_take_turns():
    calls = []
    candidates = {name: (lambda name=name: calls.append(name)) for name in "abc"}

    def clock(call, repeats):
        call()
        return [float(repeats)]

    ready = []
    samples = ratios.interleaved(
        candidates, dict.fromkeys("abc", 0.001), 3, 0.002, clock=clock, before_turn=lambda: ready.append(len(calls))
    )
    assert [sorted(calls[at : at + 3]) for at in (0, 3, 6)] == [list("abc")] * 3 and ready == list(range(9))
    assert samples == {name: [2.0] * 3 for name in "abc"}  # calls of 1 ms are repeated until 2 ms are over


def test_ratios_are_of_medians():
    ratio_of = ratios.ratios({"short": lambda: time.sleep(0.002), "long": lambda: time.sleep(0.02)}, rounds=5)
    assert ratio_of["short"][1] == 1.0 and ratio_of["long"][1] > 2
    assert ratio_of["long"][1] == ratio_of["long"][0] / ratio_of["short"][0]


def one_ms(call, repeats: int) -> list[float]:
    """A clock that no load disturbs."""
    call()
    return [1.0]


def test_a_wrong_result_is_no_speed():
    case = toy(
        {
            "pydisp": Candidate(lambda: torch.ones(3), OURS),
            "eager": Candidate(lambda: torch.ones(3), EAGER),
            "fast and wrong": Candidate(lambda: torch.full((3,), 1.01), PEER),
            "not a number": Candidate(lambda: torch.full((3,), torch.nan), PEER),
            "another shape": Candidate(lambda: torch.ones(1), PEER),
            "broken": Candidate(lambda: torch.ones(3) @ torch.ones(4), PEER),
            "limit": Candidate(lambda: torch.zeros(1), LIMIT, checked=0),
        },
        absent={"elsewhere": "needs a GPU"},
    )
    record = ratios.measure(case, rounds=3, clock=one_ms)
    right = {name: row["is_right"] for name, row in record["rows"].items()}
    assert right == {
        "pydisp": True, "eager": True, "fast and wrong": False, "not a number": False, "another shape": False, "limit": None,
    }  # fmt: skip
    assert record["rows"]["fast and wrong"]["ratio"] is None and record["rows"]["eager"]["ratio"] == 1.0
    assert record["absent"]["elsewhere"] == "needs a GPU" and record["absent"]["broken"].startswith("failed: RuntimeError")
    text = ratios.table(record)
    assert "| fast and wrong |" in text and text.count("| wrong |") == 3 and "Absent: broken" in text
    json.dumps(record, allow_nan=False)


def test_nothing_is_compared_with_a_wrong_first():
    case = toy({"pydisp": Candidate(lambda: torch.zeros(3), OURS), "eager": Candidate(lambda: torch.ones(3), EAGER)})
    rows = ratios.measure(case, rounds=3)["rows"]
    assert rows["pydisp"]["is_right"] is False and rows["eager"]["ratio"] is None


def test_a_very_slow_call_is_the_only_one_and_is_checked(monkeypatch):
    monkeypatch.setattr(ratios, "FIRST_CALL_S", 0.02)
    calls = []

    def slow():
        calls.append(1)
        time.sleep(0.03)
        return torch.zeros(3)

    rows = ratios.measure(toy({"pydisp": Candidate(lambda: torch.ones(3), OURS), "eager": Candidate(slow, EAGER)}), rounds=3)["rows"]
    assert len(calls) == 1 and rows["eager"]["samples"] == 1 and rows["eager"]["is_right"] is False


def test_what_works_in_place_is_checked_on_fresh_inputs():
    value = torch.zeros(3)
    case = toy({"pydisp": Candidate(lambda: value.add_(1), OURS)}, inputs=(value,), restore=lambda: value.zero_())
    assert ratios.measure(case, rounds=3)["rows"]["pydisp"]["is_right"]


MEMORY_SCRIPT = """
import json, sys, torch
sys.path.insert(0, {bench!r})
from memory import MIB, extra_bytes
size = 64 * MIB
kept = []
def scratch(): torch.ones(size, dtype=torch.int8); return torch.ones(3)
def small(): parts = [torch.ones(16 * 1024, dtype=torch.int8) for _ in range(size // (16 * 1024))]; return parts[0][:1].clone()
given = torch.ones(size, dtype=torch.int8)
torch.ones(3, dtype=torch.int8).add_(1)  # loads code
bytes_of = {{
    "output": extra_bytes(lambda: torch.ones(size, dtype=torch.int8)),
    "in place": extra_bytes(lambda: given.add_(1), inputs=(given,)),
    "in place with scratch": extra_bytes(lambda: (scratch(), given.add_(1))[1], inputs=(given,)),
    "scratch": extra_bytes(scratch),
}}
small()  # leaves a heap of freed blocks for the next call to hide in
leftover = torch.ones(4 * size, dtype=torch.int8); del leftover
bytes_of["small blocks"] = extra_bytes(small)
bytes_of["scratch after a peak"] = extra_bytes(scratch)
bytes_of["kept"] = extra_bytes(lambda: kept.append(torch.ones(size, dtype=torch.int8)))
print(json.dumps({{name: value / MIB for name, value in bytes_of.items()}}))
"""


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="the kernel does not tell peaks")
def test_memory_sees_64_mib_and_is_not_fooled():
    script = MEMORY_SCRIPT.format(bench=str(BENCH))
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    mib = json.loads(done.stdout)
    assert mib["output"] < 1 and mib["in place"] < 1
    for name in ("scratch", "in place with scratch", "small blocks", "scratch after a peak", "kept"):
        assert mib[name] == pytest.approx(64, abs=2), name


def small_cases() -> list[Case]:
    """One case of every op (of blocks one of every model), as small as gpu.CHECKS has it, in every dtype."""
    every = [case for suite in SUITES for case in cases(suite, "cpu")]
    sizes = {"attention_key_mass": gpu.CHECKS["attention_mass"], **gpu.CHECKS}
    sizes |= {"upcast_linear": ({"M": 3, "I": 24, "O": 40},), "block": ({"M": 5, "D": 64, "I": 96},)}
    first = {(case.op, case.name.split("-")[0] if case.op == "block" else ""): case for case in reversed(every)}
    assert {op for op, _ in first} == set(sizes)
    return [replace(case, sizes=case.sizes | sizes[case.op][:2][-1], dtype=dtype) for case in first.values() for dtype in ("f32", "bf16")]


@pytest.mark.parametrize("case", small_cases(), ids=lambda case: f"{case.op}-{case.name}-{case.dtype}")
def test_every_candidate_does_the_work_of_its_case(case):
    work = case.build(case)
    gold = work.gold()
    assert next(iter(work.candidates.values())).role == OURS
    of_a_dtype = {name for name in work.candidates if "up-cast" in name}  # the case was one of another dtype
    if case.op == "upcast_linear":
        of_a_dtype |= {name for name in work.candidates if "limit" in name}
    assert {*work.candidates, *work.absent} <= {*case.names, *of_a_dtype}
    for name, candidate in work.candidates.items():
        if "compile" not in name:
            assert work.restore() is None  # pytest-benchmark takes anything else for arguments of the call
            result = candidate.call()
            assert candidate.checked == 0 or error(result, gold, candidate.checked) <= case.tolerance, name


def test_names_are_those_that_a_case_builds():
    for suite in SUITES:
        for case in cases(suite, "cpu"):
            if case.is_quick:
                work = case.build(case.as_tiny())
                assert {*work.candidates, *work.absent} == set(case.names), case.id


def test_case_ids_are_distinct_and_goals_name_cases():
    every = [case.id for device in ("cpu", "cuda") for suite in SUITES for case in cases(suite, device)]
    assert len(every) == len(set(every)) and goals.case_ids() | goals.case_ids("cuda") <= set(every)
    assert all(case.endswith("-cpu]") for case in goals.case_ids()) and all(case.endswith("-cuda]") for case in goals.case_ids("cuda"))
    with pytest.raises(ValueError, match="unknown suite 'los'; known: add_norm_select"):
        cases("los", "cpu")


def row(ms: float, role: str, is_right: bool | None = True, **more) -> dict:
    return {"role": role, "median_ms": ms, "quartiles_ms": [ms, ms], "samples": 5, "error": 1e-6, "is_right": is_right, "ratio": ms, **more}


def record(name: str, peer_ms: float, axes: tuple = (), tokens: int = 1, op: str = "norm_select") -> dict:
    rows = {
        "pydisp": row(1.0, OURS, extra_mib=0.0),
        "eager": row(2.0, EAGER, extra_mib=30.0),
        "torch.compile": row(3.0, COMPILED),
        "some-peer": row(peer_ms, PEER),
        "limit: copy": row(0.5, LIMIT, None),
    }
    return {
        "id": f"{op}[{name}]", "suite": "add_norm_select", "op": op, "name": name, "dtype": "f32", "sizes": {"M": tokens}, "axes": list(axes),
        "tolerance": 1e-4, "rows": rows, "absent": {"liger-kernel": "needs a GPU"},
    }  # fmt: skip


def test_results_keep_other_cases_and_the_order_of_candidates(tmp_path):
    file = results.keep(tmp_path, MACHINE, [record("tokens128", 4.0)])
    assert file.name == "some-avx2.json"
    results.keep(tmp_path, MACHINE | {"commit": "fedcba987654"}, [record("tokens16", 4.0)])
    content = results.read(file)
    assert list(content["cases"]) == ["norm_select[tokens16]", "norm_select[tokens128]"]
    assert [case["commit"] for case in content["cases"].values()] == ["fedcba987654", "0123456789ab"]
    assert next(iter(content["cases"]["norm_select[tokens16]"]["rows"])) == "pydisp"
    (tmp_path / "other.json").write_text("{}")
    assert [path.name for path, _ in results.read_all(tmp_path)] == [file.name]
    with pytest.raises(ValueError, match="other.json is not a results file"):
        results.read(tmp_path / "other.json")


def test_goals_are_judged_by_their_bounds_and_by_the_cpu():
    case = "add_norm_select[llama2_7b-attn_to_mlp-keep50-prefill1024-f32-cpu]"
    rows = {
        "pydisp": row(4.1, OURS), "pydisp in place": row(2.0, OURS), "eager": row(10.0, EAGER), "eager in place": row(5.0, EAGER),
        "torch.compile": row(1.0, COMPILED, is_right=False), "limit: copy": row(1.0, LIMIT, None),
    }  # fmt: skip
    result = {"machine": MACHINE, "cases": {case: {"rows": rows}}}
    lines = [line for line in goals.judge(result) if "add_norm_select" in line["job"] and "f32" in line["job"]]
    assert [(line["value"], line["is_met"]) for line in lines] == [(2.0, False), (0.41, False), (0.2, True), (0.4, True)]
    wide = goals.judge(result | {"machine": MACHINE | {"cpu_instruction_sets": ["avx2", "avx512f"]}})
    assert [line["is_met"] for line in wide if line["value"] == 0.2] == [None]
    text = goals.table(lines)
    assert text.count("**no**") == 2 and "2 of 4 met" in text
    assert {line["is_met"] for line in goals.judge({"machine": MACHINE, "cases": {}})} == {None}


def test_a_gpu_has_its_own_goals():
    case = "add_norm_select[llama2_7b-attn_to_mlp-keep50-decode-bf16-cuda]"
    rows = {"pydisp": row(4.0, OURS), "some-peer": row(5.0, PEER), "other-peer": row(3.0, PEER, is_right=False)}
    lines = goals.judge({"machine": MACHINE | {"kind": "cuda"}, "cases": {case: {"rows": rows}}})
    assert [(line["job"], line["value"], line["is_met"]) for line in lines if line["value"] is not None] == [
        ("add_norm_select M=1 D=4096, half kept, bf16", 0.8, True)
    ]
    text = goals.table(lines, "cuda")
    assert f"1 of 1 met, {len(lines) - 1} not measured; `python bench/gpu.py` measures the cases." in text and "CPU" not in text
    assert not {line["cases"] for line in lines} & {line["cases"] for line in goals.judge({"machine": MACHINE, "cases": {}})}


@pytest.fixture
def no_pictures(monkeypatch):
    """Pictures take a second each to write."""
    monkeypatch.setattr(page, "svg_on_white", lambda figure: "<svg/>")


def whole(prefill: tuple[float, float], decode: tuple[float, float]) -> dict:
    """What `pydisp speed --json` prints, made up: times of the pruned model over those of the same shapes and of the unpruned model."""
    model = {
        "prefill_tokens_per_second": 64.0, "decode_tokens_per_second": 5.5, "prefill_ms": 4000.0, "decode_ms": 181.8,
        "bytes_per_token": 2**32, "products_per_prompt": 25 * 10**10,
    }  # fmt: skip
    counted = {"products_per_prompt": 0.54, "bytes_per_token": 0.63}
    return {
        "source": "llama-3.2-1b, random weights", "kept_block": 0.4987, "rounds": 7, "models": dict.fromkeys(speed.NAMES, model),
        "times": {
            "unpruned": {"prefill": prefill[1], "decode": decode[1], **counted},
            "same shapes": {"prefill": prefill[0], "decode": decode[0], "products_per_prompt": 1.0, "bytes_per_token": 1.0},
        },
    }  # fmt: skip


def judge_whole(**more) -> list[dict]:
    return [line for line in goals.judge({"machine": MACHINE, "cases": {}, **more}) if "whole model" in line["job"]]


def test_the_whole_model_is_judged_against_the_same_shapes_and_against_what_is_counted():
    # 0.54 / 0.9 = 0.6 and 0.63 / 0.9 = 0.7 of the unpruned model's time
    met = judge_whole(whole_model=whole(prefill=(1.029, 0.599), decode=(1.029, 0.699)))
    assert [line["is_met"] for line in met] == [True] * 4 and "256 tokens" in met[0]["job"] and "decode" in met[2]["job"]
    assert [line["is_met"] for line in judge_whole(whole_model=whole((1.031, 0.601), (1.031, 0.701)))] == [False] * 4
    assert [line["is_met"] for line in judge_whole(whole_model=whole((1.031, 0.599), (1.029, 0.701)))] == [False, True, True, False]
    missing = judge_whole()
    assert [line["is_met"] for line in missing] == [None] * 4
    assert goals.table(missing).count("| not measured |") == 4 and "`python bench/whole_model.py` the whole model" in goals.table(missing)


def run_whole_model(monkeypatch, printed, *arguments: str) -> list[str]:
    """bench/whole_model.py with a `pydisp speed` that finds, or raises, what is given; returns what that was asked."""
    asked = []

    def speed(arguments):
        asked.extend(arguments)
        if isinstance(printed, Exception):
            raise printed
        return printed

    monkeypatch.setattr(sys, "argv", ["whole_model", *arguments])
    monkeypatch.setattr(whole_model, "pin", lambda threads: None)
    monkeypatch.setattr(whole_model, "describe", lambda kind: MACHINE)
    monkeypatch.setattr(whole_model, "speed", speed)
    whole_model.main()
    return asked


def test_the_whole_model_is_kept_beside_the_cases_and_shown(tmp_path, monkeypatch, no_pictures):
    kept = tmp_path / "results"
    write_results(kept, peer_ms=4.0)
    speeds = whole((1.01, 0.55), (1.05, 0.65))
    asked = run_whole_model(monkeypatch, speeds, "--results", str(kept), "--rounds", "3")
    assert " ".join(asked) == f"{' '.join(whole_model.SHAPE)} --threads 1 --rounds 3 --decode-tokens 8"
    result = results.read(kept / "some-avx2.json")
    assert len(result["cases"]) == 4 and {name: result["whole_model"][name] for name in speeds} == speeds
    assert result["whole_model"]["commit"] == MACHINE["commit"] and result["whole_model"]["versions"] == MACHINE["versions"]
    text = page.write_page(kept, tmp_path / "docs").read_text()
    assert (
        f"`pydisp speed {' '.join(asked)}`: 49.87% of block parameters kept, medians of 7 rounds; commit 0123456789ab, 2026-11-21." in text
    )
    assert "| pruned | 64.00 | 5.50 | 4,096 | 250 |" in text
    for line in ("same shapes | decode | 1.050 | 1.030 |", "unpruned | prefill | 0.550 | 0.600 (ratio of products 0.540 ÷ 0.9) |"):
        assert f"| {line}" in text
    results.keep(kept, MACHINE, [record("decode", 4.0)])
    assert results.read(kept / "some-avx2.json")["whole_model"] == result["whole_model"]


def test_a_whole_model_that_fails_leaves_nothing(tmp_path, monkeypatch, capfd):
    with pytest.raises(ChildProcessError, match="ended with 1; nothing was kept") as problem:
        whole_model.speed(["--shape", "none"])
    assert "unknown shape 'none'" in capfd.readouterr().err
    with pytest.raises(SystemExit, match="nothing was kept"):
        run_whole_model(monkeypatch, problem.value, "--results", str(tmp_path))
    assert not list(tmp_path.iterdir())


def test_a_tree_with_changes_is_told_before_anything_is_measured(monkeypatch, capsys):
    monkeypatch.setattr(machine, "commit", lambda: "0123456789ab")
    machine.describe("cpu")
    assert capsys.readouterr().err == ""
    monkeypatch.setattr(machine, "commit", lambda: "0123456789ab+")
    assert machine.describe("cpu")["commit"].endswith("+")
    assert "warning: files differ from commit 0123456789ab; commit first" in capsys.readouterr().err


def test_a_copy_is_told_which_commit_it_is(monkeypatch):
    monkeypatch.delenv("PYDISP_COMMIT", raising=False)
    monkeypatch.setattr("pydisp.environment.commit", lambda *_: "0123456789ab+")
    assert machine.commit() == "0123456789ab+"
    monkeypatch.setenv("PYDISP_COMMIT", "fedcba987654")
    assert machine.commit() == "fedcba987654"
    monkeypatch.setenv("PYDISP_COMMIT", "")
    monkeypatch.setattr("pydisp.environment.commit", lambda *_: None)
    assert machine.commit() == "unknown"


def test_the_page_names_commits_and_what_was_not_measured(tmp_path, no_pictures):
    known = [case.id for suite in SUITES for case in cases(suite, "cpu")]
    measured = [record("decode", 4.0) | {"id": case} for case in known[:3]]
    results.keep(tmp_path / "results", MACHINE, measured[:2])
    results.keep(
        tmp_path / "results", MACHINE | {"commit": "fedcba987654+"}, measured[2:], left_out={known[3]: "time was up", known[0]: "x"}
    )
    text = page.write_page(tmp_path / "results", tmp_path / "docs").read_text()
    assert f"; commits 0123456789ab (2 cases), fedcba987654+ (1 case with changes that are in no commit: `{known[2]}`); " in text
    (missing,) = [line for line in text.splitlines() if line.startswith("Not measured on this machine: ")]
    assert set(missing.split("`")[1::2]) == set(known[3:]) and f"`{known[3]}` (time was up); `{known[4]}`, `" in missing
    every = [record("decode", 4.0) | {"id": case} for case in known]
    results.keep(tmp_path / "every", MACHINE, every)
    text = page.write_page(tmp_path / "every", tmp_path / "docs").read_text()
    assert f"; commit 0123456789ab ({len(known)} cases); " in text and "Not measured" not in text


def test_the_notes_of_a_device_are_on_the_page(tmp_path, no_pictures):
    results.keep(tmp_path / "results", MACHINE, [record("decode", 4.0)], notes=["The first of its kind.", "Tuned later."])
    text = page.write_page(tmp_path / "results", tmp_path / "docs").read_text()
    assert "### Notes\n\n- The first of its kind.\n- Tuned later.\n\n### Where" in text
    results.keep(tmp_path / "results", MACHINE, [record("decode", 3.0)])
    assert "- Tuned later." in page.write_page(tmp_path / "results", tmp_path / "docs").read_text()
    results.keep(tmp_path / "other", MACHINE, [record("decode", 4.0)])
    assert "### Notes" not in page.write_page(tmp_path / "other", tmp_path / "docs").read_text()


def test_the_committed_page_is_that_of_the_committed_results(tmp_path, no_pictures):
    """After a change of results, cases or words: `make page`."""
    assert page.write_page(BENCH / "results", tmp_path).read_text() == (BENCH.parent / "docs" / "kernels.md").read_text()


def write_results(folder: Path, peer_ms: float) -> None:
    curve = [record(f"tokens{tokens}", peer_ms, ("M",), tokens, op="add_norm_select") for tokens in (1, 16, 256)]
    results.keep(folder, MACHINE, [record("decode", 4.0), *curve])


def test_the_page_says_where_a_peer_wins(tmp_path):
    write_results(tmp_path / "results", peer_ms=0.8)
    stale = tmp_path / "docs" / "pictures" / "kernels" / "gone.svg"
    stale.parent.mkdir(parents=True)
    stale.write_text("<svg/>")
    text = page.write_page(tmp_path / "results", tmp_path / "docs").read_text()
    assert "`add_norm_select[tokens16]`: **some-peer**, 1.25× as fast as ours" in text
    assert "`norm_select[decode]`: **" not in text and "liger-kernel: needs a GPU" in text
    assert "| tokens16, f32 | 1 ms (0) | 2.00× (30) |" in text
    linked = {part.partition(")")[0] for part in text.split("](")[1:]}
    on_disk = {f"pictures/kernels/{file.name}" for file in stale.parent.iterdir()}
    assert linked == on_disk and len(linked) == 3 and not stale.exists()
    assert "GPU" not in text.partition("## Some CPU")[2].replace("needs a GPU", "")


def test_the_page_is_the_same_bytes_twice_and_says_nowhere(tmp_path):
    pages = []
    for docs in ("one", "two"):
        write_results(tmp_path / "results", peer_ms=4.0)
        text = page.write_page(tmp_path / "results", tmp_path / docs).read_text()
        assert "Nowhere in these cases." in text
        pages.append({file.relative_to(tmp_path / docs): file.read_bytes() for file in (tmp_path / docs).rglob("*") if file.is_file()})
    assert pages[0] == pages[1]
    with pytest.raises(ValueError, match="there are no results in .*nothing; run"):
        page.write_page(tmp_path / "nothing", tmp_path / "docs")


def test_in_place_rivals_are_held_against_ours_in_place():
    rows = {"pydisp": row(3.0, OURS), "pydisp in place": row(1.0, OURS), "eager": row(4.0, EAGER), "eager in place": row(2.0, EAGER)}
    assert page.rivals_ahead({"rows": rows}) == []
    rows["torch.compile"] = row(1.5, COMPILED)
    assert page.rivals_ahead({"rows": rows}) == [("torch.compile", 2.0)]
    rows["torch.compile"]["is_right"] = False
    assert page.rivals_ahead({"rows": rows}) == []


def run_gpu(*arguments: str) -> subprocess.CompletedProcess:
    environment = os.environ | {"CUDA_VISIBLE_DEVICES": ""}
    return subprocess.run([sys.executable, str(BENCH / "gpu.py"), *arguments], capture_output=True, text=True, env=environment)


def test_gpu_refuses_in_one_sentence_where_there_is_none(tmp_path):
    done = run_gpu("--out", str(tmp_path))
    assert done.returncode == 1 and done.stdout == "" and not list(tmp_path.iterdir())
    assert len(done.stderr.strip().splitlines()) == 1 and "torch sees no CUDA GPU here" in done.stderr
    done = run_gpu("--wheels", str(tmp_path / "none"))
    assert done.returncode == 1 and "--wheels: there is no folder" in done.stderr


@pytest.mark.parametrize(
    ("program", "arguments", "problem"),
    [
        ("ratios", ["--rounds", "0"], "--rounds is 0; it must be at least 1."),
        ("ratios", ["--threads", "0"], "--threads is 0; it must be at least 1."),
        ("ratios", ["--seconds", "nan"], "--seconds is nan; it must be at least 0.001."),
        ("ratios", ["--results", "FILE/sub"], "FILE is no folder that can be written to"),
        ("whole_model", ["--decode-tokens", "0"], "--decode-tokens is 0; it must be at least 1."),
        ("whole_model", ["--results", "FILE"], "FILE is no folder that can be written to"),
        ("ratios", ["los"], "unknown suite 'los'; known: add_norm_select"),
        ("ratios", ["--only", "zzz"], "no case has 'zzz' in its id; --list names them."),
        ("gpu", ["--minutes", "0"], "--minutes is 0; it must be more than 0."),
        ("gpu", ["--dry-run", "--out", "FILE"], "FILE is no folder that can be written to"),
        ("gpu", ["--dry-run", "--only", "zzz"], "no case has 'zzz' in its id; --dry-run names them."),
    ],
)
def test_wrong_arguments_are_refused_before_anything_runs(program, arguments, problem, tmp_path, monkeypatch, capsys):
    file = tmp_path / "file"
    file.write_text("here")
    monkeypatch.setattr(sys, "argv", [program, *(a.replace("FILE", str(file)) for a in arguments)])
    monkeypatch.setattr(ratios, "pin", lambda threads: None)
    with pytest.raises(SystemExit) as stop:
        {"ratios": ratios, "whole_model": whole_model, "gpu": gpu}[program].main()
    said = capsys.readouterr().err + str(stop.value)
    assert stop.value.code not in (0, None) and problem.replace("FILE", str(file)) in said and file.read_text() == "here"


def test_gpu_dry_run_lists_checks_and_cases():
    done = run_gpu("--dry-run")
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    ops = ("norm_select", "add_norm_select", "index_add", "linear_cross_entropy", "linear_cross_entropy_backward", "attention_mass")
    for op in ops:
        assert any(line.startswith(f"check {op}[") for line in lines) and any(line.startswith(f"time {op}[") for line in lines)
    first = [line.split("[")[0] for line in lines if line.startswith("time ")][: len(ops)]
    assert set(first) >= {f"time {op}" for op in ops if "backward" not in op}  # a run cut short has something of each op


def test_gpu_dry_run_names_the_self_checks():
    pytest.importorskip("triton")
    lines = run_gpu("--dry-run", "--only", "attention_mass").stdout.splitlines()
    assert lines[0].startswith("self-check ") and "self-check attention_mass in 3 dtypes" in lines
    assert lines[-1].startswith("18 self-checks, ")


def test_gpu_reports_the_self_checks(monkeypatch):
    from pydisp.ops import cuda
    from pydisp.ops.verdicts import Verdict

    def check_all(device):
        yield "norm_select", torch.bfloat16, Verdict(None, 1.234)
        yield "index_add", torch.float32, Verdict("CompilationError: no", 0.5)
        while cut_short:
            time.sleep(0.01)

    monkeypatch.setattr(cuda, "check_all", check_all)
    for cut_short in (False, True):
        lines, is_cut_short = gpu.self_checks(0.3)
        assert is_cut_short is cut_short
        assert lines[0] == {"op": "norm_select", "dtype": "bfloat16", "error": None, "seconds": 1.23}
        failed, total = gpu.say(lines, is_cut_short).splitlines()
        assert failed == "FAILS ITS SELF-CHECK index_add float32 (0.5 s): CompilationError: no"
        words = "self-checks: 1 of 2 right in 1.7 s (norm_select bfloat16 1.23, index_add float32 0.5)"
        assert total == words + "; time was up before the last one" * cut_short


def test_gpu_stops_in_time_and_says_what_is_left_out():
    toys = [toy({}) for _ in range(4)]
    toys = [replace(case, name=f"case{number}") for number, case in enumerate(toys)]
    kept = []

    def measure(case):
        if case.name == "case1":
            raise torch.OutOfMemoryError("CUDA out of memory.\nmore")
        while case.name == "case2":
            time.sleep(0.01)
        return {"id": case.id}

    start = time.monotonic()
    deadline = gpu.Deadline(start + gpu.RESERVE_S + 0.3)
    left_out = gpu.run_cases(toys, deadline, measure, lambda record, left: kept.append((record["id"], len(left))))
    assert time.monotonic() - start < 5 and kept == [(toys[0].id, 3)]
    assert left_out == {toys[1].id: "OutOfMemoryError: CUDA out of memory.", toys[2].id: "time was up", toys[3].id: "time was up"}


def test_gpu_checks_every_op_that_it_times():
    timed = {case.op for suite in SUITES for case in cases(suite, "cuda")}
    assert timed - set(gpu.CHECKS) == {"block"}  # held against the plain layer where it is built


def test_gpu_checks_find_a_wrong_op(monkeypatch):
    small = [case for case in gpu.checks(cases("add_norm_select", "cpu"), "cpu") if case.op == "index_add" and case.dtype == "f32"]
    lines = [line for case in small for line in gpu.check(case)]
    assert len(small) == 3 and lines and all(line["is_right"] for line in lines)
    right = torch.ops.pydisp.index_add
    from pydisp import ops

    monkeypatch.setattr(ops, "index_add", lambda residual, update, index: right)
    assert any("problem" in line and not line["is_right"] for line in gpu.check(small[0]))
    monkeypatch.setattr(ops, "index_add", lambda residual, update, index: residual.clone())
    assert [line["is_right"] for line in gpu.check(small[1]) if line["candidate"] == "pydisp"] == [False]


def test_wheels_become_importable(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "path", sys.path.copy())
    monkeypatch.setenv("PYTHONPATH", "")
    with zipfile.ZipFile(tmp_path / "some_peer-1.0-py3-none-any.whl", "w") as wheel:
        wheel.writestr("some_peer_of_bench/__init__.py", "VALUE = 7\n")
    (folder,) = gpu.use_wheels([tmp_path])
    import some_peer_of_bench

    assert some_peer_of_bench.VALUE == 7 and os.environ["PYTHONPATH"].startswith(folder)


def test_gpu_stops_a_candidate_that_is_measured():
    def asleep():
        while True:
            time.sleep(0.01)

    start, case = time.monotonic(), toy({"pydisp": Candidate(asleep, OURS)})
    left_out = gpu.run_cases([case], gpu.Deadline(start + gpu.RESERVE_S + 0.3), ratios.measure, lambda *_: None)
    assert time.monotonic() - start < 5 and left_out == {case.id: "time was up"}


def test_gpu_names_what_is_wrong_and_what_is_missing():
    rows = {"pydisp": row(4.0, OURS) | {"ratio": 1.0}, "eager": row(10.0, EAGER) | {"ratio": 2.5}}
    record = {"id": "norm_select[x]", "rows": rows, "absent": {}}
    assert gpu.summary(record) == "norm_select[x]: pydisp 4 ms; eager 2.50x"
    rows["eager"] |= {"is_right": False, "ratio": None}
    assert gpu.summary(record) == "norm_select[x]: pydisp 4 ms; eager WRONG"
    record["rows"], record["absent"] = {"eager": row(10.0, EAGER) | {"ratio": None}}, {"pydisp": "failed: RuntimeError: no"}
    assert gpu.summary(record) == "norm_select[x]: eager 10 ms; pydisp: failed: RuntimeError: no"
    assert gpu.summary(record | {"rows": {}}) == "norm_select[x]: pydisp: failed: RuntimeError: no"


def test_a_run_for_the_goals_fails_by_what_it_measured():
    good = {"id": "a", "rows": {"pydisp": row(4.0, OURS), "eager": row(10.0, EAGER)}}
    wrong = {"id": "b", "rows": {"pydisp": row(4.0, OURS) | {"is_right": False}}}
    met, missed, older = ({"cases": (case,), "is_met": is_met} for case, is_met in (("a", True), ("a", False), ("c", False)))
    assert ratios.failure([good], [met, older]) == 0
    assert ratios.failure([good], [met, missed, older]) == "1 of these goals were missed."
    assert ratios.failure([good, wrong], [met]) == "b: pydisp is wrong."
    assert ratios.failure([{"id": "d", "rows": {"eager": row(10.0, EAGER)}}], [met]) == "d: nothing of ours ran."
    lines = goals.judge({"machine": MACHINE, "cases": {}})
    assert all(line["cases"] for line in lines)


def test_a_results_file_that_was_cut_short_is_not_passed_over(tmp_path):
    (tmp_path / "other.json").write_text("[]")
    assert results.read_all(tmp_path) == []
    (tmp_path / "device.json").write_text('{"format": ')
    with pytest.raises(ValueError, match="device.json is no JSON"):
        results.read_all(tmp_path)


def test_compiling_a_candidate_forgets_no_other_of_its_case():
    made = []

    def backend(graph, _inputs):
        made.append(1)
        return graph

    first, second = torch.compile(lambda x: x + 1, backend=backend), compiled(lambda x: x * 3)  # the second: while the case is built
    made.clear()
    for _ in range(2):
        first(torch.ones(2)), second(torch.ones(2))
    assert made == [1]
