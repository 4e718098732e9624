"""Write docs/commands.md: the help of every command, as the program gives it."""

from pathlib import Path

import click

from ringserverstats.cli import cli

PAGE = Path(__file__).with_suffix(".md")
_WIDTH = 96
_TOP = """# Commands

What `--help` tells of each, written by `make docs`.

"""


def page() -> str:
    """The text of the page."""
    return _TOP + "\n".join(
        _sections(cli, click.Context(cli, info_name="ringserverstats", **cli.context_settings))
    )


def _sections(command: click.Command, context: click.Context) -> list[str]:
    context.max_content_width = context.terminal_width = _WIDTH
    help_text = command.get_help(context)
    sections = [f"## {context.command_path}\n\n```\n{help_text}\n```\n"]
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            found = command.get_command(context, name)
            assert found is not None
            sections += _sections(found, click.Context(found, parent=context, info_name=name))
    return sections


if __name__ == "__main__":
    PAGE.write_text(page())
