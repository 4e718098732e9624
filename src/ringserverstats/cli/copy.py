"""``ringserverstats copy``: a whole store into another."""

from __future__ import annotations

import click

from ringserverstats.cli.options import database_option
from ringserverstats.cli.terminal import load_settings, open_store, progress_bar, warn_of_password
from ringserverstats.errors import UsageError
from ringserverstats.statistics.sizes import human_bytes

_DIFFERENT = 1


@click.command(
    "copy",
    short_help="Copy the store into another, such as a PostgreSQL database.",
    epilog="Examples:\n\n\b\n"
    "  ringserverstats copy --to postgresql://owner@host/ringserverstats\n"
    "  ringserverstats copy --to duckdb:///backup/ringserverstats.duckdb",
)
@click.option("--to", "target", metavar="URI", required=True, help="The other store.")
@database_option
def command(target: str, database: str | None) -> None:
    """Copy all that the store holds into another one, which must be empty or an earlier copy.

    A copy that was stopped goes on when the same is run again, and counts nothing twice. At the end
    both stores are audited and compared; the exit code is 1 if they differ. A copy has the same
    secret. Tables in a PostgreSQL database are made first: `ringserverstats migrate`.
    """
    import msgspec

    from ringserverstats.copy import copy, differences
    from ringserverstats.store.audit import audit

    settings = load_settings(database)
    warn_of_password(target)
    there = msgspec.structs.replace(settings, database=target)
    source = open_store(settings, answers=True, needed=True)
    copy_ = open_store(there, answers=True)
    if source.label == copy_.label:
        raise UsageError(f"{source.label} is the store itself; name another one")
    with progress_bar("copying", 1) as progress:
        done = copy(source, copy_, progress=lambda done, size: progress(done, total=size))
    click.echo(
        f"copied {done.entries:,} entries with {done.transfers:,} transfers"
        f" ({human_bytes(done.bytes)}) to {copy_.label}; {done.known:,} were there before"
    )
    found = differences(source, copy_)
    for difference in found:
        click.echo(f"Different: {difference}", err=True)
    for store in (source, copy_):
        keys = store.open(create=False).keys
        with progress_bar("auditing", 1) as progress:
            wrong = audit(store, keys, progress=lambda done, size: progress(done, total=size))
        found += [f"{one.table}: {one.problem}" for one in wrong]
        click.echo(f"audit of {store.label}: {len(wrong) or 'no'} differences")
    if found:
        click.get_current_context().exit(_DIFFERENT)
