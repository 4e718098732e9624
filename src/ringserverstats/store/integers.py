"""Integer columns of query results, alike on both engines."""

import pyarrow as pa


def with_integers(result: pa.Table) -> pa.Table:
    """Return ``result`` with each decimal column as int64 if all its values fit."""
    for number, column in enumerate(result.columns):
        if pa.types.is_decimal(column.type):
            try:
                integers = column.cast(pa.int64())
            except pa.ArrowInvalid:
                continue
            result = result.set_column(number, result.schema.field(number).name, integers)
    return result
