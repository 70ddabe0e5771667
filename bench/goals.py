"""The goals of the kernels: each is an upper bound for a ratio within one run, or for an amount of extra memory.

`python bench/ratios.py --goals` measures the cases for a CPU and prints the table; `python bench/whole_model.py` measures the whole model;
`python bench/gpu.py` measures the cases for a GPU.
"""

from collections.abc import Callable
from dataclasses import dataclass

from cases import EAGER, LIMIT, OURS, PEER, RIVALS

MB = 1e6 / (1 << 20)  # in MiB
WHOLE_MODEL = "whole_model"  # where a results file keeps the measurement of bench/whole_model.py
AS_DENSE = 1.03  # bound for the time, relative to a dense model of the same shapes
OF_THE_COUNT = 1 / 0.9  # bound for the time, relative to the unpruned model's time multiplied by the ratio of the counted work
COUNTED = {"prefill": ("products_per_prompt", "products"), "decode": ("bytes_per_token", "bytes")}  # the counted work of a phase, its word
_LINEAR_FLOOR_MIB = 1.0  # below it, memory is measured too coarsely for a ratio


@dataclass(frozen=True)
class Goal:
    """Attributes:
    job, measure: words for the table.
    cases: ids of the cases that it reads, or only WHOLE_MODEL.
    value: computes the figure from the rows of those cases, or from the results of `pydisp speed`; None if a candidate is absent or wrong.
    at_most: the bound.
    needs_avx2_only: set for CPUs with AVX2 and no AVX-512.
    """

    job: str
    measure: str
    cases: tuple[str, ...]
    value: Callable[..., float | None]
    at_most: float
    needs_avx2_only: bool = False


def _time(name: str) -> Callable[[dict], float | None]:
    """Median ms of the candidate with that name, else of the fastest with that role; None if there is none or its result is wrong."""

    def of(rows: dict) -> float | None:
        meant = [rows[name]] if name in rows else [row for row in rows.values() if row["role"] == name]
        return min((row["median_ms"] for row in meant if row["is_right"] is not False), default=None)

    return of


def _extra(name: str) -> Callable[[dict], float | None]:
    return lambda rows: rows.get(name, {}).get("extra_mib")


def _ratio(above: Callable, below: Callable) -> Callable[[dict], float | None]:
    def of(rows: dict) -> float | None:
        times = above(rows), below(rows)
        return None if None in times or not times[1] else times[0] / times[1]

    return of


def _growth(name: str) -> Callable[[dict, dict], float | None]:
    """Extra memory of the second case divided by that of the first, above a floor."""

    def of(*several: dict) -> float | None:
        amounts = [_extra(name)(rows) for rows in several]
        return None if None in amounts else max(amounts[1], _LINEAR_FLOOR_MIB) / max(amounts[0], _LINEAR_FLOOR_MIB)

    return of


def _times(case: str, job: str, ours: str, other: str, at_most: float, words: str = "", **more) -> Goal:
    return Goal(job, f"{ours} ÷ {words or other}", (case,), _ratio(_time(ours), _time(other)), at_most, **more)


def _rival_time(rows: dict) -> float | None:
    return min((row["median_ms"] for row in rows.values() if row["role"] in RIVALS and row["is_right"] is not False), default=None)


def _never_slower(case: str, job: str) -> Goal:
    return Goal(job, "fastest of ours ÷ fastest of eager, torch.compile and peers", (case,), _ratio(_time(OURS), _rival_time), 1.0)


def _nll(dtype: str, eager: float) -> list[Goal]:
    case = f"linear_cross_entropy[goal-nll-M512-D1024-V128256-{dtype}-cpu]"
    job = f"NLL M=512 D=1024 V=128,256, {dtype}"
    return [
        _times(case, job, "pydisp", LIMIT, 1.10, "bare product, native or up-cast"),
        Goal(job, "extra memory, MiB (10 MB)", (case,), _extra("pydisp"), 10 * MB),
        _times(case, job, "pydisp", EAGER, eager, needs_avx2_only=True),
        _never_slower(case, job),
    ]


