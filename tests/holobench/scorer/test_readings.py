import pytest

from pydisp.holobench.items import Gold
from pydisp.holobench.scorer.answer_text import Plain
from pydisp.holobench.scorer.readings import label, readings

GOLD = Gold(("city", "total_sum"), ("text", "integer"), (("Rome", 12), ("Smith, John: x", 1234)))
ONE = Gold(("name",), ("text",), (("Anna",), ("B, and C",)))


def read(gold: Gold, *lines: str) -> list:
    return list(readings(list(lines), gold.columns, Plain.of(gold)))


def cleaned(rows) -> list:
    return [row if isinstance(row, int) else tuple(cell and cell.strip(" )") for cell in row) for row in rows]


def has(gold: Gold, lines: list[str], rows: list) -> bool:
    return any(cleaned(found) == rows for found in read(gold, *lines))


TWO = [("Oslo", "12"), ("Bern", "7")]


@pytest.mark.parametrize(
    "lines",
    [
        ["Oslo, 12", "Bern, 7"], ["Oslo\t12", "Bern\t7"], ["| Oslo | 12 |", "| Bern | 7 |"], ["Oslo; 12", "Bern; 7"],
        ["Oslo: 12", "Bern: 7"], ["Oslo - 12", "Bern – 7"], ["Oslo -> 12", "Bern->7"], ["Oslo = 12", "Bern=7"],
        ["Oslo (12)", "Bern (7)"], ["(Oslo, 12)", "(Bern, 7)"], ["Oslo has 12", "Bern had 7"], ["Oslo is 12", "Bern IS 7"],
        ["Oslo with 12", "Bern at 7"], ["Oslo: 12", "Bern (7)"], ["- Oslo, 12", "- Bern, 7"], ["x", "1. Oslo: 12", "2. Bern: 7", "y"],
        ["Oslo, 12; Bern, 7"], ["Oslo (12); Bern (7);"], ["Oslo: 12, Bern: 7"], ["Oslo (12) and Bern (7)."], ["Oslo = 12, and Bern = 7"],
        ["Oslo has 12 and Bern has 7"], ["The sums: Oslo: 12, Bern: 7"], ["The sums are Oslo: 12 and Bern: 7"],
        ['[["Oslo", 12], ["Bern", 7]]'], ['["Oslo", 12]', '["Bern", 7]'], ['{"rows": [["Oslo", 12], ["Bern", 7]]}'],
        ['[{"total sum": 12, "City": "Oslo"}, {"city": "Bern", "TOTAL_SUM": 7}]'],
        ['{"city": "Oslo", "total_sum": 12}', '{"city": "Bern", "total_sum": 7}'],
        ['[{"a": "Oslo", "b": 12}, {"a": "Bern", "b": 7}]'], ['{"Oslo": 12, "Bern": 7}'],
        ["| City | Total sum |", "|---|---|", "| Oslo | 12 |", "| Bern | 7 |"],
        ["| # | total_sum | city |", "|-|-|-|", "| 1 | 12 | Oslo |", "| 2 | 7 | Bern |"],
        ["| # | x | y |", "|-|-|-|", "| 1 | Oslo | 12 |", "| 2 | Bern | 7 |"], ["| Nr. | x | y |", "|-|-|-|", "| 1. | Oslo | 12 |",
        "| 2. | Bern | 7 |"],
        ["| x | y |", "|-|-|", "| Oslo | 12 |", "| Bern | 7 |", "z"], ["city, total sum", "Oslo, 12", "Bern, 7"],
        ["City: Total_Sum", "Oslo: 12", "Bern: 7"], ['[["city", "total_sum"], ["Oslo", 12], ["Bern", 7]]'],
    ],
)  # fmt: skip
def test_two_rows_of_two_cells_are_read(lines):
    assert has(GOLD, lines, TWO), read(GOLD, *lines)


def test_a_column_of_a_table_that_does_not_number_its_rows_stays():
    for first, numbers in (("x", "12"), ("#", "13"), ("#", "21"), ("#", "ab")):
        lines = [f"| {first} | c |", "|-|-|", *(f"| {number} | x |" for number in numbers)]
        assert read(ONE, *lines) == [[(number, "x") for number in numbers]]
    ranks = Gold(("rank",), ("integer",), ((1,), (2,)))
    assert read(ranks, "| Rank | c |", "|-|-|", "| 1 | x |", "| 2 | y |") == [[("1",), ("2",)]]


