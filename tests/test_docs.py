"""What the docs say is what the program does."""

import re
import runpy
import subprocess
import sys
from pathlib import Path

from conftest import CommandLine

from ringserverstats.settings import Settings

ROOT = Path(__file__).parents[1]


def test_commands_are_documented_as_they_are() -> None:
    page = runpy.run_path(str(ROOT / "docs" / "commands.py"))["page"]
    assert (ROOT / "docs" / "commands.md").read_text() == page(), "run: make docs"


def test_every_setting_is_documented() -> None:
    readme = (ROOT / "README.md").read_text()
    documented = re.findall(r"^\| `(\w+)` \|", readme, re.MULTILINE)
    assert sorted(documented) == sorted(Settings.__struct_fields__)


def test_example_of_the_readme_is_what_the_sample_gives(run: CommandLine, tmp_path: Path) -> None:
    logs = tmp_path / "logs"
    subprocess.run([sys.executable, ROOT / "examples" / "make_sample.py", logs], check=True)
    assert run(logs).returncode == 0
    readme = (ROOT / "README.md").read_text()
    example = re.search(r"```\n\$ ringserverstats (.*)\n([^`]*)```", readme)
    assert example is not None
    assert _without_margins(run(*example[1].split()).stdout) == _without_margins(example[2])


def _without_margins(text: str) -> str:
    return "\n".join(line.rstrip() for line in text.splitlines()).strip("\n")
