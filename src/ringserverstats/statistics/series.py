"""The times of a result: which one is running."""

from datetime import date

import pyarrow as pa

from ringserverstats.statistics.coverage import finest_time
from ringserverstats.statistics.periods import label_of
from ringserverstats.statistics.query import Query


def running_time(query: Query, rows: pa.Table, today: date) -> str:
    """Return the label of the day, month, ... of ``rows`` that is not over; empty without one."""
    time = finest_time(query)
    label = label_of(today, time) if time else ""
    return label if time and label in rows[time].to_pylist() else ""
