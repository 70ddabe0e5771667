"""Look-up: every cell is there, and what is not there is said."""

from decimal import Decimal

import pytest

from pydisp.toolken.tools.lookup import look_up, tables
from pydisp.toolken.tools.results import result_text


def test_every_cell_of_the_tables_is_found_and_is_its_own_text():
    for table, values in tables().items():
        assert values["about"].endswith(".")
        for row, cells in values["rows"].items():
            assert len(cells) == len(values["columns"])
            for column, cell in zip(values["columns"], cells, strict=True):
                assert look_up(table, row, column) == cell and result_text(cell) == str(cell)


def test_decimals_are_exact():
    assert look_up("shop", "lantern", "price") == Decimal("18.45")


@pytest.mark.parametrize(
    "arguments, says",
    [
        (("stock", "lantern", "price"), "no table 'stock'"),
        (("shop", "T117", "price"), "no row 'T117'"),
        (("shop", "lantern", "fare"), "no column 'fare'"),
    ],
)
def test_what_is_not_there_is_said_with_what_is(arguments, says):
    with pytest.raises(ValueError, match=says):
        look_up(*arguments)
