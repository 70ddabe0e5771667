"""Parquet files that a user names: their kind, size, columns and types are checked before anything is made of them.

read_parquet("counts.parquet", ("key", "word", "count"), "give one with the columns word and count.")
"""

import os
from collections.abc import Sequence

from pydisp.distribution import install_command
from pydisp.given_file import check_kind
from pydisp.given_value import first_line

MOST_ROWS = 4_000_000  # types of a text; a thousand million words have about as many
_MOST_BYTES = 1 << 30  # of the columns that are read, unpacked


def pyarrow_and_parquet():
    """Both modules.

    Raises: ImportError without pyarrow.
    """
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError as error:
        raise ImportError(f"Parquet files need pyarrow; install it with: {install_command('fairness')}") from error
    return pyarrow, parquet


def read_parquet(path: str | os.PathLike, names: Sequence[str], needed: str):
    """The pyarrow.Table of these columns, as far as the file has them: whole numbers, floats or texts, without empty cells.

    Args:
        needed: what to give instead, as the end of a sentence with its full stop.
    Raises: ImportError without pyarrow; FileNotFoundError; ValueError for any other file, more than MOST_ROWS, and columns of other types.
    """
    pyarrow, parquet = pyarrow_and_parquet()
    check_kind(path, needed)
    try:
        with parquet.ParquetFile(path) as file:
            found = [name for name in file.schema_arrow.names if name in names]
            _check(file, found, path, needed)
            table = file.read(columns=found)
    except (pyarrow.ArrowException, OSError, UnicodeError) as error:
        raise ValueError(f"{path} is no Parquet file, or is damaged ({first_line(error)}); {needed}") from None
    for name in table.column_names:
        if table[name].null_count:
            raise ValueError(f"{path} has {table[name].null_count:,} empty cells in the column {name}; {needed}")
    return table


def _check(file, found: list[str], path, needed: str) -> None:
    from pyarrow import types

    schema, facts = file.schema_arrow, file.metadata
    if facts.num_rows > MOST_ROWS:
        raise ValueError(f"{path} has {facts.num_rows:,} rows, and no more than {MOST_ROWS:,} are read; {needed}")
    for name in found:
        if found.count(name) > 1:
            raise ValueError(f"{path} has two columns named {name}; {needed}")
        kind = schema.field(name).type
        value = kind.value_type if types.is_dictionary(kind) else kind
        kinds = (types.is_integer, types.is_floating, types.is_string, types.is_large_string, types.is_string_view)
        if not any(is_it(value) for is_it in kinds):
            raise ValueError(f"{path} has {str(kind)[:80]} in the column {name}, and it must hold numbers or texts; {needed}")
    groups = (facts.row_group(number) for number in range(facts.num_row_groups))
    columns = (group.column(number) for group in groups for number in range(group.num_columns))
    size = sum(column.total_uncompressed_size for column in columns if column.path_in_schema in found)
    if size > _MOST_BYTES:
        raise ValueError(f"{path} has {size:,} bytes in these columns, and no more than {_MOST_BYTES:,} are read; {needed}")
