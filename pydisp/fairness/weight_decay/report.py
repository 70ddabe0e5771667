"""The report of a sweep: for each arm the loss by frequency over weight decay, gaps, paired differences, learning curves, the slope.

Every sentence follows from the figures: a change is said to be seen only if its interval over the seeds lies on one side of zero.
"""

import json
import math
from collections.abc import Mapping, Sequence

from pydisp.fairness.slope import LARGEST_READABLE_NATS, THEORY
from pydisp.fairness.weight_decay import pictures
from pydisp.fairness.weight_decay.figures import GAPS, TEXTS, ArmFigures, Replicates, label
from pydisp.fairness.weight_decay.pictures import Panel
from pydisp.fairness.weight_decay.settings import SweepSettings
from pydisp.report import Metric, Picture, Report, Section, Table

OUTCOME_FILE = "sweep.json"
_MEMORISED = 0.95  # accuracy on the train text
_WIDE = 3.0  # standard errors; with many replicates there are 2


def sweep_report(settings: SweepSettings, results: Sequence[Mapping], facts: Mapping) -> tuple[Report, dict]:
    """The report, and the same figures as plain values.

    Args:
        results: of all runs, as `TrainingRun.result` gives them.
        facts: of texts, versions and machine.
    """
    arms = [ArmFigures(name, arm, [run for run in results if run["arm"] == name]) for name, arm in settings.arms.items()]
    outcome = {
        "name": settings.name,
        "runs": {run["name"]: _run_as_dict(run) for run in results},
        "arms": {arm.name: arm.as_dict() for arm in arms},
    }
    report = Report(
        title=settings.name,
        summary=[sentence for arm in arms for sentence in _summary(arm)],
        metrics=[metric for arm in arms for metric in _headlines(arm)],
        sections=[*(_section(arm) for arm in arms), _method()],
        facts={"settings": settings.as_dict(), **facts},
    )
    return report, outcome


def outcome_text(outcome: dict) -> str:
    """The figures as the text of a JSON file; the same figures give the same bytes."""
    return json.dumps(outcome, indent=1, sort_keys=True, ensure_ascii=False, allow_nan=False) + "\n"


def _run_as_dict(run: Mapping) -> dict:
    kept = {name: run[name] for name in ("arm", "weight_decay", "seed", "steps", "parameters", "decayed_parameters", "learning_rate_sum", "decay_product", "diverged", "slope")}  # fmt: skip
    final = {
        text: {name: value for name, value in figures.items() if name not in ("bins", "parts")} for text, figures in run["final"].items()
    }
    return kept | {"final": final}


def _summary(arm: ArmFigures) -> list[str]:
    lines = []
    if arm.ended and len(arm.decays) < 2:
        lines.append(f"{arm.name}: only weight decay {arm.base:g} was trained to its end, so there is nothing to compare it with.")
    elif arm.ended:
        lines += [_seen(arm, text) for text in TEXTS]
    if arm.diverged:
        named = "; ".join(f"{run['name']} ({_diverged(run)})" for run in arm.diverged)
        lines.append(f"{arm.name}: {len(arm.diverged)} of {len(arm.results)} runs diverged and are in no figure: {named}.")
    return lines


def _diverged(run: Mapping) -> str:
    found = run["diverged"]
    return ", ".join(f"{name} {value}" for name, value in found.items() if name != "step") + f" at step {found['step']}"


def _seen(arm: ArmFigures, text: str) -> str:
    """What the largest weight decay did to rare and frequent tokens of a text."""
    decay = arm.decays[-1]
    gap, head, rare, average, balanced = (
        arm.difference(text, decay, name) for name in ("rare_minus_head", "head", "rare", "average", "balanced")
    )
    start = f"{arm.name}, {TEXTS[text]}, weight decay {decay:g} (Σ lr·λ = {arm.products[decay]:.2f}) against {arm.base:g}:"
    if average is None:
        return f"{start} no seed has both runs, so they cannot be compared."
    whole = f"the mean over tokens changes by {average.mean:+.3f} nats, the mean over types by {balanced.mean:+.3f}"
    if gap is None:
        return f"{start} {whole}; the text has no tokens of the {arm.rare_words} or of the head."
    return f"{start} {whole}; the head changes by {head.mean:+.3f}, the {arm.rare_words} by {rare.mean:+.3f}, {_gap_words(gap)}{_payer(gap, head, rare)}."


