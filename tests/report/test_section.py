"""Sections keep the author's order, and their pictures have files of their own."""

from sample_report import SVG

from pydisp.report import Picture, Report, Section


def test_parts_keep_their_order_and_metrics_in_a_row_are_one_group(report):
    html, markdown = report.to_html(), report.to_markdown()
    for text in (html, markdown):
        text = text[text.index("Words ") :]
        at = [text.index(words) for words in ("first", "learned", "steps", "seeds", "Words last.", "Inner ", "depth")]
        assert at == sorted(at)
    assert html.count('<dl class="metrics">') == 3 and "| steps | 600 |  |  |  |  |\n| seeds | 3 |" in markdown


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