def _nll_backward(dtype: str) -> list[Goal]:
    case = f"linear_cross_entropy_backward[goal-nll-M1024-D512-V32000-{dtype}-cpu]"
    job = f"NLL forward + backward M=1024 D=512 V=32,000, {dtype}"
    goals = [
        _times(case, job, "pydisp", LIMIT, 1.15, "its four bare products"),
        Goal(job, "extra memory ÷ eager's", (case,), _ratio(_extra("pydisp"), _extra(EAGER)), 0.27),
    ]
    if dtype == "bf16":
        goals.append(_times(case, job, "pydisp", EAGER, 0.04, needs_avx2_only=True))
    return [*goals, _never_slower(case, job)]


def _junction(dtype: str, copy: float, functional: float, in_place: float) -> list[Goal]:
    case = f"add_norm_select[llama2_7b-attn_to_mlp-keep50-prefill1024-{dtype}-cpu]"
    job = f"add_norm_select M=1024 D=4096, half kept, {dtype}"
    return [
        _times(case, job, "pydisp in place", LIMIT, copy, "copy of the bytes it must move"),
        _times(case, job, "pydisp", EAGER, functional),
        _times(case, job, "pydisp in place", EAGER, in_place, needs_avx2_only=True),
        _never_slower(case, job),
    ]


def _mass() -> list[Goal]:
    def case(context: int) -> str:
        return f"attention_mass[heads8_4-context{context}-f32-cpu]"

    job = "attention mass + entropy T=1024, 8/4 heads of 64, 16 groups"
    sizes = (4096, 16384)
    return [
        _times(case(1024), job, "pydisp", EAGER, 0.10, "eager with weights"),
        _times(case(1024), job, "pydisp", "SDPA with indicator V", 0.75),
        _never_slower(case(1024), job),
        Goal("attention mass, memory from T=4096 to 16,384", "growth of extra memory", tuple(map(case, sizes)), _growth("pydisp"), 4.4),
    ]


def _block(tokens: int, at_most: float) -> list[Goal]:
    case = f"block[llama3.2_1b-keep50-tokens{tokens}-f32-cpu]"
    job = f"pruned Llama block D=2048 I=8192, half kept, f32, T={tokens}"
    return [
        _times(case, job, "pydisp", "same-shape dense", at_most, "plain modules with the same smaller linears"),
        _never_slower(case, job),
    ]


def _junction_on_gpu() -> list[Goal]:
    goals = []
    for tokens in (128, 32768):
        case = f"add_norm_select[llama2_7b-attn_to_mlp-keep50-prefill{tokens}-bf16-cuda]"
        job = f"add_norm_select M={tokens:,} D=4096, half kept, bf16"
        goals.append(_times(case, job, "pydisp", LIMIT, 1 / 0.9, "copy of the bytes it must move (90 %)"))
    for phase, words in (("decode", "1"), ("prefill16", "16"), ("prefill128", "128")):
        case = f"add_norm_select[llama2_7b-attn_to_mlp-keep50-{phase}-bf16-cuda]"
        goals.append(_times(case, f"add_norm_select M={words} D=4096, half kept, bf16", "pydisp", PEER, 1.0, "fastest peer"))
    return goals


def _nll_on_gpu() -> list[Goal]:
    case, job = "linear_cross_entropy[llama3.2_1b-head-prefill8192-bf16-cuda]", "NLL M=8192 D=2048 V=128,256, bf16"
    return [
        _times(case, job, "pydisp", LIMIT, 1 / 0.85, "bare product (85 %)"),
        _times(case, job, "pydisp", PEER, 1.0, "fastest peer"),
    ]


def _mass_on_gpu() -> list[Goal]:
    case, job = "attention_mass[heads32_8-context4096-bf16-cuda]", "attention mass + entropy T=4096, 32/8 heads of 64, 16 groups, bf16"
    return [_times(case, job, "pydisp", "SDPA with indicator V", 0.7)]


def _block_on_gpu(tokens: int) -> Goal:
    case, job = f"block[llama3.2_1b-keep50-tokens{tokens}-bf16-cuda]", f"pruned Llama block D=2048 I=8192, half kept, bf16, T={tokens:,}"
    return _times(case, job, "pydisp", "same-shape dense", 1 / 0.98, "plain modules with the same smaller linears (98 %)")