def _gap_words(gap: Replicates) -> str:
    seeds = len(gap.values)
    if seeds == 1:
        return f"so the gap between them by {gap.mean:+.3f} nats, which with one seed is too weak to tell"
    between = f"95 % interval {gap.interval[0]:+.3f} to {gap.interval[1]:+.3f}, {seeds} seeds"
    if not gap.is_clear:
        return f"so the gap between them by {gap.mean:+.3f} nats, which is too weak to tell from chance ({between})"
    return f"so the gap between them {'grows' if gap.mean > 0 else 'shrinks'} by {abs(gap.mean):.3f} nats ({between})"


def _payer(gap: Replicates, head: Replicates, rare: Replicates) -> str:
    """Who pays, where that is seen: their own loss grows, and more than that of the others."""
    if not gap.is_clear:
        return ""
    who, change = ("rare", rare) if gap.mean > 0 else ("frequent", head)
    return f": {who} tokens pay" if change.is_clear and change.mean > 0 else ""


def _headlines(arm: ArmFigures) -> list[Metric]:
    found = []
    for text, words in TEXTS.items():
        gap = arm.difference(text, arm.decays[-1], "rare_minus_head") if len(arm.decays) > 1 else None
        if gap:
            note = f"weight decay {arm.decays[-1]:g} against {arm.base:g}; 95 % interval over the seeds, wide where they are few"
            found.append(
                Metric(
                    f"{arm.name}, {words}: change of the gap {arm.rare_words} − head",
                    gap.mean,
                    "nats",
                    interval=gap.interval,
                    n=len(gap.values),
                    higher_is_better=False,
                    note=note,
                    decimals=3,
                )  # fmt: skip
            )
    return found


def _section(arm: ArmFigures) -> Section:
    if not arm.ended:
        return Section(_title(arm), [f"All {len(arm.results)} runs diverged; lower the learning rate."])
    return Section(
        _title(arm),
        [_intro(arm), _runs_table(arm), _bins_section(arm), _gaps_section(arm), _curves_section(arm), _slope_section(arm)],
    )


def _title(arm: ArmFigures) -> str:
    """A heading that no other section of the page has."""
    return f"Arm {arm.name}"


def _intro(arm: ArmFigures) -> str:
    first, s = next(iter(arm.ended[arm.base].values())), arm.settings
    tokens = first["steps"] * s.batch_windows * s.context_tokens
    accuracy = arm.measure("train", arm.base, "accuracy").mean
    regime = "so the text is memorised, as in the paper" if accuracy >= _MEMORISED else "so the text is not memorised"
    return (
        f"Models of {first['parameters']:,} parameters, {first['decayed_parameters']:,} of which decay, learn from {tokens:,} tokens of a text of "
        f"{s.windows * s.context_tokens:,} in {first['steps']:,} steps. At weight decay {arm.base:g} they predict {accuracy:.1%} of its tokens, "
        f"{regime}.{_no_tail_words(arm)}"
    )


def _no_tail_words(arm: ArmFigures) -> str:
    if arm.rare[0] == "parts":
        return ""
    return f" The rarest types make up more than 5 % of the train text, so none is in its tail; the {arm.rare_words} there take its place."


