"""Scored: a benchmark's file and the predictions of one model, perhaps against another model's, as figures and a report.

score("bench.jsonl", "pruned.jsonl", against="dense.jsonl").report.write("report")
"""

import os
import textwrap
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

from pydisp.arguments import PATH, RECEIVER, SEED, optional, takes
from pydisp.holobench.answers.predictions import read_predictions
from pydisp.holobench.figures.bench_report import report
from pydisp.holobench.figures.comparison import Comparison, compare
from pydisp.holobench.figures.comparison_section import difference_words
from pydisp.holobench.figures.result_words import COLUMNS, in_words
from pydisp.holobench.figures.results import Results, results
from pydisp.holobench.item_file import read_items
from pydisp.progress import on_stderr
from pydisp.report import Report


@dataclass(frozen=True, eq=False)
class Scored:
    """Figures of one model, perhaps against another.

    Args:
        results: of the predictions. against: of the other model's. comparison: the first minus the second.
    """

    results: Results
    against: Results | None = None
    comparison: Comparison | None = None

    @cached_property
    def report(self) -> Report:
        """The figures for people and programs; `report.write(folder)` makes report.json, report.md and report.html."""
        return report(self.results, [] if self.comparison is None else [self.comparison])

    def as_dict(self) -> dict:
        """The object that `pydisp holobench score --json` prints."""
        found = self.results.as_dict()
        return found if self.comparison is None else {**found, "against": {**self.comparison.as_dict(), "results": self.against.as_dict()}}

    def in_words(self) -> str:
        """A screen of lines of 80 columns."""
        words = in_words(self.results)
        return words if self.comparison is None else "\n".join([words, *textwrap.wrap(difference_words(self.comparison), COLUMNS)])


@takes(data=PATH, predictions=PATH, against=optional(PATH), seed=SEED, say=RECEIVER)
def score(
    data: str | os.PathLike,
    predictions: str | os.PathLike,
    *,
    against: str | os.PathLike | None = None,
    seed: int = 0,
    say: Callable[[str], None] = on_stderr,
) -> Scored:
    """Score predictions by the rules in data/SCORING.md.

    Args:
        data: a file that `build` wrote. predictions: of `run`, or JSONL with an id and an answer each.
        against: predictions of another model on the same data. seed: of p-values. say: a function that receives progress lines.
    Raises: ValueError with one sentence for files that cannot be read or do not belong together.
    """
    items, manifest = read_items(data)
    found = [
        results(items, read.predictions, manifest, read.manifest, seed=seed, say=say)
        for read in (read_predictions(path, items, manifest["sha256"]) for path in (predictions, against) if path is not None)
    ]
    return Scored(found[0]) if against is None else Scored(*found, compare(*found, seed=seed, say=say))
