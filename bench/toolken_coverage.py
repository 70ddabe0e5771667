"""How often the intervals of pydisp.toolken.evaluating hold, on simulated answers: python bench/toolken_coverage.py --out bench/results

- shares: right or wrong answers of 2 to 300 groups of one, three, or one to five problems under three seeds, with true shares of 0.005 to 0.995; problems of a
  group agree by 0 to 1, seeds by a half or fully; beside them the bootstrap of groups, which has no width where all agree;
- shares with seeds: each seed of the training has a share of its own, and the interval with seeds is to hold the mean of all seeds there could be;
- differences: two modes that differ in some problems only, and one less half the other;
- areas under ROC curves of 5 to 300 groups: scores of normal distributions, rounded to whole numbers or not, of which a thirtieth, a fifth or a half of the
  groups are positive, in some cases a tenth of these below all others;
- p-values where two modes are interchangeable;
- claims: how often each holds where it is barely false, and where it is true.

It takes a minute or two on one thread. Prints one JSON object.
"""

import argparse
import json
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import machine  # makes this checkout's pydisp the one that is imported
import numpy as np
from scipy.special import ndtr, ndtri

from pydisp.intervals import Ratio, Resamples
from pydisp.toolken.evaluating.claims import FAILS, HOLDS, claims
from pydisp.toolken.evaluating.estimates import area, difference, difference_interval, share, share_interval
from pydisp.toolken.evaluating.figures import figures
from pydisp.toolken.evaluating.outcomes import Outcome

GROUPS = (2, 5, 10, 20, 60, 300)
SIZES = ((1,), (3,), (1, 2, 3, 4, 5))  # problems of a group; one of them is taken for each group
SHARES = (0.005, 0.02, 0.1, 0.3, 0.5, 0.8, 0.95, 0.98, 0.995)
AGREEMENTS = (0.0, 0.4, 0.8, 1.0)  # of problems of one group
SEED_AGREEMENTS = (0.5, 1.0)
SEEDS = 3


def cases() -> Iterator[dict]:
    """Groups, sizes, agreement of a group and of seeds; with one problem a group there is no agreement within it."""
    for groups in GROUPS:
        for sizes in SIZES:
            for agreement in AGREEMENTS if len(sizes) > 1 or sizes[0] > 1 else (0.0,):
                for of_seeds in SEED_AGREEMENTS:
                    yield {"groups": groups, "sizes": sizes, "agreement": agreement, "seed_agreement": of_seeds}


def grouped(generator: np.random.Generator, case: dict) -> np.ndarray:
    """(N,) the group of each problem."""
    return np.repeat(np.arange(case["groups"]), generator.choice(case["sizes"], case["groups"]))


def places(generator: np.random.Generator, case: dict, group: np.ndarray) -> np.ndarray:
    """(S, N) uniform places: a problem is answered right where its place lies below the share; group and seeds share some of them."""
    of_group, of_problem = generator.random(case["groups"])[group], generator.random(len(group))
    shared = np.where(generator.random(len(group)) < np.sqrt(case["agreement"]), of_group, of_problem)
    own = generator.random((SEEDS, len(group)))
    return np.where(generator.random((SEEDS, len(group))) < np.sqrt(case["seed_agreement"]), shared, own)


