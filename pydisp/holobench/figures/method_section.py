"""The section of a report that says how its figures were measured."""

from pydisp.holobench.figures.effective_length import KEPT
from pydisp.holobench.figures.results import Results
from pydisp.report import Section
from pydisp.report.words import counted


def method_section(results: Results, *, has_comparisons: bool) -> Section:
    """Scoring, replicate, intervals, tests, in that order."""
    draws = len({one.item.draw for one in results.scored})
    parts = [*_scoring(results)]
    parts.append(
        f"The replicate is the draw, one choice of rows and questions that is asked at every length and placement: there are {counted(draws, 'draw')}. "
        "Items of one draw are not independent, so draws are drawn again and not items. The interval of a mean is a Bayesian bootstrap over draws "
        "with part of a draw more that nobody saw, which scores 0 for the lower end and 1 for the upper one (Gaffke's bound); where all scores are "
        "0, or all 1, it is the exact binomial one (Clopper and Pearson). With two or three draws it spans nearly everything: build with more "
        "questions for narrower ones. Intervals are not corrected for their number: one in 20 misses."
    )
    if results.effective:
        parts.append(
            f"Effective length: a longer context is held if the 95 % interval of its score over that of the shortest lies at {100 * KEPT:.0f} % "
            "or more, lost if it lies below. Only draws, classes and placements that both lengths have are compared. The accuracy counts above "
            "chance there."
        )
    if results.claims:
        parts.append(
            "Findings of the paper: amount against length is a least-squares line over log2 of both within each draw and class; the spread of "
            "classes is a standard deviation without the part of chance, its p permutes the classes; intervals are by a jackknife over draws."
        )
    if has_comparisons:
        parts.append(
            "Differences: item by item over what both answered. The interval is Student's over draws, with one more draw that differs to both "
            "sides, because few draws seldom show all differences; p flips signs of draws (all flips up to 13 draws). The two are different "
            "methods, so near 0.05 they may disagree."
        )
    return Section("How it was measured", parts)


def _scoring(results: Results) -> list[str]:
    parts = []
    if results.has_answers:
        empty = sum(not one.item.gold.rows for one in results.scored if one.score is not None)
        parts.append(
            "The gold answer is what DuckDB answers on exactly the rows that the context shows. Answers are scored by fixed rules, without a "
            "judge (pydisp/holobench/data/SCORING.md): each gold row is found exactly (1), in part (0.5) or not. Recall is their mean, F1 also "
            "counts rows that are too many, strict is 1 if every row is right, in order where the question asks for one. "
            f'Figures are means over answered items. Always answering "No answer" would have {100 * empty / results.overall.answered:.0f} %.'
        )
    if results.has_choices:
        margin = results.overall.margin.value
        parts.append(
            "Accuracy: how often the gold answer has the highest log-likelihood, summed over its tokens, among near misses. "
            f"{_tokens_of_choices(results)} In a tie for the first place each gets an equal part. Chance is the mean of 1 / the number of choices. "
            f"The gold answer lies {abs(margin):.2f} nats {'above' if margin >= 0 else 'below'} the best near miss on average."
        )
    return parts


def _tokens_of_choices(results: Results) -> str:
    """Whether the choices of an item have as many tokens as each other, without which their sums are not alike."""
    overall = results.overall
    known = overall.chosen - overall.unknown_choices
    asked = " (asked with any_tokenizer)" if results.predictions_manifest.get("any_tokenizer") else ""
    words = []
    if overall.unequal_choices:
        words.append(
            f"In {overall.unequal_choices:,} of {counted(known, 'item')} the choices have unequal numbers of tokens for this model{asked}, "
            "which favours the shorter ones."
        )
    elif known:
        words.append(
            f"The choices of an item have as many tokens as each other{f' in {known:,} items' if overall.unknown_choices else ''}."
        )
    if overall.unknown_choices:
        words.append(f"For {counted(overall.unknown_choices, 'item')} the predictions do not say how many tokens the choices have.")
    return " ".join(words)
