"""Pictures of a probe: SVG that stands alone, in colours that can be read, of a size that has a bound."""

import re
import warnings
from xml.etree import ElementTree

import numpy as np
import pytest
from browser_page import needs_chromium, require_whole

from pydisp.intervals import Estimate
from pydisp.legal_probe.head_map import (
    HeadMap,
    difference_scale,
    fits,
    head_maps,
    percentile_scale,
    ratio_scale,
    share_scale,
)
from pydisp.legal_probe.pictures import LayerCurve, Point, has_log_axis, layer_curves, points, round_numbers
from pydisp.legal_probe.token_strip import Token, token_strip, visible
from pydisp.report import Picture
from pydisp.report.drawing import _MODES, BLACK, EMPTY, WHITE, letters_on, shortened

NAN = float("nan")
LONG = "a concept with a name that is far too long for a small picture, and that differs from others only in its number"


def maps(count=2, layers=3, heads=4, value=None, found=0.2, names=None):
    rng = np.random.default_rng(0)
    layer, head = np.divmod(np.arange(layers * heads), heads)
    return [
        HeadMap(
            names[n] if names else f"concept {n}",
            layer,
            head,
            np.abs(rng.normal(size=layers * heads)) if value is None else np.full(layers * heads, value),
            rng.random(layers * heads) < found,
        )
        for n in range(count)
    ]


def curve(name="role", layers=6, value=1.2, interval=(0.9, 1.6)):
    return LayerCurve(name, range(layers), [value] * layers, [interval] * layers)


def strip(*words, **settings):
    return token_strip([Token(*word) if isinstance(word, tuple) else Token(word, 1.0) for word in words], "attention", **settings)


def elements(svg, kind):
    return [e for e in ElementTree.fromstring(svg).iter() if e.tag.rpartition("}")[2] == kind]


def texts(svg):
    return ["".join(e.itertext()).strip() for e in elements(svg, "text")]


def area_of(svg, colour):
    """How many rectangles of a colour a picture has: each begins with one M in the path of its colour."""
    return sum(e.get("d").count("M") for e in elements(svg, "path") if f"fill: {colour}" in (e.get("style") or ""))


DRAWINGS = {
    "points": lambda: points([Point("role", Estimate(1.4, (0.9, 2.0)), 1.3, Estimate(0.6, (0.4, 0.8))), Point("act", Estimate(1.1))]),
    "points without chance": lambda: points([Point("role", Estimate(1.4))]),
    "points with a negative interval": lambda: points([Point("role", Estimate(3.0, (-1.0, 40.0)), 0.2)]),
    "20 points": lambda: points([Point(f"{LONG} {n}", Estimate(1.0 + n, (n, n + 2.0)), 1.0, Estimate(0.5)) for n in range(20)]),
    "a point that is NaN": lambda: points([Point("role", Estimate(NAN), None, Estimate(NAN))]),
    "curves": lambda: layer_curves([curve(f"concept {n}") for n in range(9)], "enrichment", level=1),
    "a curve of one layer": lambda: layer_curves([curve(layers=1)], "enrichment", level=1),
    "a curve of 80 layers without intervals": lambda: layer_curves([curve(layers=80, interval=None)], "difference", level=0),
    "a curve that is NaN": lambda: layer_curves([curve(value=NAN, interval=None)], "enrichment", level=1),
    "maps": lambda: head_maps(maps(), share_scale, "share, %"),
    "a map of one head": lambda: head_maps(maps(1, 1, 1), difference_scale, "points"),
    "maps of zeros": lambda: head_maps(maps(value=0.0), ratio_scale, "enrichment"),
    "maps of NaN": lambda: head_maps(maps(value=NAN), percentile_scale, "percentile"),
    "20 maps with long names": lambda: head_maps(maps(20, names=[f"{LONG} {n}" for n in range(20)]), share_scale, "share, %"),
    "20 maps of 80 layers": lambda: head_maps(maps(20, 80, 64, names=[f"{LONG} {n}" for n in range(20)]), share_scale, "share, %"),
    "strip": lambda: strip("The", (" bank", 3.0, True), (".", None), is_cut=(True, True)),
    "strip of one token that does not count": lambda: strip((".", None)),
}


