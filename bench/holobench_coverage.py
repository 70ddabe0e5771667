"""How often the intervals of pydisp.holobench hold, on simulated scores: python bench/holobench_coverage.py --out bench/results

- means: yes-or-no scores, F1-like ones (0, 1 and what lies between), narrow ones, and ones that are nearly all right (or wrong) with rare
  failures, of 2 to 60 draws with 1 to 5 items each, which are correlated within a draw by 0 to 0.8, with true means of 0.02 to 0.98; beside
  them Student's interval of the jackknife;
- differences: two models that differ in some draws and items only; and p-values where they do not differ;
- ratios: lengths that keep exactly 85 % are called held or lost by chance only;
- claims: where nothing is true of the scores, and where it is.

It takes a minute or two on one thread. Prints one JSON object.
"""

import argparse
import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import machine  # makes this checkout's pydisp the one that is imported
import numpy as np

from pydisp.holobench.figures.effective_length import KEPT, ratio_interval
from pydisp.holobench.figures.estimates import difference_of, jackknife_estimate, left_out, mean_of
from pydisp.intervals import Resamples

KINDS = ("binary", "f1", "narrow", "failing")
DRAWS = (2, 5, 10, 20, 60)
SIZES = ((1,), (5,), (1, 2, 3, 4, 5))  # items of a draw; one of them is taken for each draw
CORRELATIONS = (0.0, 0.4, 0.8)
MEANS = (0.02, 0.1, 0.3, 0.5, 0.8, 0.95, 0.98)


def scores(generator: np.random.Generator, kind: str, mean: float, shape: tuple[int, ...]) -> np.ndarray:
    """Independent scores in [0, 1] of the given mean."""
    if kind == "binary":
        return (generator.random(shape) < mean).astype(np.float64)
    if kind == "narrow":
        return generator.beta(30 * mean, 30 * (1 - mean), shape)
    if kind == "failing":
        return failing(generator, mean, shape) if mean >= 0.5 else 1 - failing(generator, 1 - mean, shape)
    between = 0.6 * min(1, mean / 0.55, (1 - mean) / 0.45)  # how many lie between 0 and 1; their mean is 0.55
    ones = mean - 0.55 * between
    place = generator.random(shape)
    return np.where(place < ones, 1.0, np.where(place < ones + between, generator.uniform(0.2, 0.9, shape), 0.0))


def failing(generator: np.random.Generator, mean: float, shape: tuple[int, ...]) -> np.ndarray:
    """1, often 0.9, and seldom 0."""
    nearly = min(0.3, 5 * (1 - mean))  # how many of those that do not fail have 0.9
    successes = mean / (1 - 0.1 * nearly)
    return np.where(generator.random(shape) < successes, np.where(generator.random(shape) < nearly, 0.9, 1.0), 0.0)


def clustered(generator: np.random.Generator, kind: str, mean: float, correlation: float, shape: tuple[int, int]) -> np.ndarray:
    """(draws, items) scores: each item has, with the root of the correlation as probability, a score that its draw shares."""
    own, shared = scores(generator, kind, mean, shape), scores(generator, kind, mean, (shape[0], 1))
    return np.where(generator.random(shape) < np.sqrt(correlation), shared, own)


def cases() -> Iterator[dict]:
    """Kind of scores, draws, items, correlation; with one item a draw there is no correlation."""
    for kind in KINDS:
        for draws in DRAWS:
            for sizes in SIZES:
                for correlation in CORRELATIONS if len(sizes) > 1 or sizes[0] > 1 else (0.0,):
                    yield {"scores": kind, "draws": draws, "items": sizes, "correlation": correlation}


def means(repeats: int) -> dict:
    """How often the interval of a mean holds the true one."""
    every = [{**case, "mean": mean} for case in cases() for mean in MEANS]
    found = summed(every, mean_case, repeats, np.random.default_rng(0))
    student = [one["student"] for one in found.pop("rows")]
    return found | {"student": {"average": float(np.mean(student)), "lowest": min(student)}}


