"""The page of measured kernels, docs/kernels.md with its pictures, made only from the results files.

    python bench/page.py                                  # bench/results/*.json -> docs/kernels.md, docs/pictures/kernels/*.svg
    python bench/page.py --results R --docs D

With one version of matplotlib, the same results give the same bytes. A device is on the page if it has a results file. Sentences for people,
about figures that are no case, stand in that file as a list "notes".
"""

import argparse
import re
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import goals
import results
from cases import DENSE, LIMIT, RIVALS, SUITES
from cases import cases as cases_of
from machine import ROOT, file_stem

from pydisp.report.drawing import BLUE, EMPTY, GREEN, ORANGE, PINK, SKY, SOFT, YELLOW, drawing, new_figure, svg_on_white

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

PICTURES = "pictures/kernels"
LEVEL = 0.03  # a difference below this share is called level, because two runs differ by as much
_AXES = {"M": "tokens", "V": "words of the vocabulary", "T": "tokens of context"}
_COLOURS = {
    "pydisp": BLUE,
    "pydisp in place": SKY,
    "pydisp, compiled": SKY,
    "pydisp from lse": SKY,
    "eager": ORANGE,
    "eager in place": YELLOW,
    "eager from lse": YELLOW,
    "torch.compile": GREEN,
}
_MORE_COLOURS = (PINK, "#7f3c8d", "#8c564b", "#b5a300", "#e377c2")
_MARKS = {name: "o" if name.startswith("pydisp") else "s" if name.startswith("eager") else "^" for name in _COLOURS}
_MORE_MARKS = ("D", "v", "P", "X", "*")
_WIDTH_INCHES = 8.6
_SMALLEST_MIB = 0.1  # where a log scale ends


def write_page(results_folder: Path, docs: Path) -> Path:
    """Write the page and its pictures; pictures of earlier results are removed.

    Raises: ValueError if there is no results file.
    """
    by_file = results.read_all(results_folder)
    if not by_file:
        raise ValueError(f"there are no results in {results_folder}; run bench/ratios.py (or bench/gpu.py on a GPU) first.")
    pictures = docs / PICTURES
    pictures.mkdir(parents=True, exist_ok=True)
    written, parts = set(), [_opening(by_file)]
    for _, result in by_file:
        drawn = _pictures(result)
        for name, (svg, _) in drawn.items():
            (pictures / name).write_text(svg, encoding="utf-8")
        written |= set(drawn)
        parts.append(_section(result, drawn))
    for file in pictures.glob("*.svg"):
        if file.name not in written:
            file.unlink()
    page = docs / "kernels.md"
    page.write_text("\n\n".join(parts) + "\n", encoding="utf-8")
    return page


def rivals_ahead(record: dict) -> list[tuple[str, float]]:
    """The rivals (what a user could take instead) that were faster than ours in this case, with our time ÷ theirs.

    A rival that works in place is compared with ours in place, one that gets a log-sum-exp with ours that gets it, and one by torch.compile
    with ours compiled, if there is such a candidate of ours.
    """
    ahead = []
    for name, row in record["rows"].items():
        ours = _counterpart(name, record["rows"])
        if row["role"] in RIVALS and row["is_right"] and ours["is_right"] and row["median_ms"] < ours["median_ms"]:
            ahead.append((name, ours["median_ms"] / row["median_ms"]))
    return sorted(ahead, key=lambda pair: -pair[1])


def _counterpart(name: str, rows: dict) -> dict:
    """Our row to compare a rival with; if there is none, a row that is not right."""
    for word, ours in (("in place", "pydisp in place"), ("from lse", "pydisp from lse"), ("compile", "pydisp, compiled")):
        if word in name and ours in rows:
            return rows[ours]
    return rows.get("pydisp", {"is_right": False})


def _opening(by_file: list[tuple[Path, dict]]) -> str:
    devices = "; ".join(_machine_name(result) for _, result in by_file)
    return f"""# Kernels, measured

Made by `python bench/page.py` from `bench/results/`; nothing on it is written by hand but a device's notes. Measured so far: {devices}.

Times are medians of rounds in one run. In each round every candidate has a turn, in another order each time. Compare times only within
one case. After the timing, results are checked against float64; a wrong one has no ratio. Threads are pinned, and the thresholds of glibc's
allocator fixed. Extra memory is the peak resident size of a fresh process minus its size before the call and minus the outputs (on a GPU:
by the count of torch's allocator). The limit is the best that the machine allows: a bare matrix product, or a plain copy of as many bytes
as the op must move; for a block, stock modules with the same smaller linears; for a float32 linear of few rows, a sum over the weights.
Blocks in eager torch and torch.compile use torch's linears; the dense twin of the whole model uses those of the pruned model."""


