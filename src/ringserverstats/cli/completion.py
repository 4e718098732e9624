"""``ringserverstats completion``: print a script for completion in a shell."""

from __future__ import annotations

import click

_SHELLS = ("bash", "zsh", "fish")


@click.command(
    "completion",
    short_help="Print the completion script of a shell.",
    epilog="Examples:\n\n\b\n"
    '  eval "$(ringserverstats completion bash)"\n'
    '  ringserverstats completion zsh > "${fpath[1]}/_ringserverstats"\n'
    "  ringserverstats completion fish > ~/.config/fish/completions/ringserverstats.fish",
)
@click.argument("shell", type=click.Choice(_SHELLS))
def command(shell: str) -> None:
    """Print the script that completes commands, options and their values in a shell.

    For bash write it to ~/.local/share/bash-completion/completions/ringserverstats.
    """
    from click.shell_completion import get_completion_class

    from ringserverstats.cli import PROGRAM, cli

    completion = get_completion_class(shell)
    if completion is None:
        raise click.UsageError(f"there is no completion for {shell}")
    click.echo(completion(cli, {}, PROGRAM, f"_{PROGRAM.upper()}_COMPLETE").source())
