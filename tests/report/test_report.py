"""What a report holds: read back from JSON, written whole, combined, and refused where it is wrong."""

import json
import subprocess
import sys
from fractions import Fraction

import pytest
from sample_report import METHODS, SVG

from pydisp.report import FORMAT, Metric, Picture, Report, Section, Table


def test_json_reads_back_the_same(report):
    text = report.to_json()
    assert Report.from_json(text) == report
    assert Report.from_json(text).to_json() == text
    contents = json.loads(text)
    assert contents["metrics"][0]["value"] == 24.084 and contents["metrics"][0]["n"] == 40800
    assert contents["facts"]["config"] == {"lr": 0.3, "betas": [0.9, 0.99]}
    assert list(contents) == sorted(contents) and contents["format"] == FORMAT == "pydisp-report-2"
    words, table, steps, *_ = contents["sections"][0]["parts"]
    assert words == "Words <first>." and table["table"]["rows"][0] == ["learned", 33.2, True] and steps["metric"]["value"] == 600
    assert contents["sections"][2]["parts"][0]["section"]["title"] == "Inner | part"


def with_parts(*parts) -> str:
    """The text of a report.json whose only section has these parts."""
    sections = [{"title": "s", "parts": parts}]
    return json.dumps({"format": FORMAT, "title": "a", "summary": [], "metrics": [], "facts": {}, "sections": sections})


@pytest.mark.parametrize(
    "text",
    [
        "{", "[]", "{}", '{"format": "pydisp-report-1"}', '{"format": "pydisp-report-2", "title": "a"}', with_parts(), with_parts(3),
        with_parts(["a"]), with_parts({}), with_parts({"table": 3}), with_parts({"chart": {}}), with_parts({"metric": {"name": "a"}}),
        with_parts({"section": {"title": "a"}}), with_parts({"section": {"title": "a", "parts": ["b"], "more": 1}}),
        with_parts({"metric": {"name": "a", "value": 1}, "table": {}}), with_parts({"section": []}),
        '{"format": "pydisp-report-2", "sections": ' + "[" * 200_000, with_parts().replace('"parts": []', '"parts": 1'),
    ],
)  # fmt: skip
def test_other_json_is_refused_in_one_sentence(text):
    with pytest.raises(ValueError) as error:
        Report.from_json(text)
    assert "\n" not in str(error.value)


def test_a_part_that_json_can_hold_is_read():
    assert Report.from_json(with_parts("a", {"metric": {"name": "b", "value": 1}})).sections[0] == Section("s", ["a", Metric("b", 1)])


def test_a_metric_of_a_version_without_decimals_is_read():
    text = Report("a", metrics=[Metric("b", 5.3, decimals=1)]).to_json()
    assert Report.from_json(text).metrics[0].decimals == 1
    old = text.replace('      "decimals": 1,\n', "")
    assert old != text and Report.from_json(old).metrics == (Metric("b", 5.3),)


def test_facts_are_a_copy():
    facts = {"config": {"lr": 0.3}}
    report = Report("a", facts=facts)
    facts["config"]["lr"] = 1.0
    assert report.facts == {"config": {"lr": 0.3}}


def test_write_gives_the_same_bytes_every_time_and_leaves_nothing_else(report, tmp_path):
    for name in ("first", "second"):
        report.write(tmp_path / name)
    report.write(tmp_path / "second")
    files = {p.name: p.read_bytes() for p in (tmp_path / "first").iterdir()}
    assert set(files) == {"report.json", "report.md", "report.html", "widths-more.svg", "search.svg"}
    assert files == {p.name: p.read_bytes() for p in (tmp_path / "second").iterdir()}
    assert str(tmp_path).encode() not in b"".join(files.values())


def test_a_failed_write_leaves_the_old_file_whole(report, tmp_path, monkeypatch):
    report.write(tmp_path)
    before = (tmp_path / "report.json").read_bytes()

    def full_disk(*_):
        raise OSError("no space left")

    monkeypatch.setattr("os.replace", full_disk)
    with pytest.raises(OSError, match="no space left"):
        Report("another").write(tmp_path)
    assert (tmp_path / "report.json").read_bytes() == before and not list(tmp_path.glob("*.partial"))


