"""Answers of both kinds of stores, alike."""

import pyarrow as pa


def with_integers(answer: pa.Table) -> pa.Table:
    """Sums come with 128 bits, as decimals; as 64-bit integers where all of a column fit."""
    for number, column in enumerate(answer.columns):
        if pa.types.is_decimal(column.type):
            try:
                integers = column.cast(pa.int64())
            except pa.ArrowInvalid:
                continue
            answer = answer.set_column(number, answer.schema.field(number).name, integers)
    return answer