@pytest.mark.parametrize("name", DRAWINGS)
def test_drawing_is_svg_that_stands_alone_and_repeats_byte_for_byte(name):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        svg = DRAWINGS[name]()
    assert svg == DRAWINGS[name]()
    Picture(name, name, svg)
    assert svg.startswith("<svg ") and "prefers-color-scheme: dark" in svg and not elements(svg, "image")
    assert not re.search(r"\b(nan|inf)\b", svg, re.IGNORECASE)


@pytest.mark.parametrize("name", [name for name in DRAWINGS if "80 layers" not in name])
def test_no_words_leave_the_picture(name):
    """Begin and end of every text, at the width of its letters in the widest usual font, lie inside the picture."""
    svg = DRAWINGS[name]()
    width = float(re.search(r'width="([\d.]+)pt"', svg)[1])
    for element in elements(svg, "text"):
        style = element.get("style") or ""
        size = float(re.search(r"([\d.]+)px", style)[1])
        place = re.search(r"translate\(([-\d.]+)", element.get("transform") or "") or re.search(r"([-\d.]+)", element.get("x") or "")
        if "rotate(-90" in (element.get("transform") or ""):
            continue
        reach = 0.62 * size * len("".join(element.itertext()))
        anchor = re.search(r"text-anchor: (\w+)", style)
        left = float(place[1]) - {"middle": reach / 2, "end": reach}.get(anchor[1] if anchor else "", 0)
        assert -0.1 * reach - 4 <= left and left + reach <= width + 0.1 * reach + 4, "".join(element.itertext())


@needs_chromium
def test_no_letter_is_cut():
    require_whole({name: draw() for name, draw in DRAWINGS.items() if "80 layers" not in name})


def test_an_axis_is_logarithmic_where_values_span_much_and_are_positive():
    assert has_log_axis([0.5, 2.1], [0.5, 2.1])
    assert not has_log_axis([0.6, 2.1], [0.6, 2.1])
    assert not has_log_axis([0.0, 9.0], [0.0, 9.0]) and not has_log_axis([], [])
    assert has_log_axis([1.0, -3.0, 9.0], [1.0])  # the interval alone is negative
    assert {"0.5", "5"} <= set(texts(points([Point("role", Estimate(0.4)), Point("act", Estimate(6.0))])))


def test_points_show_what_null_spans_have_and_the_percentile():
    both = points([Point("role", Estimate(1.4), 1.3, Estimate(0.6))])
    alone = points([Point("role", Estimate(1.4))])
    assert {"role", "null spans", "percentile, %"} <= set(texts(both))
    assert "percentile, %" not in texts(alone)


def test_at_most_four_curves_share_a_panel():
    def panels(count):
        return sum(
            e.get("id", "").startswith("axes_") for e in elements(layer_curves([curve(f"c{n}") for n in range(count)], "y", level=1), "g")
        )

    assert [panels(count) for count in (1, 4, 5, 8, 9)] == [1, 1, 2, 2, 3]


def test_a_layer_without_attention_is_a_gap():
    whole = layer_curves([LayerCurve("role", [0, 1, 2, 3], [1.0, 1.1, 1.2, 1.3], [None] * 4)], "y", level=1)
    gap = layer_curves([LayerCurve("role", [0, 1, 3], [1.0, 1.1, 1.3], [None] * 3)], "y", level=1)

    def longest(svg):
        lines = [e for e in elements(svg, "path") if e.get("clip-path") and "stroke-width: 1.5" in (e.get("style") or "")]
        return max(run.count("L") for e in lines for run in e.get("d").split("M"))

    assert longest(whole) == 3 and longest(gap) == 1


@pytest.mark.parametrize("scale_of", [share_scale, ratio_scale, difference_scale, percentile_scale])
def test_colours_of_maps_stay_as_they_are_in_dark_mode(scale_of):
    scale = scale_of(np.array([0.3, 1.0, 2.5]), "x")
    assert not {*scale.colours, BLACK, WHITE} & set(_MODES)


@pytest.mark.parametrize("scale_of", [share_scale, ratio_scale, difference_scale, percentile_scale])
def test_marks_and_letters_can_be_read_on_every_colour(scale_of):
    def luminance(colour):
        linear = [
            (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4) for c in (int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5))
        ]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    for colour in scale_of(np.array([0.3, 1.0, 2.5]), "x").colours:
        bright, dark = sorted((luminance(colour), luminance(letters_on(colour))), reverse=True)
        assert (bright + 0.05) / (dark + 0.05) >= 4.5, colour