def _runs_table(arm: ArmFigures) -> Table:
    columns = ["weight decay", "seed", "Σ lr·λ", "weight left without a gradient"]
    columns += [f"{text.replace('_', '-')}: {name}" for text in TEXTS for name in ("tokens", "types", "accuracy")]
    rows = []
    for decay, runs in arm.ended.items():
        for seed, run in runs.items():
            figures = [run["final"][text][name] for text in TEXTS for name in ("average_nats", "balanced_nats", "accuracy")]
            rows.append((f"{decay:g}", seed, run["decay_product"], math.exp(-run["decay_product"]), *figures))
    return Table("Runs: mean loss over tokens and over types", columns, rows)


def _bins_section(arm: ArmFigures) -> Section:
    bins = {text: [group for group in arm.groups(text) if group[0] == "bins"] for text in TEXTS}
    panels = [Panel(words.removeprefix("the "), {_lambda(decay): [arm.loss(text, decay, group) for group in bins[text]] for decay in arm.decays}) for text, words in TEXTS.items()]  # fmt: skip
    picture = pictures.by_bin([[label(group) for group in bins[text]] for text in TEXTS], panels)
    return Section(
        "Loss by frequency",
        [
            Picture("Loss by frequency", "The loss of tokens by how often the train text has them; a point for each seed.", picture),
            *(_bins_table(arm, text) for text in TEXTS),
        ],
    )


def _bins_table(arm: ArmFigures, text: str) -> Table:
    rows = [
        (label(group), *arm.size(text, group), *(arm.loss(text, decay, group).mean for decay in arm.decays)) for group in arm.groups(text)
    ]
    rows.append(("all", *map(sum, zip(*(arm.size(text, g) for g in arm.groups(text) if g[0] == "bins"), strict=True)), *(arm.measure(text, decay, "average").mean for decay in arm.decays)))  # fmt: skip
    columns = ("times in the train text", "tokens", "types", *map(_lambda, arm.decays))
    return Table(f"Nats per token on {TEXTS[text]}, mean over seeds", columns, rows)


def _gaps_section(arm: ArmFigures) -> Section:
    panels = [Panel(words.removeprefix("the "), {arm.measures[name].removesuffix(", nats"): [arm.measure(text, decay, name) for decay in arm.decays] for name in GAPS}) for text, words in TEXTS.items()]  # fmt: skip
    seeds = max(len(runs) for runs in arm.ended.values())
    caption = (
        "Points are seeds, lines their means, bands the 95 % interval of the mean (from three seeds on; it may reach beyond the picture)."
    )
    parts = [Picture("Gap between rare and frequent", caption, pictures.gaps([f"{d:g}" for d in arm.decays], panels))]
    if len(arm.decays) > 1:
        parts += [f"Each difference is taken seed by seed. {_width_words(seeds)}", *(_differences_table(arm, text) for text in TEXTS)]
    return Section("Gap between rare and frequent", parts)


def _width_words(seeds: int) -> str:
    if seeds < 2:
        return "With one seed there is no interval."
    from scipy import stats

    reach = stats.t.ppf(0.975, seeds - 1)
    return f"An interval over {seeds} seeds reaches {reach:.1f} standard errors to each side{': it is wide' if reach > _WIDE else ''}."


def _differences_table(arm: ArmFigures, text: str) -> Table:
    rows = []
    for decay in arm.decays[1:]:
        for name, words in arm.measures.items():
            if found := arm.difference(text, decay, name):
                low, high = found.interval or (None, None)
                rows.append((f"{decay:g}", words, found.mean, low, high, "; ".join(f"{value:+.4f}" for value in found.values)))
    columns = ("weight decay", "figure", f"minus that at {arm.base:g}", "95 % from", "to", "by seed")
    return Table(f"Paired differences on {TEXTS[text]}", columns, rows)