def _machine_name(result: dict) -> str:
    machine = result["machine"]
    return f"{machine['device']}, {machine['instruction_set']}"


def _section(result: dict, drawn: dict[str, tuple[str, str]]) -> str:
    machine, cases = result["machine"], result["cases"].values()
    versions = ", ".join(f"{name} {version}" for name, version in machine["versions"].items() if version)
    threads = sorted({case["threads"] for case in cases})
    parts = [
        f"## {_machine_name(result)}",
        f"{' and '.join(map(str, threads))} CPU thread{'s' * (threads != [1])}; {versions}; {_commits(cases)}; "
        f"{', '.join(sorted({case['date'] for case in cases}))}.",
    ]
    missing = _not_measured(result)
    if missing:
        parts.append(missing)
    judged = goals.judge(result)
    if any(line["value"] is not None for line in judged):
        parts += ["### Goals", goals.table(judged, machine["kind"])]
    if goals.WHOLE_MODEL in result:
        parts += ["### The whole model", _whole_model(result[goals.WHOLE_MODEL])]
    if "checks" in result:
        lines = result["checks"]
        parts.append(
            f"Checked first on this device: {sum(line['is_right'] for line in lines)} of {len(lines)} small cases right; "
            f"tests: {result['tests']['outcome']}."
        )
    parts += ["### Notes", "\n".join(f"- {note}" for note in result["notes"])] if "notes" in result else []
    parts += ["### Where something else is faster", _where_rivals_lead(cases)]
    ops = list(dict.fromkeys(case["op"] for case in cases))
    for op in ops:
        parts.append(f"### {op}")
        parts += [f"![{caption}]({PICTURES}/{name})" for name, (_, caption) in drawn.items() if f"-{op}-by" in name]
        parts.append(_op_table([case for case in cases if case["op"] == op]))
    absent = {(name, reason) for case in cases for name, reason in case["absent"].items()}
    if absent:
        parts += ["### Absent", "\n".join(f"- {name}: {_escaped(reason)}" for name, reason in sorted(absent))]
    return "\n\n".join(parts)


def _commits(cases: Iterable[dict]) -> str:
    """How many cases were measured at which commit; cases measured with uncommitted changes are named."""
    by_commit: dict[str, list[str]] = {}
    for case in cases:
        by_commit.setdefault(case["commit"], []).append(case["id"])
    told = []
    for commit, ids in sorted(by_commit.items()):
        named = f" with changes that are in no commit: {', '.join(f'`{case}`' for case in ids)}" if commit.endswith("+") else ""
        told.append(f"{commit} ({len(ids)} case{'s' * (len(ids) > 1)}{named})")
    return f"commit{'s' * (len(told) > 1)} {', '.join(told)}"


def _not_measured(result: dict) -> str:
    """The cases of this kind of device that the results lack, with the reason if the run knew one; empty if none is missing."""
    reasons = result.get("left_out", {})
    by_reason: dict[str, list[str]] = {}
    for case in (case for suite in SUITES for case in cases_of(suite, result["machine"]["kind"])):
        if case.id not in result["cases"]:
            by_reason.setdefault(reasons.get(case.id, ""), []).append(f"`{case.id}`")
    named = [f"{', '.join(ids)}{f' ({_escaped(reason)})' * bool(reason)}" for reason, ids in by_reason.items()]
    return f"Not measured on this machine: {'; '.join(named)}." if named else ""


def _whole_model(comparison: dict) -> str:
    """The results of `pydisp speed`: the three models, and the pruned model's times relative to the others, with the goals' bounds."""
    has_peaks = all("peak_mib" in model for model in comparison["models"].values())
    lines = [
        f"`{comparison['command']}`: {comparison['kept_block']:.2%} of block parameters kept, medians of {comparison['rounds']} rounds; "
        f"commit {comparison['commit']}, {comparison['date']}.",
        "",
        f"| model | prompt, tokens/s | decode, tokens/s | MiB read a token | 10⁹ products a prompt |{' peak MiB |' * has_peaks}",
        f"|---|---:|---:|---:|---:|{'---:|' * has_peaks}",
    ]
    for name, model in comparison["models"].items():
        cells = [model["prefill_tokens_per_second"], model["decode_tokens_per_second"], model["bytes_per_token"] / 2**20]
        cells += [model["products_per_prompt"] / 1e9, *([model["peak_mib"]] if has_peaks else [])]
        lines.append(f"| {name} | {' | '.join(f'{value:.2f}' if value < 100 else f'{value:,.0f}' for value in cells)} |")
    lines += ["", "| time of the pruned model ÷ that of | phase | measured | at most |", "|---|---|---:|---:|"]
    for name, times in comparison["times"].items():
        for phase, (count, word) in goals.COUNTED.items():
            is_same = name == "same shapes"
            most = goals.AS_DENSE if is_same else times[count] * goals.OF_THE_COUNT
            why = "" if is_same else f" (ratio of {word} {times[count]:.3f} ÷ 0.9)"
            lines.append(f"| {name} | {phase} | {times[phase]:.3f} | {most:.3f}{why} |")
    return "\n".join(lines)