def test_scales_put_their_middle_where_nothing_differs():
    ratio, difference = ratio_scale(np.array([0.3, 3.0]), "x"), difference_scale(np.array([-0.2, 0.7]), "x")
    percentile = percentile_scale(np.array([30.0, 60.0]), "x")
    for scale, middle, less, more in ((ratio, 1.0, 0.5, 2.0), (difference, 0.0, -0.5, 0.5), (percentile, 50.0, 35.0, 65.0)):
        steps = scale.steps_of(np.array([less, middle, more, NAN]))
        assert (
            steps[1] == len(scale.colours) // 2 and steps[0] + steps[2] == len(scale.colours) - 1 and steps[0] < steps[1] and steps[3] == -1
        )
        red, green, blue = (int(scale.colours[steps[1]][i : i + 2], 16) for i in (1, 3, 5))
        assert max(red, green, blue) - min(red, green, blue) < 10  # a grey
    share = share_scale(np.array([0.5, 7.4]), "x")
    assert share.edges[0] == 0 and share.edges[-1] == 8 and share.steps_of(np.array([0.0]))[0] == 0
    lights = [sum(int(colour[i : i + 2], 16) for i in (1, 3, 5)) for colour in share.colours]
    assert lights == sorted(lights, reverse=True)


def test_a_scale_says_at_its_ends_that_values_lie_beyond():
    few = np.concatenate([np.full(99, 1.0), [50.0]])
    assert share_scale(few, "x").ticks[-1][1] == "≥ 1" and share_scale(few[:99], "x").ticks[-1][1] == "1"
    assert difference_scale(-few, "x").ticks[0][1] == "≤ -1" and difference_scale(-few, "x").ticks[-1][1] == "+1"
    assert [word for _, word in ratio_scale(np.array([0.25, 4.0]), "x").ticks] == ["1/4", "1/2", "1", "2", "4"]
    assert ratio_scale(np.array([0.0, 1.0]), "x").ticks[0][1].startswith("≤ 1/")


def test_maps_have_a_cell_for_each_head_and_a_mark_for_each_found():
    (one,) = maps(1, 3, 4)
    uneven = HeadMap("uneven", one.layers[:-3], one.heads[:-3], one.values[:-3].copy(), np.zeros(9, dtype=bool))
    uneven.values[0] = NAN
    uneven.found[1] = True
    svg = head_maps([uneven], share_scale, "share, %")
    scale = share_scale(uneven.values, "share, %")
    cells = {colour: area_of(svg, colour) for colour in scale.colours}
    assert sum(cells.values()) == 8 + len(scale.colours)  # and the colours of the scale
    assert area_of(svg, "var(--pydisp-empty)") == 1
    assert area_of(svg, BLACK) + area_of(svg, WHITE) == 1
    step = scale.steps_of(uneven.values)[5]
    assert cells[scale.colours[step]] == 1 + (scale.steps_of(uneven.values) == step).sum()
    assert EMPTY not in svg.split("</style>", 1)[1]


def test_layer_0_is_at_the_bottom():
    layers, heads = np.divmod(np.arange(6), 2)
    svg = head_maps([HeadMap("role", layers, heads, np.where(layers == 0, 8.0, 0.5), layers < 0)], share_scale, "share, %")
    darkest = share_scale(np.array([8.0]), "x").colours[-1]
    paths = [e.get("d") for e in elements(svg, "path") if f"fill: {darkest}" in (e.get("style") or "")]
    lightest = [
        e.get("d") for e in elements(svg, "path") if f"fill: {share_scale(np.array([8.0]), 'x').colours[0]}" in (e.get("style") or "")
    ]
    heights = [min(float(y) for y in re.findall(r"[ML] [-\d.]+ ([-\d.]+)", max(part, key=len))) for part in (paths, lightest)]
    assert heights[0] > heights[1]  # y runs downward in SVG


