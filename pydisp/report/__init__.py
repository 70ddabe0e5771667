"""Report: what a run found, as one value that is read by programs (JSON), in a terminal or model card (Markdown) and in a browser (HTML).

    metric = Metric("perplexity, pruned", 24.08, unit="per token", standard_error=0.31, n=40_800, higher_is_better=False)
    report = Report("Demo model pruned to 50 %", summary=["Half of the parameters are gone."], metrics=[metric], facts={"seed": 0})
    report.write("out")    # report.json, report.md, report.html and a .svg for each picture

A report holds no times and no paths of its own: the same contents give the same bytes. Wrong contents are refused when it is made.
"""

import json
import math
import os
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from numbers import Integral, Real
from pathlib import Path
from xml.etree import ElementTree

from pydisp.report.markdown import markdown
from pydisp.report.page import page
from pydisp.report.words import Cell
from pydisp.workspace import write_whole

FORMAT = "pydisp-report-1"


@dataclass(frozen=True)
class Metric:
    """One figure.

    Args:
        name, unit: what was measured and in what; the unit may be empty (a plain number).
        value: finite.
        standard_error: of the value, in its unit.
        interval: (low, high), in the value's unit; the note says of what level.
        n: how many observations the value stands on.
        higher_is_better: None where neither is.
        note: half a sentence more.
    Raises: ValueError or TypeError, naming the metric, for anything else.
    """

    name: str
    value: float
    unit: str = ""
    standard_error: float | None = None
    interval: tuple[float, float] | None = None
    n: int | None = None
    higher_is_better: bool | None = None
    note: str = ""

    def __post_init__(self):
        _require_text(self.name, "the name of a metric")
        place = f"metric '{self.name}'"
        for name in ("unit", "note"):
            _require_text(getattr(self, name), f"{place}: {name}", may_be_empty=True)
        self._set("value", _finite(self.value, f"{place}: value"))
        if self.standard_error is not None:
            self._set("standard_error", _finite(self.standard_error, f"{place}: standard_error"))
            if self.standard_error < 0:
                raise ValueError(f"{place}: standard_error is {self.standard_error}; it must be 0 or more.")
        if self.interval is not None:
            self._set("interval", _interval(self.interval, f"{place}: interval"))
        if self.n is not None:
            if isinstance(self.n, bool) or not isinstance(self.n, Integral) or self.n < 1:
                raise ValueError(f"{place}: n is {self.n!r}; it must be a whole number of 1 or more, or None.")
            self._set("n", int(self.n))
        if not (self.higher_is_better is None or isinstance(self.higher_is_better, bool)):
            raise TypeError(f"{place}: higher_is_better is {self.higher_is_better!r}; it must be True, False or None.")

    def _set(self, name: str, value) -> None:
        object.__setattr__(self, name, value)


@dataclass(frozen=True)
class Table:
    """Rows of texts, numbers, True/False or None (an empty cell) under named columns.

    Raises: ValueError or TypeError, naming the table and the row, for a row of another length and for any other cell.
    """

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]

    def __post_init__(self):
        _require_text(self.title, "the title of a table")
        place = f"table '{self.title}'"
        if isinstance(self.columns, str) or not self.columns:
            raise ValueError(f"{place}: columns is {self.columns!r}; it must be a list of one name or more.")
        for column in self.columns:
            _require_text(column, f"{place}: a column", may_be_empty=True)
        rows = []
        for number, row in enumerate(self.rows, 1):
            if isinstance(row, str) or len(row) != len(self.columns):
                raise ValueError(
                    f"{place}: row {number} has {len(row)} cells, there are {len(self.columns)} columns; give a cell for each."
                )
            rows.append(tuple(_plain(cell, f"{place}, row {number}") for cell in row))
            if any(isinstance(cell, list | dict) for cell in rows[-1]):
                raise TypeError(f"{place}, row {number} holds a list or dict; a cell is a text, a number, True, False or None.")
        object.__setattr__(self, "columns", tuple(self.columns))
        object.__setattr__(self, "rows", tuple(rows))