def mean_case(generator: np.random.Generator, case: dict, repeats: int) -> dict:
    held, student, width = 0, 0, 0.0
    for _ in range(repeats):
        counts, is_there = items(generator, case)
        values = clustered(generator, case["scores"], case["mean"], case["correlation"], is_there.shape)
        sums = (values * is_there).sum(1)
        low, high = mean_of(sums, counts).interval
        held += low <= case["mean"] <= high
        width += high - low
        low, high = jackknife_estimate(sums.sum() / counts.sum(), left_out(sums, counts)).interval
        student += low <= case["mean"] <= high
    return {"coverage": held / repeats, "student": student / repeats, "width": width / repeats}


def differences(repeats: int) -> dict:
    """How often the interval of a difference holds the true one: the second model has new scores, of 0.6 of the mean, in some items."""
    every = [
        {**case, "mean": mean, "changed": changed} for case in cases() for mean in (0.05, 0.5, 0.95) for changed in (0.02, 0.1, 0.5, 1.0)
    ]
    found = summed(every, difference_case, repeats, np.random.default_rng(1))
    del found["rows"]
    return found


def difference_case(generator: np.random.Generator, case: dict, repeats: int) -> dict:
    held, width = 0, 0.0
    truth = -0.4 * case["mean"] * case["changed"]
    for _ in range(repeats):
        counts, is_there = items(generator, case)
        both = (clustered(generator, case["scores"], one * case["mean"], case["correlation"], is_there.shape) for one in (1.0, 0.6))
        change = [-1, 1] @ np.stack(list(both), 1)
        is_shared = generator.random(is_there.shape) < np.sqrt(case["correlation"])
        place = np.where(is_shared, generator.random((case["draws"], 1)), generator.random(is_there.shape))
        low, high = difference_of((change * is_there * (place < case["changed"])).sum(1), counts).interval
        held += low <= truth <= high
        width += high - low
    return {"coverage": held / repeats, "width": width / repeats}


def items(generator: np.random.Generator, case: dict) -> tuple[np.ndarray, np.ndarray]:
    """(D,) how many items each draw has, and (D, most) which of them are there."""
    counts = generator.choice(case["items"], case["draws"]).astype(np.float64)
    return counts, np.arange(max(case["items"])) < counts[:, None]


def summed(every: list[dict], simulate, repeats: int, generator: np.random.Generator) -> dict:
    """Averages over the cases, by kind of scores and by number of draws too; the least covered ones are simulated again, ten times as often."""
    rows = [{**case, **simulate(generator, case, repeats)} for case in every]
    least = sorted(range(len(rows)), key=lambda place: rows[place]["coverage"])[:5]
    again = [{**rows[place], "coverage_again": simulate(generator, every[place], 10 * repeats)["coverage"]} for place in least]
    return {
        "cases": len(rows),
        "repeats": repeats,
        "all": part(rows),
        "by_scores": {kind: part([one for one in rows if one["scores"] == kind]) for kind in KINDS},
        "by_draws": {draws: part([one for one in rows if one["draws"] == draws]) for draws in DRAWS},
        "least_covered": again,
        "rows": rows,
    }


def part(rows: list[dict]) -> dict:
    coverage, widths = ([one[name] for one in rows] for name in ("coverage", "width"))
    below = float(np.mean([one < 0.93 for one in coverage]))
    return {"coverage": float(np.mean(coverage)), "lowest": min(coverage), "below_0.93": below, "width": float(np.mean(widths))}


def no_difference(repeats: int) -> list[dict]:
    """How often p is 0.05 or less where two models are interchangeable."""
    generator = np.random.default_rng(2)
    rows = []
    for kind in KINDS[:3]:
        for draws in (10, 20):
            ps = []
            for seed in range(repeats):
                first, second = (clustered(generator, kind, 0.6, 0.4, (draws, 3)) for _ in range(2))
                ps.append(difference_of((first - second).sum(1), np.full(draws, 3.0), Resamples(draws, seed)).p)
            rows.append({"scores": kind, "draws": draws, "p_up_to_0.05": float(np.mean(np.array(ps) <= 0.05))})
    return rows


