import json
import re
import subprocess
import sys
from xml.etree import ElementTree

import numpy as np
import pytest

from pydisp.report import FORMAT, Metric, Picture, Report, Section, Table
from pydisp.report.words import counted

SVG = (
    '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 2 2"><defs><path id="a" d="M0 0"/></defs>'
    '<g clip-path="url(#a)"><use href="#a"/></g></svg>'
)


METHODS = Table("Methods", ["method", "perplexity", "exact"], [["learned", 33.2, True], ["random", 1846.25, None]])


@pytest.fixture
def report():
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


def test_what_is_measured_stands_on_the_page_alone(report, tmp_path):
    speed = Section(
        "Speed <here>", [Metric("prompt", 2.5), "On one thread & more.", Table("Speed <here>", ["", "tokens/s"], [["a", 12.5]])]
    )
    report.write(tmp_path / "without")
    report.write(tmp_path / "with", measured=[speed])
    without, files = ({p.name: p.read_text() for p in (tmp_path / name).iterdir()} for name in ("without", "with"))
    page = files.pop("report.html").replace('<li><a href="#speed-here">Speed &lt;here&gt;</a></li>', "")
    before, section, after = re.split(r'(<section id="speed-here" class="measured">.*?</section>\n)', page, flags=re.DOTALL)
    assert before + after == without.pop("report.html") and files == without
    assert "<h2>Speed &lt;here&gt;</h2>" in section and "<p>On one thread &amp; more.</p>" in section and "12.50" in section
    assert "<h3>" not in section  # a table of the section's title needs no heading of its own
    for title in ("Search", "Facts"):
        with pytest.raises(ValueError, match=f"two sections .by address. are called '{title.lower()}'"):
            report.write(tmp_path / "none", measured=[Section(title, ["a"])])
    assert not (tmp_path / "none").exists()


def test_a_failed_write_leaves_the_old_file_whole(report, tmp_path, monkeypatch):
    report.write(tmp_path)
    before = (tmp_path / "report.json").read_bytes()

    def full_disk(*_):
        raise OSError("no space left")

    monkeypatch.setattr("os.replace", full_disk)
    with pytest.raises(OSError, match="no space left"):
        Report("another").write(tmp_path)
    assert (tmp_path / "report.json").read_bytes() == before and not list(tmp_path.glob("*.partial"))


def test_html_stands_alone_and_escapes(report):
    html = report.to_html()
    assert "<b>title</b>" not in html and "A &lt;b&gt;title&lt;/b&gt; &amp; more" in html and "&lt;x&gt;" in html
    assert "<script" not in html and "src=" not in html and "@import" not in html
    assert html.count("http") == html.count('xmlns="http://www.w3.org/2000/svg"')
    assert "prefers-color-scheme: dark" in html and 'name="viewport"' in html
    assert 'aria-label="Widths &amp; more: A &quot;caption&quot;."' in html
    ElementTree.fromstring(
        html.replace("<!doctype html>", "").replace('<meta charset="utf-8">', "").replace('initial-scale=1">', 'initial-scale=1"/>')
    )


@pytest.mark.parametrize(("count", "words"), [(0, "0 threads"), (1, "1 thread"), (1024, "1,024 threads")])
def test_counted(count, words):
    assert counted(count, "thread") == words


def test_ids_are_distinct_and_every_address_is_there(report):
    twice = Report.combined("Both", [report, Report("Another", sections=report.sections, facts={"seed": 1})])
    for html in (report.to_html(), twice.to_html([Section("Search", ["Again."])])):
        ids = re.findall(r'\sid="([^"]*)"', html)
        assert len(ids) == len(set(ids)) and set(re.findall(r'(?:href="|url\()#([^")]*)', html)) <= set(ids)
    assert html.count('xlink:href="#') == 0 and html.count("search--search_a") == 6  # an id and two uses in each of two reports


def test_contents_name_every_section_where_there_is_more_than_one(report):
    html = report.to_html()
    assert re.findall(r'<a href="#([^"]*)">', html) == ["methods", "search", "deeper", "deeper--inner-part", "facts"]
    assert re.findall(r"<h([1-6])>(.*?)</h", html.partition("<main>")[2]) == [
        ("1", "A &lt;b&gt;title&lt;/b&gt; &amp; more"), ("2", "Methods"), ("2", "Search"), ("3", "Widths &amp; more"), ("2", "Deeper"),
        ("3", "Inner | part"), ("4", "Methods"), ("2", "Facts"),
    ]  # fmt: skip
    assert "<nav" not in Report("a", sections=report.sections[:1]).to_html()


