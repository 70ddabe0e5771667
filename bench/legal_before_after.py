"""What pruning or further training does to attention on legal concepts; the tables and maps of docs/legal_probe.md.

    python bench/legal_before_after.py smollm2 --pair "disp 0.7=OUT/0.7-disp,MODEL" --pair "disp 0.5=OUT/0.5-disp,MODEL"
    python bench/legal_before_after.py trained --pair "legal=OUT/legal-0,OUT/other-0" --pair "legal=OUT/legal-1,OUT/other-1"
    python bench/legal_before_after.py smollm2 --draw                  # table and maps again from the results, without any work

A pair is a model and its reference; pairs of one label are runs of one experiment with different seeds. Every model reads the shipped passages
once. The figures go to bench/results/legal-probe-NAME.json, a map of the differences by head of each label to --maps, where it is given.
"""

import argparse
import json
import shlex
import sys
from pathlib import Path

import numpy as np
from machine import ROOT, describe

from pydisp.workspace import write_whole

MOMENTS = ("mean", "skewness", "kurtosis", "entropy")


def parsed(pairs: list[str]) -> dict[str, list[tuple[str, str]]]:
    """By label the (model, reference) of each run.

    Raises: ValueError for a pair of another form.
    """
    found: dict[str, list[tuple[str, str]]] = {}
    for pair in pairs:
        label, _, models = pair.partition("=")
        model, _, reference = models.partition(",")
        if not (label and model and reference):
            raise ValueError(f"--pair is {pair!r}; it must be LABEL=MODEL,REFERENCE.")
        found.setdefault(label, []).append((model, reference))
    return found


def of_model(found) -> dict:
    """By concept the figures of one model."""
    return {
        name: {
            "share": one.share.value, "enrichment": one.enrichment.value, "by_chance": one.chance.enrichment,
            "percentile": one.percentile.value, "percentile_interval": one.percentile.interval, "p": one.percentile.p,
            "heads_found": int(one.found.sum()), "heads_above": int((one.found & (one.head_percentile > 0.5)).sum()), "heads": len(one.q),
            "sink": one.sink, "entropy": one.entropy,
        }
        for name, one in found.figures.items()
    }  # fmt: skip


def of_pair(compared) -> dict:
    """One concept of one pair."""
    return {
        "share": compared.share.as_dict(), "percentile": compared.percentile.as_dict(), "enrichment": compared.enrichment.as_dict(),
        "heads_that_differ": int(compared.found.sum()), "heads": len(compared.heads),
        "moments": {name: getattr(compared.moments, name) for name in MOMENTS},
        "heads_that_stand_out": [
            {"layer": one.layer, "head": one.head, "found": one.found, "tried": one.tried, "p": one.p} for one in compared.standing_out if one.holds
        ],
        "head_share": [[layer, head, float(value), float(q)] for (layer, head), value, q in zip(compared.heads, compared.head_share, compared.head_q, strict=True)],
    }  # fmt: skip


def over_runs(values: list[float]) -> dict:
    """Mean of runs and Student's 95 % interval; None for one run."""
    from scipy import stats

    mean = float(np.mean(values))
    if len(values) < 2:
        return {"mean": mean, "interval": None, "runs": values}
    reach = float(stats.t.ppf(0.975, len(values) - 1) * np.std(values, ddof=1) / np.sqrt(len(values)))
    return {"mean": mean, "interval": [mean - reach, mean + reach], "runs": values}


def measured(labels: dict[str, list[tuple[str, str]]], queries: str) -> dict:
    from pydisp.legal_probe import probe
    from pydisp.legal_probe.comparison import compare
    from pydisp.progress import on_stderr

    probes: dict[str, object] = {}

    def read(name: str):
        if name not in probes:
            probes[name] = probe(name, queries=queries, say=on_stderr)
        return probes[name]

    result = {}
    for label, pairs in labels.items():
        runs = []
        for model, reference in pairs:
            mine, its = read(model), read(reference)
            compared = {name: compare(mine.reading, its.reading, name) for name in mine.figures}
            runs.append(
                {
                    "model": mine.model, "reference": its.model, "figures": of_model(mine), "reference_figures": of_model(its),
                    "difference": {name: of_pair(one) for name, one in compared.items()},
                }
            )  # fmt: skip
        concepts = runs[0]["difference"]
        result[label] = {
            "runs": runs,
            "share": {name: over_runs([run["difference"][name]["share"]["mean"] for run in runs]) for name in concepts},
            "percentile": {name: over_runs([run["difference"][name]["percentile"]["mean"] for run in runs]) for name in concepts},
        }
    return result


