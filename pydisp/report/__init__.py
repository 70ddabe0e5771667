"""Report: the results of a run as one value, to be read by programs (JSON), in a terminal or model card (Markdown) and in a browser (HTML).

    loss = Metric("perplexity, pruned", 24.08, unit="per token", standard_error=0.31, n=40_800, higher_is_better=False)
    bins = Table("Loss by frequency", ["times in the text", "tokens", "nats"], [["1 to 9", 4_120, 5.31], ["10 and more", 36_680, 2.94]])
    with drawing():    # of pydisp.report.drawing: the one look of all pictures
        figure = new_figure(WIDTH_INCHES, 3)
        axes = figure.subplots()
        axes.plot([1, 10, 100], [5.3, 3.9, 2.9], color=BLUE, marker="o")
        quiet(axes)
        curve = Picture("Loss over frequency", "The rarer a token, the higher its loss.", svg(figure))
    report = Report(
        "How the demo model treats rare words",
        summary=["Words seen fewer than ten times cost 1.8 times as many nats."],    # the main results, one sentence each
        metrics=[loss],                                                              # the headlines, one card each
        sections=[Section("Loss by frequency", ["Tokens by how often the training text has them.", curve, bins])],
        facts={**run_facts(model), "seed": 0},                                       # all that is needed to repeat the run
    )
    report.write("out")    # report.json, report.md, report.html and a .svg for each picture

To put several reports on one page, use `Report.combined("Dense against pruned", [dense_report, pruned_report])`, or add one report
(`as_section`) to the sections of another. A report holds no times and no paths, so that the same contents give the same bytes. A section of
times goes into the HTML page only: `report.write("out", measured=[section])`. Wrong contents are refused when a report is made; parts side
by side must have different names.

Files: `metric`, `table`, `picture`, `section`: the parts · `values`: what the parts may hold · `words`: numbers as text · `markdown`,
`page`, `style`: the output formats · `drawing`: the look of pictures
"""

import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from pydisp.arguments import PATH, TEXT, check, instance_of, iterable_of, list_of, takes
from pydisp.given_value import short
from pydisp.report.markdown import markdown
from pydisp.report.metric import Metric
from pydisp.report.page import page
from pydisp.report.picture import Picture
from pydisp.report.section import Section, picture_files
from pydisp.report.table import Table
from pydisp.report.values import plain, require_distinct, require_text
from pydisp.workspace import write_whole

__all__ = ["FORMAT", "Metric", "Picture", "Report", "Section", "Table"]

FORMAT = "pydisp-report-2"


@dataclass(frozen=True)
class Report:
    """A title, a summary of sentences, the headline metrics, sections and facts.

    Args:
        facts: a nested dict of what JSON holds: configuration, seed, versions, device. Copied.
    Raises: ValueError or TypeError, naming the part, for wrong contents; two metrics or sections of one name are refused too.
    """

    title: str
    summary: tuple[str, ...] = ()
    metrics: tuple[Metric, ...] = ()
    sections: tuple[Section, ...] = ()
    facts: dict = field(default_factory=dict)

    def __post_init__(self):
        require_text(self.title, "the title of a report")
        place = f"report {short(self.title)}"
        for name, parts in (("summary", "sentences"), ("metrics", "Metric"), ("sections", "Section")):
            object.__setattr__(self, name, tuple(check(f"{place}: {name}", getattr(self, name), iterable_of(parts))))
        for sentence in self.summary:
            require_text(sentence, f"{place}: a sentence of the summary")
        for name, kind in (("metrics", Metric), ("sections", Section)):
            for part in getattr(self, name):
                if not isinstance(part, kind):
                    raise TypeError(f"{place}: {name} holds {part!r}; it must hold {kind.__name__} values.")
        require_distinct([metric.name for metric in self.metrics], "metrics")
        require_distinct([section.anchor for section in self.sections] + ["facts"], "sections (by address)")
        if not isinstance(self.facts, dict):
            raise TypeError(f"{place}: facts is {type(self.facts).__name__}; it must be a dict.")
        object.__setattr__(self, "facts", plain(self.facts, "facts"))

    @classmethod
    def combined(
        cls,
        title: str,
        reports: Sequence["Report"],
        *,
        summary: Sequence[str] = (),
        metrics: Sequence[Metric] = (),
        sections: Sequence[Section] = (),
    ) -> "Report":
        """Several reports on one page: first the given sections, such as a comparison, then each report as a section.

        The facts of each report are kept under its title.
        Raises: ValueError for two reports of one title, and for one that holds nothing but a title.
        """
        reports = check("reports", reports, list_of(instance_of(Report, "give a Report"), "Report"))
        facts = {report.title: report.facts for report in reports if report.facts}
        sections = check("sections", sections, iterable_of("Section"))
        return cls(title, summary, metrics, (*sections, *(report.as_section() for report in reports)), facts)

    def as_section(self) -> Section:
        """This report as one section for another report: title, summary, metrics and sections, without the facts."""
        return Section(self.title, (*self.summary, *self.metrics, *self.sections))

    def to_json(self) -> str:
        """Sorted keys, plain numbers; `from_json` reads it back."""
        contents = {
            "format": FORMAT,
            "title": self.title,
            "summary": self.summary,
            "metrics": [asdict(metric) for metric in self.metrics],
            "sections": [section.as_json() for section in self.sections],
            "facts": self.facts,
        }
        return json.dumps(contents, sort_keys=True, indent=2, ensure_ascii=False, allow_nan=False) + "\n"

    @classmethod
    @takes(text=TEXT)
    def from_json(cls, text: str) -> "Report":
        """The report that `to_json` wrote.

        Raises: ValueError for anything else.
        """
        try:
            contents = json.loads(text)
        except (json.JSONDecodeError, RecursionError) as error:
            raise ValueError(f"no JSON ({error}); give the text of a report.json.") from error
        if not isinstance(contents, dict) or contents.get("format") != FORMAT:
            kind = contents.get("format") if isinstance(contents, dict) else type(contents).__name__
            raise ValueError(f"the text is of format {kind!r}, not {FORMAT!r}; give the text of a report.json written by this version.")
        try:
            return cls(
                contents["title"],
                tuple(contents["summary"]),
                tuple(Metric(**fields) for fields in contents["metrics"]),
                tuple(Section.from_json(fields) for fields in contents["sections"]),
                contents["facts"],
            )
        except (KeyError, TypeError, RecursionError) as error:
            raise ValueError(f"the report lacks or misnames a part ({error}); write it again with Report.write.") from error

    def to_markdown(self) -> str:
        """For terminals and model cards; pictures are links to the files that `write` puts beside it."""
        return markdown(self)

    def to_html(self, measured: Sequence[Section] = ()) -> str:
        """One self-contained page, without scripts or downloads, for light and dark mode.

        Raises: ValueError if a measured section has the title of another one.
        """
        return page(self, measured)

    @takes(folder=PATH, measured=list_of(instance_of(Section, "give a Section"), "Section"))
    def write(self, folder: str | os.PathLike, measured: Sequence[Section] = ()) -> None:
        """Write report.json, report.md, report.html and the pictures into the folder, which is made if needed; each file appears whole.

        `measured` sections hold values that differ between runs of one seed, such as times. They go into report.html only, so that the
        other files have the same bytes for the same contents.
        """
        html = self.to_html(measured)
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        for picture, name in picture_files(self.sections).items():
            write_whole(folder / name, picture.svg)
        write_whole(folder / "report.json", self.to_json())
        write_whole(folder / "report.md", self.to_markdown())
        write_whole(folder / "report.html", html)
