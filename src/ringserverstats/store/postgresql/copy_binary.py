"""Encode Arrow columns for PostgreSQL's binary COPY."""

from collections.abc import Iterator

import pyarrow as pa
from pgpq import ArrowToPostgresBinaryEncoder

_PIECE_BYTES = 1 << 20


def encode_table(rows: pa.Table) -> Iterator[bytes]:
    """Return ``rows`` in pieces, from the format's header to its trailer.

    Args:
        rows: columns of the types that `ringserverstats.store.postgresql.session` maps, of lists of
            these, and of dictionaries of texts.
    """
    rows = pa.table({name: _plain(rows[name]) for name in rows.column_names})
    encoder = ArrowToPostgresBinaryEncoder(rows.schema)
    yield encoder.write_header()
    piece = max(1, len(rows) * _PIECE_BYTES // max(rows.nbytes, 1))
    for batch in rows.to_batches(max_chunksize=piece):
        yield encoder.write_batch(batch)
    yield encoder.finish()


def _plain(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Return a column with texts instead of dictionaries, which the encoder does not support."""
    return column.cast(pa.string()) if pa.types.is_dictionary(column.type) else column
