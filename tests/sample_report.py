"""A report with a part of every kind, and its pieces."""

import numpy as np

from pydisp.report import Metric, Picture, Report, Section, Table

SVG = (
    '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 2 2"><defs><path id="a" d="M0 0"/></defs>'
    '<g clip-path="url(#a)"><use href="#a"/></g></svg>'
)
METHODS = Table("Methods", ["method", "perplexity", "exact"], [["learned", 33.2, True], ["random", 1846.25, None]])


def sample_report() -> Report:
    """A report with a part of every kind."""
    return Report(
        "A <b>title</b> & more",
        summary=["One sentence | with a bar."],
        metrics=[
            Metric("perplexity", np.float64(24.084), "per token", standard_error=0.314, n=np.int64(40800), higher_is_better=False),
            Metric("share", 0.5, interval=[0.4, 0.6], note="95 % interval"),
        ],
        sections=[
            Section("Methods", ["Words <first>.", METHODS, Metric("steps", 600), Metric("seeds", 3), "Words last."]),
            Section("Search", [Picture("Search", "Falling.", SVG), Picture("Widths & more", 'A "caption".', SVG)]),
            Section("Deeper", [Section("Inner | part", [Metric("depth", 2), METHODS])]),
        ],
        facts={"seed": 0, "config": {"lr": 0.3, "betas": (0.9, 0.99)}, "name": "<x>"},
    )