def test_reports_combine_into_one_page(report, tmp_path):
    other = Report("Another", sections=report.sections, facts={"seed": 1})
    first = Section("Side by side", ["The first is better."])
    both = Report.combined("Both", [report, other], summary=["Two of them."], metrics=[Metric("gap", 1.5)], sections=[first])
    assert Report.from_json(both.to_json()) == both
    assert [section.title for section in both.sections] == ["Side by side", report.title, "Another"]
    assert both.facts == {report.title: report.facts, "Another": {"seed": 1}}
    both.write(tmp_path)
    assert {path.name for path in tmp_path.glob("*.svg")} == {"search.svg", "widths-more.svg"}  # the same pictures in both
    assert both.to_markdown().count("](search.svg)") == 2 and "\n### Methods\n" in both.to_markdown()
    with pytest.raises(ValueError, match="two sections .by address. are called 'another'"):
        Report.combined("Both", [other, other])


def nested(depth: int) -> Section:
    return Section("s", ["a" if depth == 1 else nested(depth - 1)])


BAD = {
    "nan": (lambda: Metric("a", float("nan")), "metric 'a': value is nan; it must be finite"),
    "whole number beyond floats": (lambda: Metric("a", 10**400), "metric 'a': value is beyond the largest float .1.8e.308."),
    "fraction beyond floats": (lambda: Metric("a", Fraction(10**400)), "metric 'a': value is beyond the largest float"),
    "error beyond floats": (lambda: Metric("a", 1, standard_error=10**400), "metric 'a': standard_error is beyond the largest float"),
    "n beyond floats": (lambda: Metric("a", 1, n=10**5000), "metric 'a': n is a value of type int, too large to be shown; it must be a whole number"),
    "fact beyond floats": (lambda: Report("r", facts={"a": 10**400}), "facts.a is beyond the largest float"),
    "half a surrogate pair": (lambda: Report("a\ud800"), "the title of a report holds the character U.D800, which a page cannot hold"),
    "NUL": (lambda: Section("a\0", ["b"]), "the title of a section holds the character U.0000"),
    "NUL in a sentence": (lambda: Section("s", ["b\0"]), "section 's': a sentence holds the character U.0000"),
    "surrogate in a name": (lambda: Metric("\udfff", 1), "the name of a metric holds the character U.DFFF"),
    "surrogate in a cell": (lambda: Table("t", ["a"], [["\udc00"]]), "table 't', row 1 holds the character U.DC00"),
    "surrogate in facts": (lambda: Report("r", facts={"a": ["\udc00"]}), "facts.a.0. holds the character U.DC00"),
    "surrogate in a key": (lambda: Report("r", facts={"\udc00": 1}), "a key of facts holds the character U.DC00"),
    "surrogate in a picture": (lambda: Picture("p", "c", "<svg><text>\udc00</text></svg>"), "picture 'p'.*(holds|XML)"),
    "text for a number": (lambda: Metric("a", "1"), "metric 'a': value is '1'; it must be a number"),
    "bool for a number": (lambda: Metric("a", True), "metric 'a': value is True; it must be a number"),
    "no name": (lambda: Metric(" ", 1), "the name of a metric is empty"),
    "negative error": (lambda: Metric("a", 1, standard_error=-1), "standard_error is -1; it must be 0 or more"),
    "interval upside down": (lambda: Metric("a", 1, interval=(2, 1)), "interval runs from 2 down to 1"),
    "interval of three": (lambda: Metric("a", 1, interval=(1, 2, 3)), "it must be \\(low, high\\)"),
    "n of zero": (lambda: Metric("a", 1, n=0), "n is 0; it must be a whole number"),
    "decimals": (lambda: Metric("a", 1, decimals=-1), "metric 'a': decimals is -1; it must be a whole number from 0 to 12"),
    "half decimals": (lambda: Metric("a", 1, decimals=1.5), "metric 'a': decimals is 1.5"),
    "direction": (lambda: Metric("a", 1, higher_is_better="yes"), "higher_is_better is 'yes'; it must be True or False"),
    "short row": (lambda: Table("t", ["a", "b"], [[1, 2], [1]]), "table 't': row 2 has 1 cells, there are 2 columns"),
    "no columns": (lambda: Table("t", [], []), "table 't': columns is \\[\\]"),
    "cell": (lambda: Table("t", ["a"], [[[1]]]), "table 't', row 1 holds a list or dict"),
    "infinite cell": (lambda: Table("t", ["a"], [[float("inf")]]), "table 't', row 1 is inf"),
    "no svg": (lambda: Picture("p", "c", "<p/>"), "outermost element is <p>"),
    "no xml": (lambda: Picture("p", "c", "svg"), "picture 'p': no valid XML"),
    "script": (lambda: Picture("p", "c", "<svg><script/></svg>"), "it runs a script or fetches a file"),
    "event": (lambda: Picture("p", "c", '<svg onload="a()"/>'), "it runs a script or fetches a file"),
    "fetch": (lambda: Picture("p", "c", '<svg><image href="http://a/b.png"/></svg>'), "it runs a script or fetches a file"),
    "no caption": (lambda: Picture("p", "", SVG), "picture 'p': caption is empty"),
    "facts": (lambda: Report("r", facts={"a": {"b": [object()]}}), "facts.a.b\\[0\\] is of type object"),
    "nan fact": (lambda: Report("r", facts={"a": float("nan")}), "facts.a is nan; it must be finite"),
    "key": (lambda: Report("r", facts={1: 2}), "facts has the key 1"),
    "no dict": (lambda: Report("r", facts=[1]), "facts is list; it must be a dict"),
    "summary": (lambda: Report("r", summary="text"), "summary is 'text'; give a list of sentences"),
    "wrong part": (lambda: Report("r", metrics=[1]), "metrics holds 1; it must hold Metric values"),
    "wrong section": (lambda: Report("r", sections=["s"]), "sections holds 's'; it must hold Section values"),
    "part of a section": (lambda: Section("s", [1]), "section 's' holds 1; a part is a text, a Metric, a Table, a Picture or a Section"),
    "empty section": (lambda: Section("s", []), "section 's' is empty; give it a sentence"),
    "parts": (lambda: Section("s", "text"), "section 's': parts is one text; it must be a list"),
    "no section title": (lambda: Section("", ["a"]), "the title of a section is empty"),
    "no sentence": (lambda: Section("s", ["a", " "]), "section 's': a sentence is empty"),
    "empty report in another": (lambda: Report("r").as_section(), "section 'r' is empty"),
    "deep": (lambda: nested(5), "holds sections 5 deep; 4 is the most"),
    "style that fetches": (lambda: Picture("p", "c", "<svg><style>@import 'http://a/b.css';</style></svg>"), "it runs a script or fetches"),
    "style with an address": (lambda: Picture("p", "c", "<svg><style>g { fill: url(http://a/b) }</style></svg>"), "it runs a script or fetches"),
    "interval of one": (lambda: Metric("a", 1, interval=0.5), "it must be \\(low, high\\)"),
    "twice": (lambda: Report("r", metrics=[Metric("a", 1), Metric("a", 2)]), "two metrics are called 'a'"),
    "two files": (lambda: Section("s", [Picture("A b", "c", SVG), Picture("a B", "c", SVG)]), "section 's' .by file name. are called 'a-b'"),
    "two tables": (lambda: Section("s", [METHODS, METHODS]), "two tables of section 's' are called 'Methods'"),
    "two metrics": (lambda: Section("s", [Metric("a", 1), Metric("a", 2)]), "two metrics of section 's' are called 'a'"),
    "two sections": (lambda: Report("r", sections=[Section("A b", ["c"]), Section("a B", ["c"])]), "sections .by address. are called 'a-b'"),
    "section of facts": (lambda: Report("r", sections=[Section("Facts", ["c"])]), "are called 'facts'"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_wrong_value_is_refused_in_one_sentence(name):
    make, message = BAD[name]
    with pytest.raises((ValueError, TypeError), match=message) as error:
        make()
    assert "\n" not in str(error.value)


def test_importing_it_needs_neither_torch_nor_matplotlib():
    code = "import sys, pydisp.report; sys.exit(any(m in sys.modules for m in ('torch', 'matplotlib', 'transformers')))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