def test_too_many_heads_are_drawn_as_means_of_layers():
    assert fits(maps(7, 32, 32)) and not fits(maps(1, 80, 64)) and not fits(maps(20, 32, 32))
    large = maps(7, 80, 64)
    svg = head_maps(large, share_scale, "share, %")
    assert len(svg) < 100_000 and len(head_maps(maps(7, 32, 32), share_scale, "share, %")) < 650_000
    assert "head" not in texts(svg) and {"layer", "concept 6"} <= set(texts(svg))
    means = np.array([one.values[one.layers == layer].mean() for one in large for layer in range(80)])
    scale = share_scale(means, "x")
    for step, colour in enumerate(scale.colours):
        assert area_of(svg, colour) == 1 + (scale.steps_of(means) == step).sum()


def test_long_names_keep_their_end():
    names = [shortened(f"{LONG} {n}", 20, 2) for n in range(20)]
    assert len(set(names)) == 20 and all(line for name in names for line in name.split("\n"))
    assert max(len(line) for name in names for line in name.split("\n")) <= 20 and max(name.count("\n") for name in names) == 1
    assert shortened("role", 20) == "role" and shortened("x" * 100, 10, 2).count("\n") == 1


def test_numbers_of_an_axis_are_round():
    assert round_numbers(1, 5) == [0] and round_numbers(6, 8) == [0, 1, 2, 3, 4, 5]
    assert round_numbers(30, 8) == [0, 5, 10, 15, 20, 25] and len(round_numbers(4000, 10)) <= 10


def test_a_strip_tells_apart_what_counts_what_is_of_the_concept_and_what_received_much():
    svg = strip("Of", (" the", 0.2), (" bank", 4.0, True), (",", None), (";", None), (" it", 0.2))
    scale = ratio_scale(np.array([1.0, 0.2, 4.0, 0.2]), "x")
    little, much = (scale.colours[scale.steps_of(np.array([value]))[0]] for value in (0.2, 4.0))
    assert area_of(svg, little) == 3 and area_of(svg, much) == 2  # one more in the scale
    assert area_of(svg, "var(--pydisp-empty)") == 3  # and the legend's
    underlined = [e for e in elements(svg, "path") if "stroke-width: 1.8" in (e.get("style") or "")]
    struck = [e for e in elements(svg, "path") if "stroke-width: 0.7" in (e.get("style") or "")]
    assert len(underlined) == 2 and len(struck) == 3
    assert [word for word in texts(svg) if word in ("Of", "the", "bank", ",", "it")] == ["Of", "the", "bank", ",", "it"]


def test_a_strip_wraps_within_the_page_and_keeps_the_pieces_of_a_word_together():
    from pydisp.legal_probe.token_strip import _placed, _width

    words, begins = ["aff", "irm", "ative"] * 40, [True, False, False] * 40
    places, lines = _placed(words, begins, False)
    assert lines > 3 and max(left + width for _, left, width in places) <= 7.6 * 72
    assert all(places[n][0] == places[n + 1][0] == places[n + 2][0] for n in range(0, 120, 3))
    for (line, left, width), (after, place, _) in zip(places, places[1:], strict=False):
        assert after == line + 1 or (after == line and place >= left + width)
    assert _width("www") > _width("iii") and _width("契約") > 2 * 0.9 * 8


@pytest.mark.parametrize(
    "text, shown",
    [
        (" a&b<c>]]>", "a&b<c>]]>"), ("$x$", "$x$"), ("$5 or $6", "$5 or $6"), ("\n", "\\n"), ("\x01", "\\x01"), ("\u202e", "\\u202e"),
        ("契約", "契約"), ("عقد", "عقد"), ("🙂", "🙂"), ("\ufffd", "\ufffd"), ("", "·"), ("  ", "·"), ("_" * 60, "_" * 40 + "…"), ("\\alpha", "\\alpha"),
    ],
)  # fmt: skip
def test_every_token_can_be_shown(text, shown):
    assert visible(text) == shown
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        svg = strip("a", (text, 2.0, True), (text, None))
    Picture("strip", "strip", svg)
    assert texts(svg).count(shown) == 2


def test_letters_of_a_strip_are_large_enough_to_print():
    sizes = [float(size) for size in re.findall(r"([\d.]+)px", strip("a", (" b", 2.0, True), (".", None)))]
    assert min(sizes) >= 7.5