@dataclass(frozen=True)
class Picture:
    """A drawing as SVG text, with a title and a caption that says in words what it shows (screen readers read it).

    Raises: ValueError, naming the picture, for what is no SVG, or SVG that runs a script or fetches something.
    """

    title: str
    caption: str
    svg: str

    def __post_init__(self):
        _require_text(self.title, "the title of a picture")
        place = f"picture '{self.title}'"
        _require_text(self.caption, f"{place}: caption")
        try:
            root = ElementTree.fromstring(self.svg)
        except (ElementTree.ParseError, TypeError) as error:
            raise ValueError(f"{place}: no valid XML ({error}); give the text of an SVG file.") from error
        if root.tag not in ("svg", "{http://www.w3.org/2000/svg}svg"):
            raise ValueError(f"{place}: the outermost element is <{root.tag}>; it must be <svg>.")
        for element in root.iter():
            if element.tag.rpartition("}")[2] in ("script", "foreignObject") or any(_is_foreign(k, v) for k, v in element.attrib.items()):
                raise ValueError(f"{place}: it runs a script or fetches a file; a picture must stand alone.")

    @property
    def file_name(self) -> str:
        return f"{_slug(self.title)}.svg"


@dataclass(frozen=True)
class Measured:
    """A section of the page alone, for what the next run of the same seed finds another value of, such as times: sentences, and a table.

    Raises: ValueError or TypeError for a title or a sentence that is empty or no text.
    """

    title: str
    sentences: tuple[str, ...]
    table: Table | None = None

    def __post_init__(self):
        _require_text(self.title, "the title of a section")
        for sentence in self.sentences:
            _require_text(sentence, f"section '{self.title}': a sentence")


@dataclass(frozen=True)
class Report:
    """A title, a summary of sentences, metrics, tables, pictures and facts.

    Args:
        facts: a nested dict of what JSON holds: configuration, seed, versions, device. Copied.
    Raises: ValueError or TypeError, naming the part, for wrong contents; two metrics, tables or pictures of one name are refused too.
    """

    title: str
    summary: tuple[str, ...] = ()
    metrics: tuple[Metric, ...] = ()
    tables: tuple[Table, ...] = ()
    pictures: tuple[Picture, ...] = ()
    facts: dict = field(default_factory=dict)

    def __post_init__(self):
        _require_text(self.title, "the title of a report")
        if isinstance(self.summary, str):
            raise TypeError(f"report '{self.title}': summary is one text; it must be a list of sentences.")
        for sentence in self.summary:
            _require_text(sentence, f"report '{self.title}': a sentence of the summary")
        for name, kind in (("metrics", Metric), ("tables", Table), ("pictures", Picture)):
            for part in getattr(self, name):
                if not isinstance(part, kind):
                    raise TypeError(f"report '{self.title}': {name} holds {part!r}; it must hold {kind.__name__} values.")
        _require_distinct([m.name for m in self.metrics], "metrics")
        _require_distinct([t.title for t in self.tables], "tables")
        _require_distinct([p.file_name for p in self.pictures], "pictures (by file name)")
        if not isinstance(self.facts, dict):
            raise TypeError(f"report '{self.title}': facts is {type(self.facts).__name__}; it must be a dict.")
        for name in ("summary", "metrics", "tables", "pictures"):
            object.__setattr__(self, name, tuple(getattr(self, name)))
        object.__setattr__(self, "facts", _plain(self.facts, "facts"))

    def to_json(self) -> str:
        """Sorted keys, plain numbers; `from_json` reads it back."""
        return json.dumps({"format": FORMAT, **asdict(self)}, sort_keys=True, indent=2, ensure_ascii=False, allow_nan=False) + "\n"

    @classmethod
    def from_json(cls, text: str) -> "Report":
        """The report that `to_json` wrote.

        Raises: ValueError for anything else.
        """
        try:
            found = json.loads(text)
        except json.JSONDecodeError as error:
            raise ValueError(f"no JSON ({error}); give the text of a report.json.") from error
        if not isinstance(found, dict) or found.get("format") != FORMAT:
            kind = found.get("format") if isinstance(found, dict) else type(found).__name__
            raise ValueError(f"found format {kind!r}, needed {FORMAT!r}; give the text of a report.json written by this version.")
        kinds = {"metrics": Metric, "tables": Table, "pictures": Picture}
        try:
            parts = {name: tuple(kind(**part) for part in found[name]) for name, kind in kinds.items()}
            return cls(title=found["title"], summary=tuple(found["summary"]), facts=found["facts"], **parts)
        except (KeyError, TypeError) as error:
            raise ValueError(f"the report lacks or misnames a part ({error}); write it again with Report.write.") from error

    def to_markdown(self) -> str:
        """For terminals and model cards; pictures are links to the files that `write` puts beside it."""
        return markdown(self)

    def to_html(self, measured: Measured | None = None) -> str:
        """One page with everything in it: no script, nothing fetched, light and dark."""
        return page(self, measured)

    def write(self, folder: str | os.PathLike, measured: Measured | None = None) -> None:
        """Write report.json, report.md, report.html and the pictures into the folder, made if need be; each file appears whole or not.

        `measured` stands in report.html alone: the other files have the same bytes for the same contents.
        """
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        for picture in self.pictures:
            write_whole(folder / picture.file_name, picture.svg)
        write_whole(folder / "report.json", self.to_json())
        write_whole(folder / "report.md", self.to_markdown())
        write_whole(folder / "report.html", self.to_html(measured))