def ratios(repeats: int) -> list[dict]:
    """Verdicts on a length that keeps exactly 85 %, and on one that keeps all; scores of a draw are correlated by 0.4 over lengths."""
    generator = np.random.default_rng(3)
    rows = []
    for kind in KINDS[:3]:
        for draws in (5, 18, 60):
            for kept in (KEPT, 1.0):
                found = {"held": 0, "lost": 0, "holds_truth": 0, "repeats": 0}
                for _ in range(repeats):
                    mean = 0.6
                    is_shared = generator.random((draws, 2)) < np.sqrt(0.4)
                    place, own = generator.random((draws, 1)), generator.random((draws, 2))
                    levels = np.where(is_shared, place, own)  # equal places of both lengths in their distributions
                    both = [quantile(kind, length_mean, levels[:, column]) for column, length_mean in enumerate((mean, kept * mean))]
                    if both[0].sum() == 0:
                        continue
                    low, high = ratio_interval(both[1], both[0], np.ones(draws))
                    found["repeats"] += 1
                    found["held"] += low >= KEPT
                    found["lost"] += high is not None and high < KEPT
                    found["holds_truth"] += low <= kept and (high is None or kept <= high)
                count = found.pop("repeats")
                rows.append({"scores": kind, "draws": draws, "kept": kept, **{name: of / count for name, of in found.items()}})
    return rows


def quantile(kind: str, mean: float, levels: np.ndarray) -> np.ndarray:
    """Scores of the distributions of `scores` at the given levels between 0 and 1."""
    from scipy import stats

    if kind == "binary":
        return (levels < mean).astype(np.float64)
    if kind == "narrow":
        return stats.beta.ppf(1 - levels, 30 * mean, 30 * (1 - mean))
    between = 0.6 * min(1, mean / 0.55, (1 - mean) / 0.45)
    ones = mean - 0.55 * between
    return np.where(levels < ones, 1.0, np.where(levels < ones + between, 0.9 - 0.7 * (levels - ones) / between, 0.0))


def claims(repeats: int) -> list[dict]:
    """How often each claim is seen, or its opposite where it has one, for 18 and 54 draws of nine classes, four lengths, three amounts."""
    sys.path.insert(0, str(machine.ROOT / "tests"))
    from simulated_holobench import benchmark, scored

    from pydisp.holobench.figures.claims import OPPOSITE, SEEN
    from pydisp.holobench.figures.claims import claims as tried

    generator = np.random.default_rng(4)
    slopes = {"nothing": (0.0, 0.0), "both alike": (-0.05, -0.05), "amount": (-0.1, -0.03), "length": (-0.03, -0.1)}
    rows = []
    for draws in (18, 54):
        items = benchmark(draws, lengths=(512, 1024, 2048, 4096), amounts=(100, 200, 400))
        for truth, (of_amount, of_length) in slopes.items():
            counts: dict[str, list[int]] = {}
            for seed in range(repeats):
                class_effects = {} if truth == "nothing" else {"extreme": 0.3, "aggregate": -0.3}
                of_draw = {one.draw: 0.15 * generator.standard_normal() for one in items}
                found = []
                for one in items:
                    level = 0.6 + of_draw[one.draw] + class_effects.get(one.kind, 0.0)
                    level += of_amount * np.log2(one.amount / 200) + of_length * np.log2(one.length / 1024)
                    found.append(scored(one, float(generator.random() < np.clip(level, 0, 1))))
                for claim in tried(found, "f1", seed=seed):
                    pair = counts.setdefault(claim.name, [0, 0])
                    pair[0] += claim.verdict == SEEN
                    pair[1] += claim.verdict == OPPOSITE
            shown = {name: {"seen": seen / repeats, "opposite": other / repeats} for name, (seen, other) in counts.items()}
            del shown["class_differences"]["opposite"]  # no verdict of that claim
            rows.append({"draws": draws, "truth": truth, **shown})
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=200, help="simulated benchmarks a case")
    parser.add_argument("--out", type=Path, help="folder for holobench-coverage.json")
    args = parser.parse_args()
    repeats = args.repeats
    start = time.perf_counter()
    found = {
        "means": means(repeats),
        "differences": differences(max(1, repeats // 2)),
        "p_without_difference": no_difference(max(1, repeats // 2)),
        "ratios": ratios(max(1, repeats // 2)),
        "claims": claims(max(1, repeats // 8)),
    }
    record = {"command": f"python bench/holobench_coverage.py --repeats {repeats}", "machine": machine.describe("cpu"), **found}
    print(json.dumps(record, indent=1))
    if args.out:
        (args.out / "holobench-coverage.json").write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    print(f"{time.perf_counter() - start:.0f} seconds", file=sys.stderr)


if __name__ == "__main__":
    main()
