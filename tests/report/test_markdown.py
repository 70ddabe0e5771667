"""A report as Markdown: escaped, numbers to the right, headings for what has another title than its section."""


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