def tables(record: dict) -> str:
    """Markdown: the models against chance, then a table of differences for each label."""
    seen: dict[str, dict] = {}
    for one in record["labels"].values():
        for run in one["runs"]:
            seen.setdefault(run["reference"], run["reference_figures"])
            seen.setdefault(run["model"], run["figures"])
    concepts = list(next(iter(seen.values())))
    lines = ["percentile among null spans (p; heads above and below chance of all)", ""]
    lines += ["| | " + " | ".join(seen) + " |", "| --- |" + " ---: |" * len(seen)]
    for name in concepts:
        cells = [
            f"{f[name]['percentile']:.2f} ({_p(f[name]['p'])}; {f[name]['heads_above']}, {f[name]['heads_found'] - f[name]['heads_above']} of {f[name]['heads']})"
            for f in seen.values()
        ]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    for label, one in record["labels"].items():
        first, many = one["runs"][0], len(one["runs"]) > 1
        lines += ["", f"{label}: {first['model']} minus {first['reference']}" + (f", {len(one['runs'])} runs" if many else ""), ""]
        lines += [
            "| | share | difference | percentile, difference | heads that differ | skewness | kurtosis | entropy |",
            "| --- |" + " ---: |" * 7,
        ]
        for name in concepts:
            difference = first["difference"][name]
            share, percentile = (_runs(one[what][name]) if many else _estimate(difference[what]) for what in ("share", "percentile"))
            heads = " ".join(str(run["difference"][name]["heads_that_differ"]) for run in one["runs"])
            moments = difference["moments"]
            lines.append(
                f"| {name} | {first['reference_figures'][name]['share']:.4f} | {share} | {percentile} | {heads} of {difference['heads']} | "
                f"{moments['skewness']:+.2f} | {moments['kurtosis']:.1f} | {moments['entropy']:.2f} |"
            )
    return "\n".join(lines)


def write_maps(record: dict, name: str, folder: Path) -> None:
    """An SVG a label: the difference of the share in each head, mean over the runs; marked where it is found in more than half of them."""
    from pydisp.legal_probe.head_map import HeadMap, difference_scale, head_maps

    folder.mkdir(parents=True, exist_ok=True)
    for label, one in record["labels"].items():
        maps = []
        for concept in one["share"]:
            rows = np.array([run["difference"][concept]["head_share"] for run in one["runs"]])  # (R, G, 4)
            is_found = (rows[:, :, 3] <= 0.05).mean(0) > 0.5
            maps.append(HeadMap(concept, rows[0, :, 0].astype(int), rows[0, :, 1].astype(int), 100 * rows[:, :, 2].mean(0), is_found))
        text = head_maps(maps, difference_scale, "difference of the share, percentage points", on_white=True)
        write_whole(folder / f"legal-probe-{name}-{label.replace(' ', '-')}.svg", text)


def _p(p: float) -> str:
    return "p < 0.001" if p < 0.001 else f"p = {p:.3f}"


def _estimate(one: dict) -> str:
    low, high = one["interval"]
    return f"{one['mean']:+.4f} ({low:+.4f} to {high:+.4f}), {_p(one['p'])}"


def _runs(one: dict) -> str:
    low, high = one["interval"]
    return f"{one['mean']:+.4f} ({low:+.4f} to {high:+.4f}): " + " ".join(f"{value:+.4f}" for value in one["runs"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", help="of the results file")
    parser.add_argument("--pair", action="append", default=[], metavar="LABEL=MODEL,REFERENCE")
    parser.add_argument("--queries", default="all", choices=("all", "later"))
    parser.add_argument("--results", type=Path, default=ROOT / "bench" / "results")
    parser.add_argument("--note", default="", help="how the models were made")
    parser.add_argument("--maps", type=Path, help="folder for the maps, such as docs")
    parser.add_argument("--draw", action="store_true", help="only the tables of results that are there")
    args = parser.parse_args()
    file = args.results / f"legal-probe-{args.name}.json"
    try:
        if not args.draw:
            labels = parsed(args.pair)
            if not labels:
                raise ValueError("there is no pair; give one or more --pair LABEL=MODEL,REFERENCE.")
            shown = [f"{label}={Path(model).name},{Path(reference).name}" for label, pairs in labels.items() for model, reference in pairs]
            command = [
                "python",
                "bench/legal_before_after.py",
                args.name,
                *(word for one in shown for word in ("--pair", one)),
                "--queries",
                args.queries,
            ]
            record = {
                "command": shlex.join(command),
                "note": args.note,
                "machine": describe("cpu"),
                "labels": measured(labels, args.queries),
            }
            write_whole(file, json.dumps(record, indent=1, default=float) + "\n")
        record = json.loads(file.read_text(encoding="utf-8"))
        print(tables(record))
        if args.maps:
            write_maps(record, args.name, args.maps)
    except (OSError, ValueError) as error:
        sys.exit(f"legal_before_after: {error}")


if __name__ == "__main__":
    main()