def _where_rivals_lead(cases: Iterable[dict]) -> str:
    lines = []
    for case in cases:
        for name, factor in rivals_ahead(case):
            word = " (level)" if factor < 1 + LEVEL else ""
            lines.append(f"- `{case['id']}`: **{name}**, {factor:.2f}× as fast as ours{word}")
        wrong = [name for name, row in case["rows"].items() if row["is_right"] is False]
        lines += [f"- `{case['id']}`: the result of {name} is wrong, so it has no ratio" for name in wrong]
    return "\n".join(lines) if lines else "Nowhere in these cases."


def _op_table(cases: list[dict]) -> str:
    """Our time in ms and memory in MiB; the others' times as multiples of ours, with their memory."""
    names = _names(cases)
    lines = [f"| case | {' | '.join(names)} |", f"|---|{'---:|' * len(names)}"]
    for case in cases:
        lines.append(f"| {case['name']}, {case['dtype']} | {' | '.join(_cell(name, case['rows']) for name in names)} |")
    return "\n".join([*lines, "", "The first column of figures is in ms, the others are multiples of it; in brackets extra memory in MiB."])


def _cell(name: str, rows: dict) -> str:
    row = rows.get(name)
    if row is None:
        return "–"
    extra = f" ({row['extra_mib']:.3g})" if "extra_mib" in row else ""
    if row["is_right"] is False:
        return "wrong"
    if name == next(iter(rows)):
        return f"{row['median_ms']:.3g} ms{extra}"
    return ("–" if row["ratio"] is None else f"{row['ratio']:.2f}×") + extra


def _escaped(text: str) -> str:
    return re.sub(r"([\\`*_\[\]<>|])", r"\\\1", text)


def _pictures(result: dict) -> dict[str, tuple[str, str]]:
    """By file name, SVG text and caption: for each op the ratios by shape, and a curve for each axis with two or more cases."""
    stem, device = file_stem(result["machine"]), result["machine"]["device"]
    drawn = {}
    by_op: dict[str, list[dict]] = {}
    for case in result["cases"].values():
        by_op.setdefault(case["op"], []).append(case)
    with drawing(on_white=True):
        for op, cases in by_op.items():
            if any(row["ratio"] is not None for case in cases for row in case["rows"].values()):
                caption = f"{op} on {device}: time as a multiple of ours, by shape; left of 1 is faster than ours"
                drawn[f"{stem}-{op}-by-shape.svg"] = svg_on_white(_shapes_figure(op, cases)), caption
            for axis in sorted({axis for case in cases for axis in case["axes"]}):
                points = sorted((case for case in cases if axis in case["axes"]), key=lambda case: (case["dtype"], case["sizes"][axis]))
                if len({case["sizes"][axis] for case in points}) > 1:
                    words = _AXES[axis]
                    name = f"{stem}-{op}-by-{words.split()[-1]}.svg"
                    drawn[name] = svg_on_white(_curves_figure(op, axis, points)), f"{op} on {device}: time and extra memory against {words}"
    return drawn


def _looks(names: Iterable[str], cases: list[dict]) -> dict[str, dict]:
    """Colour and mark of each candidate, the same in every picture for the common ones; limits and dense models are grey."""
    roles = {name: row["role"] for case in cases for name, row in case["rows"].items()}
    looks, spare = {}, iter(zip(_MORE_COLOURS, _MORE_MARKS, strict=True))
    greys = iter(("|", "x", "+", "_"))
    for name in names:
        if roles[name] in (LIMIT, DENSE):
            looks[name] = {"color": SOFT, "marker": next(greys, "1")}
        elif name in _COLOURS:
            looks[name] = {"color": _COLOURS[name], "marker": _MARKS[name]}
        else:
            colour, mark = next(spare, (SOFT, "."))
            looks[name] = {"color": colour, "marker": mark}
    return looks


def _names(cases: list[dict]) -> list[str]:
    return list(dict.fromkeys(name for case in cases for name in case["rows"]))


