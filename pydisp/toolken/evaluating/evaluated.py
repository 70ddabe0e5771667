"""Evaluated: the result of an evaluation as one value.

evaluated.as_dict()["modes"]["calibrated"]     # {"selection": 0.61, "accuracy": 0.47, "interval": [0.41, 0.53], "calls": 131.3, ...}
evaluated.report.write("out")
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from pydisp.report import Report
from pydisp.report.words import counted
from pydisp.toolken.evaluating.calibration_curves import CalibrationCurves
from pydisp.toolken.evaluating.claims import Claim, claims, percent
from pydisp.toolken.evaluating.figures import Figures, ModeFigures
from pydisp.toolken.evaluating.outcomes import Outcome

FORMAT = "pydisp-toolken-evaluation-1"


@dataclass(frozen=True, eq=False)
class Evaluated:
    """What was measured of one model's toolkens on one set of problems.

    Args:
        model, data: names, for people. tools: names. seeds: of the training, one for each set of toolkens. k: tools that are reranked.
        figures: of each mode. curves: of confidence, by mode; a mode at which no tool is on top anywhere has none.
        outcomes: of each mode, seed and problem, end to end. prompts: by the id of the problem.
        problems: how many there are, of how many groups; how many need a tool, have positions, have an answer. left_out: sentences on what was not used.
        calibrations: of each seed: temperature, threshold. facts: of the run: versions, digests, settings.
    """

    model: str
    data: str
    tools: tuple[str, ...]
    seeds: tuple[int, ...]
    k: int
    figures: Figures
    curves: Mapping[str, CalibrationCurves]
    outcomes: tuple[Outcome, ...] = ()
    prompts: Mapping[str, str] = field(default_factory=dict)
    problems: Mapping[str, int] = field(default_factory=dict)
    left_out: tuple[str, ...] = ()
    calibrations: tuple[Mapping, ...] = ()
    facts: Mapping = field(default_factory=dict)

    @property
    def claims(self) -> list[Claim]:
        return claims(self.figures)

    @property
    def main_mode(self) -> ModeFigures:
        """The mode that is shown where one must be: calibrated, or the last one with tools; the plain model where it is alone."""
        modes = self.figures.modes
        ordered = [mode for mode in ("calibrated", "reject", "rerank", "toolkengpt") if mode in modes]
        return modes[ordered[0] if ordered else next(iter(modes))]

    def as_dict(self) -> dict:
        """Plain values for JSON; `modes` has the figures of each mode. Undefined ones are None."""
        return {
            "format": FORMAT,
            "model": self.model,
            "data": self.data,
            "tools": list(self.tools),
            "seeds": list(self.seeds),
            "k": self.k,
            "problems": dict(self.problems),
            "left_out": list(self.left_out),
            "calibrations": [dict(one) for one in self.calibrations],
            **self.figures.as_dict(),
            "curves": {mode: one.as_dict() for mode, one in self.curves.items()},
            "claims": [one.as_dict() for one in self.claims],
        }

    def in_words(self) -> str:
        """A line for each mode, for a terminal, and one for each claim."""
        lines = [f"{self.model}, {self.data}: {counted(self.problems.get('problems', 0), 'problem')}"]
        for mode, one in self.figures.modes.items():
            parts = [f"{name} {percent(one.estimate(name))}" for name in ("selection", "accuracy") if name in one.measured]
            if one.unneeded_problems in one.measured:
                parts.append(f"unneeded calls in {percent(one.estimate(one.unneeded_problems))}")
            lines.append(f"{mode}: {', '.join(parts) or 'nothing was measured'}")
        return "\n".join([*lines, *(one.sentence for one in self.claims)])

    @property
    def report(self) -> Report:
        from pydisp.toolken.evaluating.report import report

        return report(self)
