"""Chunks of usage logs of any format as batches."""

from collections.abc import Iterator

from ringserverstats.logs.batch import Batch
from ringserverstats.logs.entries import ParseOptions
from ringserverstats.logs.formats import split_by_format
from ringserverstats.logs.source import Chunk


def read(chunk: Chunk, options: ParseOptions) -> Iterator[Batch]:
    """Parse ``chunk``: one batch, or one for each part if it mixes formats."""
    line, data = chunk.line, chunk.data
    parts = split_by_format(data)
    for number, (begin, end, format_) in enumerate(parts):
        last = chunk.last and number == len(parts) - 1
        part = data if len(parts) == 1 else data[begin:end]
        batch = format_.parse(part, options, line=line, last=last)
        line += batch.lines + batch.incomplete_lines
        yield batch
