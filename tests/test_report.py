import json
import re
import subprocess
import sys
from xml.etree import ElementTree

import numpy as np
import pytest

from pydisp.report import Measured, Metric, Picture, Report, Table
from pydisp.report.words import counted

SVG = (
    '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 2 2"><defs><path id="a" d="M0 0"/></defs>'
    '<g clip-path="url(#a)"><use href="#a"/></g></svg>'
)


@pytest.fixture
def report():
    return Report(
        "A <b>title</b> & more",
        summary=["One sentence | with a bar."],
        metrics=[
            Metric("perplexity", np.float64(24.084), "per token", standard_error=0.314, n=np.int64(40800), higher_is_better=False),
            Metric("share", 0.5, interval=[0.4, 0.6], note="95 % interval"),
        ],
        tables=[Table("Methods", ["method", "perplexity", "exact"], [["learned", 33.2, True], ["random", 1846.25, None]])],
        pictures=[Picture("Widths & more", 'A "caption".', SVG), Picture("Search", "Falling.", SVG)],
        facts={"seed": 0, "config": {"lr": 0.3, "betas": (0.9, 0.99)}, "name": "<x>"},
    )


def test_json_reads_back_the_same(report):
    text = report.to_json()
    assert Report.from_json(text) == report
    assert Report.from_json(text).to_json() == text
    found = json.loads(text)
    assert found["metrics"][0]["value"] == 24.084 and found["metrics"][0]["n"] == 40800
    assert found["facts"]["config"] == {"lr": 0.3, "betas": [0.9, 0.99]}
    assert list(found) == sorted(found)


@pytest.mark.parametrize("text", ["{", "[]", "{}", '{"format": "pydisp-report-1"}', '{"format": "pydisp-report-2", "title": "a"}'])
def test_other_json_is_refused(text):
    with pytest.raises(ValueError):
        Report.from_json(text)


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
    measured = Measured("Speed <here>", ("On one thread & more.",), Table("t", ["", "tokens/s"], [["pruned", 12.5]]))
    report.write(tmp_path / "without")
    report.write(tmp_path / "with", measured)
    without, found = ({p.name: p.read_text() for p in (tmp_path / name).iterdir()} for name in ("without", "with"))
    before, section, after = re.split(r'(<section id="measured">.*?</section>\n)', found.pop("report.html"), flags=re.DOTALL)
    assert before + after == without.pop("report.html") and found == without
    assert "<h2>Speed &lt;here&gt;</h2><p>On one thread &amp; more.</p>" in section and "12.50" in section
    for wrong in (("", ("a",)), ("a", ("",)), ("a", (1,))):
        with pytest.raises((ValueError, TypeError), match="a section|section 'a'"):
            Measured(*wrong)


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


def test_ids_of_two_pictures_do_not_meet(report):
    html = report.to_html()
    for position in (1, 2):
        assert f'id="p{position}-a"' in html and f"url(#p{position}-a)" in html and f'href="#p{position}-a"' in html


def test_markdown_aligns_numbers_and_escapes(report):
    lines = report.to_markdown().splitlines()
    assert lines[0] == r"# A \<b\>title\</b\> & more"
    assert r"One sentence \| with a bar." in lines
    assert "| perplexity | 24.08 ± 0.31 | per token | 40,800 | lower |  |" in lines
    assert r"| share | 0.5000 \[0.4000, 0.6000\] |  |  |  | 95 % interval |" in lines
    assert [line for line in lines if line.startswith(("| method", "| --- | ---: | --- |", "| learned", "| random"))] == [
        "| method | perplexity | exact |",
        "| --- | ---: | --- |",
        "| learned | 33.20 | yes |",
        "| random | 1,846 |  |",
    ]
    assert "![Search](search.svg)" in lines


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0"), (0.0, "0"), (1234567, "1,234,567"), (24.0841, "24.08"), (0.00012, "0.0001200"), (1e-9, "1.000e-09"), (-846.26, "-846.3"),
     (2.5e20, "2.500e+20"), (99999.6, "100,000")],
)  # fmt: skip
def test_numbers_show_four_digits(value, text):
    from pydisp.report.words import number

    assert number(value) == text


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
    "twice": (lambda: Report("r", metrics=[Metric("a", 1), Metric("a", 2)]), "two metrics are called 'a'"),
    "two files": (lambda: Report("r", pictures=[Picture("A b", "c", SVG), Picture("a B", "c", SVG)]), "called 'a-b.svg'"),
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