def test_surplus_cells_are_joined_as_they_were_written():
    assert has(GOLD, ["Lee,  Ann, 5"], [("Lee, Ann", "5")])
    assert has(GOLD, ["Lee, 5, 6"], [("Lee", "5, 6")])
    assert has(GOLD, ["Box (old) (5)"], [("Box (old", "5")])
    assert has(GOLD, ["Lee, Ann, 5", "Bo, 6"], [("Lee, Ann", "5"), ("Bo", "6")])


def test_a_row_with_too_few_cells_stays_a_row():
    assert has(GOLD, ["Oslo, 12", "That is all"], [("Oslo", "12"), ()])
    assert max(map(len, read(GOLD, "Oslo", "Bern"))) == 2


def test_commas_in_numbers_and_dates_do_not_separate():
    assert has(GOLD, ["Oslo, 1,234"], [("Oslo", "1,234")]) and has(GOLD, ["Oslo: 1,234, Bern: 7"], [("Oslo", "1,234"), ("Bern", "7")])
    assert has(GOLD, ["Oslo, March 5, 2021"], [("Oslo", "March 5, 2021")])


@pytest.mark.parametrize(
    "lines",
    [
        ["x", "y", "z"], ["x; y; z"], ["x, y, z"], ["x, y and z"], ["x, y, and z."], ["- x", "- y", "- z"], ['["x", "y", "z"]'],
        ["name", "x", "y", "z"],
        ['{"names": ["x", "y", "z"]}'], ['[{"name": "x"}, {"name": "y"}, {"q": "z"}]'], ["They are x, y and z"], ["Names: x; y; z"],
        ['["x"]', '["y"]', '["z"]'], ["| a |", "|---|", "| x |", "| y |", "| z |"],
        ["| a | name |", "|---|---|", "| 1 | x |", "| 2 | y |", "| 3 | z |"],
    ],
)  # fmt: skip
def test_three_rows_of_one_cell_are_read(lines):
    assert has(ONE, lines, [("x",), ("y",), ("z",)]), read(ONE, *lines)


def test_one_column_of_numbers_is_read_with_and_without_thousands():
    found = read(Gold(("n",), ("integer",), ((1,), (2,))), "101,102")
    assert [("101,102",)] in found and [("101",), ("102",)] in found


def test_gold_rows_are_read_sign_by_sign():
    assert has(GOLD, ["Smith, John: x, 1234", "Oslo: 12"], [1, ("Oslo", "12")])
    assert has(GOLD, ["- rome, 12", "- Smith, John: x, 1234"], [0, 1])
    assert has(ONE, ["B, and C", "D"], [1, ("D",)])
    assert has(ONE, ["D; B, and C"], [("D",), 1])


def test_single_values_in_json():
    assert read(GOLD, '["Oslo", 12]') == [[("Oslo", "12")]] * 2
    assert read(GOLD, '["Oslo", "Bern", "Rome"]') == [[("Oslo",), ("Bern",), ("Rome",)]] * 2
    assert (
        read(GOLD, '[["Oslo", null], ["Bern", [7]], "Rome", [true, 1]]') == [[("Oslo", None), ("Bern", None), ("Rome",), ("True", "1")]] * 2
    )
    assert read(GOLD, '{"Oslo": 12, "Bern": null, "x": {}}') == [[("12", None, None)], [("Oslo", "12"), ("Bern", None), ("x", None)]]


def test_only_an_answer_of_one_line_loses_its_beginning():
    assert not has(ONE, ["They are x", "They are y"], [("x",), ("y",)])
    assert all(len(rows) == 2 for rows in read(ONE, "Of these: x", "They are y"))
    assert has(ONE, ["They are x"], [("x",)]) and has(ONE, ["So: x"], [("x",)])


def test_the_first_reading_is_a_row_a_line():
    assert read(ONE, "x, y", "z")[0] == [("x, y",), ("z",)] and len(read(GOLD, "x", "y")[0]) == 2


def test_columns_are_picked_only_if_all_names_are_there():
    assert read(GOLD, '{"x": 12, "city": "Oslo"}')[0] == [("12", "Oslo")]
    assert read(GOLD, "| x | city |", "|---|---|", "| 12 | Oslo |") == [[("12", "Oslo")]]
    assert read(GOLD, "| city | total_sum |", "|---|---|", "| 12 | Oslo | x |") == [[("12", "Oslo", "x")]]


def test_a_label_is_a_columns_name_in_words():
    assert label("Total_SUM ") == "total sum"