def _whole_model(phase: str) -> list[Goal]:
    def of_the_count(measured: dict) -> float:
        times = measured["times"]["unpruned"]
        return times[phase] / times[count]

    count, word = COUNTED[phase]
    job = f"whole model, Llama-3.2-1B shape, half of block parameters, f32, {'256 tokens of prompt' if phase == 'prefill' else 'decode'}"
    return [
        Goal(job, "pruned ÷ same-shape dense", (WHOLE_MODEL,), lambda measured: measured["times"]["same shapes"][phase], AS_DENSE),
        Goal(job, f"(pruned ÷ unpruned) ÷ the ratio of their {word}", (WHOLE_MODEL,), of_the_count, OF_THE_COUNT),
    ]


GOALS = (
    *_nll("f32", 0.75),
    *_nll("bf16", 0.12),
    *_nll_backward("f32"),
    *_nll_backward("bf16"),
    *_junction("f32", 1.5, 0.40, 0.30),
    *_junction("bf16", 2.0, 0.25, 0.20),
    *_mass(),
    *_block(1, 1.05),
    *_block(16, 1.02),
    *_block(256, 1.01),
    *_whole_model("prefill"),
    *_whole_model("decode"),
)
GPU_GOALS = (*_junction_on_gpu(), *_nll_on_gpu(), *_mass_on_gpu(), *(_block_on_gpu(tokens) for tokens in (1, 256, 4096)))


def of_kind(kind: str) -> tuple[Goal, ...]:
    return GPU_GOALS if kind == "cuda" else GOALS


def case_ids(kind: str = "cpu") -> set[str]:
    return {case for goal in of_kind(kind) for case in goal.cases} - {WHOLE_MODEL}


def judge(result: dict) -> list[dict]:
    """A line for each goal of this kind of device: job, measure, cases, value, at_most, applies, is_met (None if it was not measured or does not apply).

    Args:
        result: the content of a results file; `machine`, `cases` and, if present, WHOLE_MODEL are read.
    """
    sets = result["machine"]["cpu_instruction_sets"]
    has_avx2_only = "avx2" in sets and "avx512f" not in sets
    known = {case: record["rows"] for case, record in result["cases"].items()}
    if WHOLE_MODEL in result:
        known[WHOLE_MODEL] = result[WHOLE_MODEL]
    lines = []
    for goal in of_kind(result["machine"]["kind"]):
        rows = [known[case] for case in goal.cases if case in known]
        value = goal.value(*rows) if len(rows) == len(goal.cases) else None
        applies = has_avx2_only or not goal.needs_avx2_only
        lines.append(
            {
                "job": goal.job,
                "measure": goal.measure,
                "cases": goal.cases,
                "value": None if value is None else float(f"{value:.4g}"),
                "at_most": float(f"{goal.at_most:.4g}"),
                "applies": applies,
                "is_met": None if value is None or not applies else value <= goal.at_most,
            }
        )
    return lines


def table(lines: list[dict], kind: str = "cpu") -> str:
    """The judged goals of a kind of device as Markdown."""
    text = ["| job | measure | at most | measured | met |", "|---|---|---:|---:|---|"]
    for line in lines:
        value = "–" if line["value"] is None else f"{line['value']:.3g}"
        text.append(f"| {line['job']} | {line['measure']} | {line['at_most']:.3g} | {value} | {verdict(line)} |")
    met, judged = sum(line["is_met"] is True for line in lines), sum(line["is_met"] is not None for line in lines)
    how = {
        "cpu": "not measured or not for this CPU; `python bench/ratios.py --goals` measures the cases, `python bench/whole_model.py` the whole model",
        "cuda": "not measured; `python bench/gpu.py` measures the cases",
    }[kind]
    return "\n".join([*text, "", f"{met} of {judged} met, {len(lines) - judged} {how}."])


def verdict(line: dict) -> str:
    if not line["applies"]:
        return "AVX2 only"
    return {True: "yes", False: "**no**", None: "not measured"}[line["is_met"]]