def by_group(values: np.ndarray, group: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return np.bincount(group, weights=values), np.bincount(group).astype(np.float64)


def shares(repeats: int) -> dict:
    """How often the interval of a share holds the true one."""
    every = [{**case, "share": value} for case in cases() for value in SHARES]
    return summed(every, share_case, repeats, np.random.default_rng(0))


def share_case(generator: np.random.Generator, case: dict, repeats: int) -> dict:
    held, width = 0, 0.0
    for _ in range(repeats):
        group = grouped(generator, case)
        low, high = share_interval(*by_group((places(generator, case, group) < case["share"]).mean(0), group))
        held += low <= case["share"] <= high
        width += high - low
    return {"coverage": held / repeats, "width": width / repeats}


def bootstrap(repeats: int) -> list[dict]:
    """The studentized bootstrap of groups in some of the same cases."""
    generator = np.random.default_rng(1)
    rows = []
    for groups in (10, 60):
        for value in (0.02, 0.5, 0.98):
            case = {"groups": groups, "sizes": (3,), "agreement": 0.8, "seed_agreement": 0.5}
            held = 0
            for seed in range(repeats):
                group = grouped(generator, case)
                sums, counts = by_group((places(generator, case, group) < value).mean(0), group)
                _, interval, _ = Resamples(groups, seed).interval([Ratio(sums, counts)])
                held += interval is not None and interval[0] <= value <= interval[1]
            rows.append({**case, "share": value, "coverage": held / repeats})
    return rows


def shares_with_seeds(repeats: int) -> list[dict]:
    """How often each interval holds the mean share of all seeds, where the share of a seed varies by so much, normally or evenly between two ends."""
    generator = np.random.default_rng(2)
    rows = []
    for groups in (20, 60, 300):
        for value in (0.1, 0.5, 0.9):
            for spread, shape in ((0.0, "none"), (0.03, "normal"), (0.1, "normal"), (0.1, "even")):
                case = {"groups": groups, "sizes": (1, 2, 3), "agreement": 0.5, "seed_agreement": 0.7}
                deviation = min(spread, 0.3 * min(value, 1 - value))  # no share beyond 0 or 1
                found = np.zeros(2)
                for _ in range(repeats):
                    group = grouped(generator, case)
                    draw = generator.standard_normal((SEEDS, 1)) if shape == "normal" else generator.uniform(-(3**0.5), 3**0.5, (SEEDS, 1))
                    one = share(places(generator, case, group) < value + deviation * draw, group.tolist())
                    found += [low <= value <= high for low, high in (one.interval, one.interval_with_seeds)]
                over_groups, with_seeds = (found / repeats).tolist()
                rows.append(
                    {
                        "groups": groups,
                        "share": value,
                        "spread": deviation,
                        "shape": shape,
                        "over_groups": over_groups,
                        "with_seeds": with_seeds,
                    }
                )
    return rows


def differences(repeats: int) -> dict:
    """How often the interval of a difference holds the true one: the second mode has new answers, at 0.6 of the share, in some problems."""
    every = [
        {**case, "share": value, "changed": changed} for case in cases() for value in (0.05, 0.5, 0.95) for changed in (0.02, 0.1, 0.5, 1.0)
    ]
    return summed(every, difference_case, repeats, np.random.default_rng(3))


def difference_case(generator: np.random.Generator, case: dict, repeats: int) -> dict:
    held, width, truth = 0, 0.0, -0.4 * case["share"] * case["changed"]
    for _ in range(repeats):
        group = grouped(generator, case)
        first = places(generator, case, group) < case["share"]
        is_changed = np.where(
            generator.random(len(group)) < np.sqrt(case["agreement"]), generator.random(case["groups"])[group], generator.random(len(group))
        ) < case["changed"]  # fmt: skip
        second = np.where(is_changed, places(generator, case, group) < 0.6 * case["share"], first)
        low, high = difference_interval(*by_group((second.astype(float) - first).mean(0), group))
        held += low <= truth <= high
        width += high - low
    return {"coverage": held / repeats, "width": width / repeats}


def areas(repeats: int) -> dict:
    """How often the interval of an AUROC holds the true one: normal scores whose means lie apart; of rounded ones many are equal; of some positive groups
    all lie below all others, as where one tool never fires."""
    every = [
        {**case, "area": value, "positive": positive, "is_rounded": is_rounded, "failing": failing}
        for case in cases() if case["groups"] >= 5 and case["seed_agreement"] < 1
        for value in (0.5, 0.6, 0.75, 0.9, 0.97, 0.99) for positive in (0.03, 0.2, 0.5) for is_rounded, failing in ((False, 0.0), (True, 0.0), (False, 0.1))
    ]  # fmt: skip
    return summed(every, area_case, repeats, np.random.default_rng(7))


def area_case(generator: np.random.Generator, case: dict, repeats: int) -> dict:
    """Two groups of either kind or more."""
    apart = float(ndtri(case["area"])) * 2**0.5
    held, width, truth = 0, 0.0, case["area"]
    if case["is_rounded"]:
        edges = np.arange(-8, 12) - 0.5
        negative, positive = np.diff(ndtr(edges)), np.diff(ndtr(edges - apart))
        truth = float((positive * (np.cumsum(negative) - negative / 2)).sum())
    truth *= 1 - case["failing"]
    for _ in range(repeats):
        group = grouped(generator, case)
        positives = min(max(2, round(case["positive"] * case["groups"])), case["groups"] - 2)
        is_positive = (generator.permutation(case["groups"]) < positives)[group]
        within, of_seeds = case["agreement"], case["seed_agreement"]
        shared = within**0.5 * generator.standard_normal(case["groups"])[group] + (1 - within) ** 0.5 * generator.standard_normal(
            len(group)
        )
        scores = of_seeds**0.5 * shared + (1 - of_seeds) ** 0.5 * generator.standard_normal((SEEDS, len(group))) + apart * is_positive
        scores[:, (generator.random(case["groups"]) < case["failing"])[group] & is_positive] = -10
        low, high = area(np.round(scores) if case["is_rounded"] else scores, is_positive, group.tolist()).interval
        held += low <= truth <= high
        width += high - low
    return {"coverage": held / repeats, "width": width / repeats}


def halves(repeats: int) -> list[dict]:
    """How often the interval of one share less half another holds."""
    generator = np.random.default_rng(4)
    rows = []
    for groups in (10, 40, 100):
        for first, second in ((0.02, 0.1), (0.1, 0.2), (0.1, 0.6), (0.3, 0.6), (0.0, 0.3)):
            case = {"groups": groups, "sizes": (1, 2), "agreement": 0.5, "seed_agreement": 0.7}
            held = 0
            for _ in range(repeats):
                group = grouped(generator, case)
                place = places(generator, case, group)
                low, high = difference(place < first, place < second, group.tolist(), factor=0.5).interval
                held += low <= first - 0.5 * second <= high
            rows.append({"groups": groups, "first": first, "second": second, "coverage": held / repeats})
    return rows


def no_difference(repeats: int) -> list[dict]:
    """How often p is 0.05 or less where two modes are interchangeable."""
    generator = np.random.default_rng(5)
    rows = []
    for groups in (10, 40):
        for value in (0.05, 0.5):
            case = {"groups": groups, "sizes": (3,), "agreement": 0.4, "seed_agreement": 0.7}
            ps = []
            for seed in range(repeats):
                group = grouped(generator, case)
                both = [places(generator, case, group) < value for _ in range(2)]
                ps.append(difference(*both, group.tolist(), seed=seed).p)
            rows.append({"groups": groups, "share": value, "p_up_to_0.05": float(np.mean(np.array(ps) <= 0.05))})
    return rows


def claims_tried(repeats: int) -> list[dict]:
    """How often claims hold, or do not, where unneeded calls are just half as many and accuracies equal (false as often as true), and where they are a fifth."""
    generator = np.random.default_rng(6)
    rows = []
    for count in (60, 200):
        for name, fewer, gain in (
            ("on the border", 0.5, 0.0),
            ("a fifth, equal", 0.2, 0.0),
            ("a fifth, better", 0.2, 0.05),
            ("a fifth, worse", 0.2, -0.1),
        ):
            found: dict[str, list[int]] = {}
            for _ in range(repeats):
                for claim in claims(
                    figures([], {}, _simulated(generator, count, 0.6 * np.array([1.0, fewer]), 0.4 + np.array([0.0, gain])), k=1)
                ):
                    if claim.name != "half_unneeded":
                        continue
                    counts = found.setdefault(claim.name, [0, 0])
                    counts[0] += claim.verdict == HOLDS
                    counts[1] += claim.verdict == FAILS
            rows.append(
                {
                    "problems": count,
                    "truth": name,
                    **{claim: {"holds": a / repeats, "does not": b / repeats} for claim, (a, b) in found.items()},
                }
            )
    return rows


def _simulated(generator: np.random.Generator, count: int, unneeded: np.ndarray, accuracy: np.ndarray) -> list[Outcome]:
    """Answers of a third of problems without a tool; both modes share most of what decides them."""
    found = []
    for number in range(count):
        needs = number % 3 != 0
        called, right = generator.random(), generator.random()
        for mode, call, level in zip(("toolkengpt", "calibrated"), unneeded, accuracy, strict=True):
            for seed in range(SEEDS):
                is_called = needs or (called if generator.random() < 0.8 else generator.random()) < call
                is_right = (right if generator.random() < 0.9 else generator.random()) < level
                steps = ({"outcome": "called"},) if is_called else ()
                gold = ("add",) if needs else ()
                found.append(
                    Outcome(f"p{number}", f"g{number // 2}", mode, seed, gold, "", "", "1", bool(is_right), bool(is_right), steps=steps)
                )
    return found


def summed(every: list[dict], simulate: Callable, repeats: int, generator: np.random.Generator) -> dict:
    """Averages over the cases, and by number of groups; the least covered ones are simulated again, twenty times as often."""
    rows = [{**case, **simulate(generator, case, repeats)} for case in every]
    least = sorted(range(len(rows)), key=lambda place: rows[place]["coverage"])[:8]
    again = [{**rows[place], "coverage_again": simulate(generator, every[place], 20 * repeats)["coverage"]} for place in least]
    return {
        "cases": len(rows),
        "repeats": repeats,
        "all": part(rows),
        "by_groups": {groups: part(of) for groups in GROUPS if (of := [one for one in rows if one["groups"] == groups])},
        "least_covered": again,
        "lowest_again": min(one["coverage_again"] for one in again),
    }


def part(rows: list[dict]) -> dict:
    coverage = [one["coverage"] for one in rows]
    return {
        "coverage": float(np.mean(coverage)), "lowest": min(coverage), "below_0.93": float(np.mean([one < 0.93 for one in coverage])),
        "width": float(np.mean([one["width"] for one in rows])),
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=200, help="simulated evaluations a case")
    parser.add_argument("--out", type=Path, help="folder for toolken-coverage.json")
    args = parser.parse_args()
    repeats = args.repeats
    start = time.perf_counter()
    found = {
        "shares": shares(repeats),
        "bootstrap_of_groups": bootstrap(repeats),
        "shares_with_seeds": shares_with_seeds(3 * repeats),
        "differences": differences(max(1, repeats // 2)),
        "areas": areas(repeats),
        "less_half": halves(repeats),
        "p_without_difference": no_difference(repeats),
        "claims": claims_tried(max(1, repeats // 8)),
    }
    record = {"command": f"python bench/toolken_coverage.py --repeats {repeats}", "machine": machine.describe("cpu"), **found}
    print(json.dumps(record, indent=1))
    if args.out:
        (args.out / "toolken-coverage.json").write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    print(f"{time.perf_counter() - start:.0f} seconds", file=sys.stderr)


if __name__ == "__main__":
    main()