def _require_text(value, what: str, may_be_empty: bool = False) -> None:
    if not isinstance(value, str):
        raise TypeError(f"{what} is {value!r}; it must be a text.")
    if not may_be_empty and not value.strip():
        raise ValueError(f"{what} is empty; give it one.")


def _require_distinct(names: Sequence[str], what: str) -> None:
    twice = sorted({n for n in names if names.count(n) > 1})
    if twice:
        raise ValueError(f"two {what} are called '{twice[0]}'; give each its own name.")


def _finite(value, what: str) -> int | float:
    if isinstance(value, bool) or not isinstance(value, Real):
        raise TypeError(f"{what} is {value!r}; it must be a number.")
    number = int(value) if isinstance(value, Integral) else float(value)
    if not math.isfinite(number):
        raise ValueError(f"{what} is {number}; it must be finite.")
    return number


def _interval(value, what: str) -> tuple[float, float]:
    if isinstance(value, str) or len(value) != 2:
        raise ValueError(f"{what} is {value!r}; it must be (low, high).")
    low, high = (_finite(v, what) for v in value)
    if low > high:
        raise ValueError(f"{what} runs from {low} down to {high}; give (low, high).")
    return low, high


def _plain(value, place: str):
    """A copy in the types that JSON has; numpy's numbers become Python's."""
    if value is None or isinstance(value, str | bool):
        return value
    if isinstance(value, Real):
        return _finite(value, place)
    if isinstance(value, list | tuple):
        return [_plain(v, f"{place}[{i}]") for i, v in enumerate(value)]
    if isinstance(value, dict):
        for key in value:
            if not isinstance(key, str):
                raise TypeError(f"{place} has the key {key!r}; keys must be texts.")
        return {k: _plain(v, f"{place}.{k}") for k, v in value.items()}
    raise TypeError(
        f"{place} is of type {type(value).__name__}; JSON holds texts, numbers, True, False, None, lists and dicts: convert it."
    )


def _is_foreign(name: str, value: str) -> bool:
    name = name.rpartition("}")[2]
    if name == "href":
        return not value.startswith(("#", "data:image/"))
    return name.startswith("on") or bool(re.search(r"url\(\s*['\"]?(?!#)", value))


def _slug(title: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-") or "picture"