def _curves_section(arm: ArmFigures) -> Section:
    rows = [
        (words.removeprefix("the "), [(_lambda(decay), {label(group): arm.curve(text, decay, group) for group in arm.groups(text) if group[0] == "bins"}) for decay in arm.decays])
        for text, words in TEXTS.items()
    ]  # fmt: skip
    bins = sorted({int(name) for text in TEXTS for kind, name in arm.groups(text) if kind == "bins"})
    labels = [label(("bins", str(number))) for number in bins]
    caption = f"Mean over seeds, scored at {len(arm.steps)} points on {arm.settings.curve_tokens:,} tokens of each text or fewer; the point before the first step is not drawn."
    return Section(
        "Learning curves",
        [
            Picture("Learning curves", caption, pictures.curves(arm.steps, labels, rows)),
            "Speed is 1 − (area under the curve) ÷ (steps × loss before the first step): 0 where nothing is learned, near 1 where all is at once.",
            *(_speed_table(arm, text) for text in TEXTS),
        ],
    )


def _speed_table(arm: ArmFigures, text: str) -> Table:
    rows = []
    for group in arm.groups(text):
        found = [arm.speed(text, decay, group) for decay in arm.decays]
        if None not in found:
            rows.append((label(group), *(speed.mean for speed in found)))
    return Table(f"Learning speed on {TEXTS[text]}, mean over seeds", ("times in the train text", *map(_lambda, arm.decays)), rows)


def _slope_section(arm: ArmFigures) -> Section:
    rows = [(f"{decay:g}", seed, *_slope_cells(run["slope"])) for decay, runs in arm.ended.items() for seed, run in runs.items()]
    columns = ("weight decay", "seed", "slope", "95 % from", "to", "types", "median nats", "why there is none")
    if all("slope" in run["slope"] for runs in arm.ended.values() for run in runs.values()):
        rows, columns = [row[:-1] for row in rows], columns[:-1]
    return Section(
        "Slope of log(1 − e^−loss) over log n",
        [
            f"On the train text, by least squares over types with {arm.settings.least_count} occurrences or more; the interval of a run is that of "
            f"drawing its types anew. Theory for text memorised under weight decay says {THEORY:g}.",
            *(_slope_words(arm, decay) for decay in arm.decays),
            Table("Slopes", columns, rows),
        ],
    )


def _slope_cells(found: Mapping) -> tuple:
    if "slope" not in found:
        return (None, None, None, None, None, found["absent"])
    return (found["slope"], *found["interval"], found["types"], found["median_nats"], "")


def _slope_words(arm: ArmFigures, decay: float) -> str:
    runs = [run["slope"] for run in arm.ended[decay].values() if "slope" in run["slope"]]
    if not runs:
        return f"Weight decay {decay:g}: no run has a slope."
    slopes, median = arm.slope(decay), max(run["median_nats"] for run in runs)
    start = f"Weight decay {decay:g}: {slopes.mean:+.3f}"
    if median > LARGEST_READABLE_NATS:
        return f"{start}, which says nothing: the median loss of a type is {median:.2f} nats, and from about {LARGEST_READABLE_NATS:g} on the left side hardly moves."
    if slopes.interval is None:
        return f"{start} with one seed."
    low, high = slopes.interval
    place = "inside" if low <= THEORY <= high else "outside"
    return f"{start}, 95 % interval over {len(slopes.values)} seeds {low:+.3f} to {high:+.3f}; {THEORY:g} lies {place}."


def _method() -> Section:
    return Section(
        "How it was measured",
        [
            "Head, torso and tail are the most frequent types of the train text that make up 50 % of its occurrences, the next 45 % and the last 5 %; types that it does not have are in the tail.",
            "AdamW multiplies a weight by 1 − lr·λ in each step, so Σ lr·λ says more than λ alone: a weight without a gradient keeps e to the minus that sum.",
            "The replicate is the seed, which decides the first weights and the order of the windows; text and vocabulary are the same in all runs. Intervals are Student's t.",
            "Rare tokens are also harder ones: a gap between tail and head is there without weight decay too, so its change is what counts.",
        ],
    )


def _lambda(decay: float) -> str:
    return f"λ = {decay:g}"