def test_parts_keep_their_order_and_metrics_in_a_row_are_one_group(report):
    html, markdown = report.to_html(), report.to_markdown()
    for text in (html, markdown):
        text = text[text.index("Words ") :]
        at = [text.index(words) for words in ("first", "learned", "steps", "seeds", "Words last.", "Inner ", "depth")]
        assert at == sorted(at)
    assert html.count('<dl class="metrics">') == 3 and "| steps | 600 |  |  |  |  |\n| seeds | 3 |" in markdown


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


def test_pictures_of_one_title_are_files_of_their_sections(report, tmp_path):
    other = Picture("Search", "Rising.", SVG)
    wide = Report("r", sections=[*report.sections, Section("More", [other, Section("Deep", [Picture("search", "Level.", SVG)])])])
    wide.write(tmp_path)
    names = {path.name for path in tmp_path.glob("*.svg")}
    assert names == {"search--search.svg", "more--search.svg", "more--deep--search.svg", "widths-more.svg"}
    assert all(f"]({name})" in wide.to_markdown() for name in names)


def test_long_and_foreign_titles_make_names_that_systems_take(tmp_path):
    parts = [Picture("損失 " * 90, "c", SVG), Picture("頻度", "c", SVG), Picture("!?", "c", SVG)]
    Report("r", sections=[Section("Größe " * 60, [Section("x" * 300, [Section("y" * 300, parts)]), Section("b", parts[:1])])]).write(
        tmp_path
    )
    assert len(list(tmp_path.glob("*.svg"))) == 3 and (tmp_path / "頻度.svg").exists() and (tmp_path / "untitled.svg").exists()


def test_what_is_wider_than_a_phone_says_so(report):
    def size(*columns):
        return re.search(r'<div class="table (\w+)">', Report("r", sections=[Section("s", [Table("t", columns, [])])]).to_html())[1]

    assert size("a", "b") == "narrow" and size(*["pruned ÷ dense"] * 4) == "narrow" and size(*["mlp_output"] * 6) == "wide"
    assert size(*["perplexity"] * 12) == "widest"
    html = report.to_html()
    assert html.count('class="hint"') == html.count('<div class="scroll" role="region"') == 4
    heads = Report("r", sections=[Section("s", [Table("t", ["mlp_output"], [["mlp_output"]])])]).to_html()
    assert "mlp_<wbr>output</th></tr>" in heads and ">mlp_output</th>" in heads  # a head breaks there, a cell does not


def test_markdown_aligns_numbers_and_escapes(report):
    lines = report.to_markdown().splitlines()
    assert lines[0] == r"# A \<b\>title\</b\> & more"
    assert r"One sentence \| with a bar." in lines
    assert "| perplexity | 24.08 ± 0.31 | per token | 40,800 | lower |  |" in lines
    assert r"| share | 0.5000 \[0.4000, 0.6000\] |  |  |  | 95 % interval |" in lines
    rows = [
        "| method | perplexity | exact |",
        "| --- | ---: | --- |",
        "| learned | 33.20 | yes |",
        "| random | 1,846 |  |",
    ]
    assert [line for line in lines if line.startswith(("| method", "| --- | ---: | --- |", "| learned", "| random"))] == rows * 2
    assert "![Search](search.svg)" in lines and "## Search" in lines and lines.count("### Methods") == 0
    assert r"### Inner \| part" in lines and "#### Methods" in lines and lines.count("## Methods") == 1


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0"), (0.0, "0"), (1234567, "1,234,567"), (24.0841, "24.08"), (0.00012, "0.0001200"), (1e-9, "1.000e-09"), (-846.26, "-846.3"),
     (2.5e20, "2.500e+20"), (99999.6, "100,000")],
)  # fmt: skip
def test_numbers_show_four_digits(value, text):
    from pydisp.report.words import number

    assert number(value) == text


def nested(depth: int) -> Section:
    return Section("s", ["a" if depth == 1 else nested(depth - 1)])


BAD = {
    "nan": (lambda: Metric("a", float("nan")), "metric 'a': value is nan; it must be finite"),
    "text for a number": (lambda: Metric("a", "1"), "metric 'a': value is '1'; it must be a number"),
    "bool for a number": (lambda: Metric("a", True), "metric 'a': value is True; it must be a number"),
    "no name": (lambda: Metric(" ", 1), "the name of a metric is empty"),
    "negative error": (lambda: Metric("a", 1, standard_error=-1), "standard_error is -1; it must be 0 or more"),
    "interval upside down": (lambda: Metric("a", 1, interval=(2, 1)), "interval runs from 2 down to 1"),
    "interval of three": (lambda: Metric("a", 1, interval=(1, 2, 3)), "it must be \\(low, high\\)"),
    "n of zero": (lambda: Metric("a", 1, n=0), "n is 0; it must be a whole number"),
    "direction": (lambda: Metric("a", 1, higher_is_better="yes"), "it must be True, False or None"),
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
    "summary": (lambda: Report("r", summary="text"), "summary is one text; it must be a list"),
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
