"""The page as Chromium shows it, on a phone and at a desk, light and dark: nothing is cut, small, faint or broken, and what scrolls says so."""

import numpy as np
from browser_page import DESK, PHONE, measured, needs_chromium, printed_pages, require_readable

from pydisp.report import Metric, Picture, Report, Section, Table
from pydisp.report.drawing import BLUE, ORANGE, SOFT, WIDTH_INCHES, drawing, letters_on, new_figure, quiet, svg


def curve(width: float) -> Picture:
    """A picture with words of all kinds: ticks, labels, a legend, letters on colours."""
    with drawing():
        figure = new_figure(width, 2.5)
        axes = figure.subplots()
        axes.plot([1, 10, 100], [0.1, 0.5, 0.3], color=BLUE, label="first")
        axes.plot([1, 10, 100], [0.2, 0.4, 0.6], color=ORANGE, label="second")
        for place, colour in enumerate(("#0b3f75", "#85bcdb", "#f3f1ed", "#cf6f1e")):
            axes.bar(20 + 20 * place, 0.3, 15, color=colour)
            axes.text(20 + 20 * place, 0.15, "n 8", ha="center", color=letters_on(colour))
        axes.annotate("dense", (80, 0.5), color=SOFT)
        axes.set_title("A title")
        axes.set_xlabel("step")
        axes.set_ylabel("nats per token")
        axes.legend()
        quiet(axes)
        return Picture(f"Curve of {width} inches", "Nats over steps, 95 % interval.", svg(figure))


def hard_report() -> Report:
    """What pages find hard to hold: names without a place to break, many columns, sentences in cells, hyphens, figures with units."""
    digest = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"
    name = "an-organisation-of-some-length/A-model-with-a-long-name-7B-instruct-v0.2"
    numbers = np.random.default_rng(0).normal(size=(3, 9)) * 10.0 ** np.arange(-4, 5)
    sentence = "With calibrated at most half as many unneeded calls are tried as with toolkengpt, at equal or better accuracy."
    return Report(
        f"{name} on https://example.org/a/very/long/address/without/any/space/at/all/that/goes/on.jsonl",
        summary=[f"The digest is {digest}; 0.2 ± 0.1 nats per token (95 % interval -0.1 to 0.4), p = 0.03.", sentence],
        metrics=[
            Metric(f"perplexity of {name}", 1234567.891, "per token, at a context of 2,048 tokens", standard_error=0.3, n=40800, note=sentence),
            Metric("needs-a-tool AUROC, calibrated", 0.5538, interval=(0.04709, 0.9778), n=18, higher_is_better=True, decimals=3),
            *(Metric(f"measure {place}", -0.005933, "points", interval=(-0.06733, 0.04912)) for place in range(6)),
        ],
        sections=[
            Section("Wide", [Table("Many columns", ["held-out", *[f"perplexity {n}" for n in range(9)]], [[n, *row] for n, row in enumerate(numbers.tolist())])]),
            Section("Names", [Table("Masks", ["mlp_output", "attention_input"], [[name, digest], ["held-out", "3,959–111,931"]])]),
            Section("Sentences", [Table("Claims", ["claim", "verdict", "figures"], [[sentence, "too weak to tell", "0.0 % (0.0 to 64.4) of 5 calls"]] * 2)]),
            Section("Narrow", [Table("Two columns", ["text", "tokens"], [["held-out", 8160], ["other", 7]]), Table("Empty", ["a"], [])]),
            Section("Letters", [Table("Scripts", ["損失 頻度", "Größe"], [["損失" * 12, "ÄÖÜß" * 6], ["WWWWWWWW", "mmmm"]] )]),
            Section("Pictures", [curve(3.0), curve(WIDTH_INCHES), curve(13.0)]),
        ],
        facts={"name": name, "digest": digest, "settings": {"a_setting_with_a_rather_long_name": [1, 2], "path": "x" * 90}, "seed": 0},
    )  # fmt: skip


@needs_chromium
def test_pages_are_readable(report):
    found = require_readable({"sample": report.to_html(), "hard": hard_report().to_html()})
    scrolling = {width: [box["title"] for box in found["hard", width, "light"]["boxes"] if box["scrolls"]] for width in (PHONE, DESK)}
    assert {"Many columns", "Claims", "Masks", f"Curve of {WIDTH_INCHES} inches", "Curve of 13.0 inches"} <= set(scrolling[PHONE])
    assert set(scrolling[DESK]) == {"Many columns", "Masks", "Curve of 13.0 inches"} and "Two columns" not in scrolling[PHONE]


@needs_chromium
def test_what_is_wrong_is_found():
    wrong = {
        "wide": "main { width: 1400px; }",
        "small": ".metrics .detail { font-size: 11px; }",
        "faint": "dt { color: #999999 !important; }",
        "broken": "td { word-break: break-all; max-width: 3rem; }",
        "small letters of pictures": "figure .picture { width: 300px !important; }",
        "faint letters of pictures": "svg text { fill: #777777 !important; }",
        "cut letters of pictures": "svg text { font-size: 40px !important; }",
        "hint": ".box > .hint { display: none !important; }",
    }
    html = hard_report().to_html()
    found = measured(
        {kind: html.replace("</style>", f"{rule}</style>", 1) for kind, rule in wrong.items()}, widths=[PHONE], schemes=["light"]
    )
    for kind in wrong:
        one = found[kind, PHONE, "light"]
        if kind == "wide":
            assert one["wide"] > 500
        elif kind == "hint":
            assert any(box["scrolls"] and not box["hint"] for box in one["boxes"])
        else:
            assert one[kind.split()[0]], kind


@needs_chromium
def test_on_paper_nothing_is_cut_and_no_hint_is_left():
    html = hard_report().to_html().replace("@media print", "@media all")
    one = measured({"page": html}, widths=[700], schemes=["light"])["page", 700, "light"]
    assert one["wide"] <= 0 and not any(box["scrolls"] or box["hint"] for box in one["boxes"]) and not one["cut"]


@needs_chromium
def test_a_page_can_be_printed(report):
    assert printed_pages(report.to_html()) >= 1 and printed_pages(hard_report().to_html()) >= 3
