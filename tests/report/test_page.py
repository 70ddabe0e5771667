"""The page stands alone, has an address for every section, and shows what was measured beside the headlines."""

import re
from xml.etree import ElementTree

import pytest

from pydisp.report import Metric, Report, Section, Table


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


def test_what_is_measured_stands_on_the_page_alone(report, tmp_path):
    speed = Section(
        "Speed <here>", [Metric("prompt", 2.5), "On one thread & more.", Table("Speed <here>", ["", "tokens/s"], [["a", 12.5]])]
    )
    report.write(tmp_path / "without")
    report.write(tmp_path / "with", measured=[speed])
    without, files = ({p.name: p.read_text() for p in (tmp_path / name).iterdir()} for name in ("without", "with"))
    page = files.pop("report.html").replace('<li><a href="#speed-here">Speed &lt;here&gt;</a></li>', "")
    card = '<div class="measured"><dt>prompt</dt><dd class="value">2.500</dd></div>\n'
    assert page.index("perplexity") < page.index(card) < page.index("</dl>")  # behind the headlines of the report
    page = page.replace(card, "")
    page = re.sub(r"\n\.w130 [^\n]*", "", page)  # the rule of its table
    before, section, after = re.split(r'(<section id="speed-here" class="measured">.*?</section>\n)', page, flags=re.DOTALL)
    assert before + after == without.pop("report.html") and files == without
    assert "<h2>Speed &lt;here&gt;</h2>" in section and "<p>On one thread &amp; more.</p>" in section and "12.50" in section
    assert before.count("<section") == 0  # readers ask for times first
    assert "<h3>" not in section  # a table of the section's title needs no heading of its own
    for title in ("Search", "Facts"):
        with pytest.raises(ValueError, match=f"two sections .by address. are called '{title.lower()}'"):
            report.write(tmp_path / "none", measured=[Section(title, ["a"])])
    assert not (tmp_path / "none").exists()


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


def test_a_measured_section_of_figures_alone_keeps_them(report):
    html = report.to_html([Section("Speed", [Metric("prompt", 2.5)])])
    assert '<div class="measured">' not in html and "2.500" in html[html.index('<section id="speed"') :]


def test_a_card_has_a_line_for_each_thing_known(report):
    first = re.search(r'<dl class="metrics">\n(.*?)</div>', report.to_html(), re.DOTALL)[1]
    assert re.findall(r'<dd class="detail">([^<]*)</dd>', first) == ["±\u00a00.31 s.e.", "n\u00a0=\u00a040,800", "lower is better"]
