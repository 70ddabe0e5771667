"""Pictures of results: valid, the same each time, with every figure that they were given."""

import re

import numpy as np
import pytest
from browser_page import needs_chromium, require_whole

from pydisp.holobench.figures.pictures import Series, curves, heat_map, points
from pydisp.report import Picture

SERIES = [
    Series("F1", [60.0, np.nan, 20.0], [(50.0, 70.0), None, (0.0, 41.0)]),
    Series("accuracy", [70.0, 30.0, np.nan], [(60.0, 80.0), None, None], [25.0, 25.0, np.nan]),
]
NAMES = ["count", "top k", "join aggregate"]


def words(svg):
    return re.findall(r"<text[^>]*>([^<]*)</text>", svg)


@pytest.mark.parametrize("draw", [lambda: points(NAMES, SERIES, "%"), lambda: curves(NAMES, SERIES, "%", "tokens")])
def test_points_and_curves_name_groups_and_series(draw):
    svg = draw()
    Picture("scores", "Scores.", svg)
    assert {"count", "top k", "join aggregate", "F1", "accuracy", "accuracy: chance"} <= set(words(svg))
    assert svg == draw()


def test_one_series_without_chance_has_no_legend():
    assert "F1" not in words(points(NAMES, SERIES[:1], "%")) and "F1" not in words(curves(NAMES, SERIES[:1], "%", "tokens"))


def test_a_map_has_the_figure_and_the_number_of_each_cell():
    values = np.array([[62.4, np.nan], [8.0, 100.0]])
    svg = heat_map(["512", "1,024"], ["25 %", "50 %"], values, np.array([[18, 0], [17, 3]]), "length", "density")
    Picture("map", "A map.", svg)
    found = words(svg)
    assert {"62", "8", "100", "n 18", "n 17", "n 3", "512", "1,024", "25 %", "50 %"} <= set(found) and "n 0" not in found


def test_a_higher_figure_has_a_darker_cell():
    svg = heat_map(["512"], ["a", "b"], np.array([[10.0], [90.0]]), np.ones((2, 1), dtype=int), "length", "density")
    alphas = [float(one) for one in re.findall(r"fill: var\(--pydisp-blue\); opacity: ([0-9.]+)", svg)]
    assert len(alphas) == 2 and alphas[0] < 0.2 and alphas[1] > 0.5


@pytest.mark.parametrize("name", ["$x^", "<b>&amp;", "学校", "a very long name of a model or a class that wraps"])
def test_names_are_taken_as_they_are(name):
    for svg in (points([name], [Series(name, [1.0], [None])], "%"), curves([name], [Series(name, [1.0], [None])], "%", name)):
        Picture("scores", "Scores.", svg)


def test_differences_have_an_axis_of_their_own():
    far = points(["all"], [Series("difference", [-3.0], [(-5.0, -1.0)])], "points", middle=0)
    assert "100" not in words(far)


def test_one_group_and_nothing_but_gaps_can_be_drawn():
    for of in (SERIES[:1], [Series("F1", [np.nan] * 3, [None] * 3)]):
        Picture("p", "P.", points(NAMES, of, "%"))
        Picture("c", "C.", curves(NAMES, of, "%", "tokens", joined=[0, 2]))
    Picture("one", "One.", curves(["512"], [Series("F1", [50.0], [(1.0, 99.0)])], "%", "tokens"))


@needs_chromium
def test_no_letter_is_cut():
    long = [name * 4 for name in NAMES]
    values = np.array([[62.4, np.nan, 8.0]] * 3)
    require_whole(
        {
            "points": points(long, SERIES, "%"),
            "differences": points(long, SERIES[:1], "points", middle=0),
            "curves": curves(NAMES, SERIES, "%", "placement of the relevant facts"),
            "map": heat_map(
                ["4,096", "65,536", "131,072"], ["extreme 25 %"] * 3, values, np.full((3, 3), 10_000), "length, tokens", "density, about"
            ),
        }
    )