def _shapes_figure(op: str, cases: list[dict]) -> "Figure":
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    rows = len(cases)
    figure = new_figure(_WIDTH_INCHES, 1.5 + 0.25 * rows)
    axes = figure.subplots()
    looks = _looks(_names(cases), cases)
    axes.axvspan(1e-6, 1, color=EMPTY, linewidth=0)
    axes.axvline(1, color=_COLOURS["pydisp"], linewidth=1)
    values = [1.0]
    for name, look in looks.items():
        points = [(case["rows"][name]["ratio"], place) for place, case in enumerate(cases) if name in case["rows"]]
        points = [(ratio, place) for ratio, place in points if ratio is not None]
        values += [ratio for ratio, _ in points]
        if points:
            size = 60 if look["color"] == SOFT else 30
            axes.scatter(*zip(*points, strict=True), label=name, s=size, color=look["color"], marker=look["marker"], zorder=3)
    axes.set_xscale("log")
    axes.set_xlim(min(values) / 1.25, max(values) * 1.25)
    axes.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}×"))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set_yticks(range(rows), [f"{case['name']}, {case['dtype']}" for case in cases])
    axes.set_ylim(rows - 0.4, -0.6)
    axes.set_xlabel("time ÷ pydisp's (log scale); in the grey half something is faster")
    axes.grid(axis="both")
    axes.tick_params(length=0, which="both")
    figure.suptitle(op, x=0.01, ha="left", fontsize=11, weight="bold")
    figure.legend(loc="outside lower center", ncols=4)
    return figure


def _curves_figure(op: str, axis: str, cases: list[dict]) -> "Figure":
    dtypes = list(dict.fromkeys(case["dtype"] for case in cases))
    figure = new_figure(_WIDTH_INCHES, 0.9 + 2.7 * len(dtypes))
    grid = figure.subplots(len(dtypes), 2, squeeze=False)
    looks = _looks(_names(cases), cases)
    for (left, right), dtype in zip(grid, dtypes, strict=True):
        points = [case for case in cases if case["dtype"] == dtype]
        _draw_curves(left, axis, points, looks, "median_ms", 0)
        left.set_title(f"time, {dtype}")
        left.set_ylabel("ms")
        _draw_curves(right, axis, points, looks, "extra_mib", _SMALLEST_MIB)
        right.set_title(f"extra memory, {dtype}")
        right.set_ylabel(f"MiB (at least {_SMALLEST_MIB:g} drawn)")
    for axes in grid[-1]:
        axes.set_xlabel(_AXES[axis])
    handles = {label: handle for axes in grid.flat for handle, label in zip(*axes.get_legend_handles_labels(), strict=True)}
    ordered = [name for name in looks if name in handles]
    figure.legend([handles[name] for name in ordered], ordered, loc="outside lower center", ncols=4)
    figure.suptitle(f"{op} against {_AXES[axis]}", x=0.01, ha="left", fontsize=11, weight="bold")
    return figure


def _draw_curves(axes: "Axes", axis: str, cases: list[dict], looks: dict[str, dict], figure_of: str, least: float) -> None:
    from matplotlib.ticker import FixedLocator, FuncFormatter, LogFormatter, NullLocator

    ticks = sorted({case["sizes"][axis] for case in cases})
    for name, look in looks.items():
        rows = [(case["sizes"][axis], case["rows"][name]) for case in cases if name in case["rows"]]
        points = [(x, max(row[figure_of], least)) for x, row in rows if figure_of in row and row["is_right"] is not False]
        if points:
            is_ours = name.startswith("pydisp")
            axes.plot(
                *zip(*points, strict=True), label=name, linewidth=2.2 if is_ours else 1.2, markersize=5,
                linestyle="--" if look["color"] == SOFT else "-", zorder=3 if is_ours else 2, **look,
            )  # fmt: skip
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.xaxis.set_major_locator(FixedLocator(ticks))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,g}"))
    axes.yaxis.set_minor_formatter(LogFormatter(minor_thresholds=(1.5, 0.4)))  # labels 20, 30, ... if the axis shows few powers of ten
    axes.tick_params(axis="x", labelrotation=30 if len(ticks) > 4 else 0)
    axes.grid(axis="both")
    axes.tick_params(length=0, which="both")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--results", type=Path, default=ROOT / "bench" / "results")
    parser.add_argument("--docs", type=Path, default=ROOT / "docs")
    args = parser.parse_args()
    try:
        page = write_page(args.results, args.docs)
    except ValueError as problem:
        parser.exit(1, f"{problem}\n")
    print(page)


if __name__ == "__main__":
    main()
