"""The command line: one file per command, without logic.

Heavy modules are imported when a command runs, so that ``--help`` is fast.
"""

import difflib
import gc
import importlib
import os
import re
import sys
from typing import Any

import click
from click.shell_completion import CompletionItem

from ringserverstats import __version__, memory
from ringserverstats.errors import RingserverStatsError

PROGRAM = "ringserverstats"

_COMMANDS = (
    "ingest",
    "stats",
    "info",
    "server",
    "clients",
    "networks",
    "export",
    "serve",
    "token",
    "coverage",
    "rejects",
    "audit",
    "verify",
    "delete",
    "forget",
    "prune",
    "backup",
    "restore",
    "migrate",
    "copy",
    "import-0.17",
    "completion",
)
DATABASE_HELP = "The store: duckdb:///path/to/file or postgresql://user@host/database."
_BROKEN_PIPE = 1
_UNWRITABLE = 2
_INTERRUPTED = 130
_GC_THRESHOLD = 100_000


class _Commands(click.Group):
    """Imports the module of a command when it is used; files without a command go to ``ingest``."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        if cmd_name not in _COMMANDS:
            return None
        module = re.sub(r"\W", "_", cmd_name)
        command: click.Command = importlib.import_module(f"{__name__}.{module}").command
        return command

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        options = {name for parameter in self.get_params(ctx) for name in parameter.opts}
        if args and args[0].startswith("-") and args[0].split("=")[0] not in options:
            args = ["ingest", *args]
        return super().parse_args(ctx, args)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args[0] not in _COMMANDS and not ctx.resilient_parsing:
            if args[0] == "-" or args[0].startswith("-") or os.path.exists(args[0]):
                args = ["ingest", *args]
            else:
                ctx.fail(_unknown_command(args[0]))
        return super().resolve_command(ctx, args)

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        return [*super().shell_complete(ctx, incomplete), CompletionItem(incomplete, type="file")]

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except RingserverStatsError as error:
            click.echo(f"Error: {error}", err=True)
            ctx.exit(error.exit_code)
        except KeyboardInterrupt:
            pass
        except RuntimeError as error:  # DuckDB raises this on Ctrl-C
            if "Query interrupted" not in str(error):
                raise
        click.echo("Stopped. Committed batches are stored. Run the command again.", err=True)
        ctx.exit(_INTERRUPTED)


def _unknown_command(word: str) -> str:
    if "/" in word or "." in word:
        return f"{ascii(word)[1:-1]}: no such file or folder; check the path"
    similar = difflib.get_close_matches(word, _COMMANDS, n=1)
    hint = f"; did you mean {similar[0]!r}?" if similar else ""
    return f"{word!a} is neither a command ({', '.join(_COMMANDS)}) nor a file{hint}"


def remember_database(context: click.Context, _: click.Parameter, value: str | None) -> None:
    """Keep the value of ``--database``, the last one given, for `terminal.load_settings`."""
    if value is not None:
        context.find_root().obj = value


@click.group(
    cls=_Commands,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Examples:\n\n\b\n"
    "  ringserverstats /var/log/ringserver\n"
    "  ringserverstats stats --by month,network --last 6m\n"
    "  ringserverstats info",
)
@click.version_option(__version__, "--version", prog_name=PROGRAM)
@click.option(
    "--database",
    "--dburi",
    metavar="URI",
    expose_value=False,
    callback=remember_database,
    help=f"{DATABASE_HELP} Default: DATABASE_URI, else a file in your data folder.",
)
def cli() -> None:
    """Report usage statistics of ringserver from its logs.

    `ringserverstats FILE...` is short for `ringserverstats ingest FILE...`.
    """


def main() -> None:
    """Run the command line."""
    memory.share()
    for name in ("stdin", "stdout", "stderr"):
        if getattr(sys, name) is None:  # closed by the parent process
            mode = "r" if name == "stdin" else "w"
            setattr(sys, name, open(os.devnull, mode))  # noqa: SIM115 - stays open
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    # Garbage collections among the many objects of imports take 0.04 s of the 0.30 s that `ingest`
    # needs to start.
    gc.set_threshold(_GC_THRESHOLD)
    try:
        try:
            cli(prog_name=PROGRAM)
        finally:
            sys.stdout.flush()
            gc.freeze()
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if isinstance(error, BrokenPipeError):  # the reader closed the pipe
            sys.exit(_BROKEN_PIPE)
        click.echo(f"Error: the result cannot be written: {error.strerror}", err=True)
        sys.exit(_UNWRITABLE)
