"""``ringserverstats copy``: copy a store into another one."""

from __future__ import annotations

import click

from ringserverstats.cli.options import database_option
from ringserverstats.cli.terminal import load_settings, open_store, progress_bar, warn_of_password
from ringserverstats.errors import UsageError
from ringserverstats.statistics.sizes import human_bytes

_DIFFERENT = 1


@click.command(
    "copy",
    short_help="Copy the store into another, such as PostgreSQL.",
    epilog="Examples:\n\n\b\n"
    "  ringserverstats copy --to postgresql://owner@host/ringserverstats\n"
    "  ringserverstats copy --to duckdb:///backup/ringserverstats.duckdb",
)
@click.option("--to", "target", metavar="URI", required=True, help="The other store.")
@database_option
def command(target: str) -> None:
    """Copy all data of the store into another one, which must be empty or an earlier copy.

    If a copy is interrupted, run the same command again: it continues, and counts nothing twice. At
    the end both stores are audited and compared; the exit code is 1 if they differ. The copy has
    the same secret. For PostgreSQL, create the tables first: `ringserverstats migrate`.
    """
    import msgspec

    from ringserverstats.copy import copy, differences
    from ringserverstats.store.audit import audit

    settings = load_settings()
    warn_of_password(target)
    source = open_store(settings, for_queries=True, must_exist=True)
    target_settings = msgspec.structs.replace(settings, database=target)
    target_store = open_store(target_settings, for_queries=True)
    if source.label == target_store.label:
        raise UsageError(f"{source.label} is the store itself; name another one")
    with progress_bar("copying", 1) as progress:
        copied = copy(source, target_store, progress=progress)
    click.echo(
        f"copied {copied.entries:,} entries with {copied.transfers:,} transfers"
        f" ({human_bytes(copied.bytes)}) to {target_store.label}; {copied.known:,} were there"
        " before"
    )
    problems = differences(source, target_store)
    for problem in problems:
        click.echo(f"Different: {problem}", err=True)
    for store in (source, target_store):
        keys = store.open(create=False).keys
        with progress_bar("auditing", 1) as progress:
            results = audit(store, keys, progress=progress)
        problems += [f"{difference.table}: {difference.problem}" for difference in results]
        click.echo(f"audit of {store.label}: {len(results) or 'no'} differences")
    if problems:
        click.get_current_context().exit(_DIFFERENT)
