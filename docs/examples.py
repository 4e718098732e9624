"""Run the console examples of README and manual, and write what they print into the pages.

A block of ``console`` holds commands, each behind ``$ ``, and what they print; a line of ``...``
stands for anything. Each page has a home of its own, with the sample's logs in ``demo/logs``, and,
unless it adds the servers and reads the logs itself, a store in which they are.
"""

import os
import re
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
HOME = "/home/you"
ANYTHING = "..."

_BLOCK = re.compile(r"(?<=```console\n)(.*?)(?=```)", re.S)
_SECRET = "5ec2e7" + "0" * 58


@dataclass(frozen=True)
class Homes:
    """Makes homes in ``folder``: empty ones, or such in which the sample's logs were read."""

    folder: Path

    def prepare(self) -> None:
        """Write the sample's logs."""
        script = ROOT / "examples" / "make_sample.py"
        logs = self.folder / "logs"
        subprocess.run([sys.executable, script, logs], check=True, stdout=subprocess.DEVNULL)

    def make(self, name: str, *, is_read: bool) -> Path:
        """A home of that ``name``."""
        home = self.folder / name
        if not is_read:
            return self._new(home)
        if not self._read.exists():
            self._new(self._read)
            for server in ("node-a", "node-b", "node-c"):
                self.run(self._read, f"ringserverstats server add {server} --timezone Europe/Paris")
            self.run(self._read, "ringserverstats demo/logs")
        return Path(shutil.copytree(self._read, home, symlinks=True))

    def save_read(self, home: Path) -> None:
        """Start other homes from what the examples of a page left in ``home``: reading is slow."""
        if not self._read.exists():
            shutil.copytree(home, self._read, symlinks=True)

    @property
    def _read(self) -> Path:
        return self.folder / "read"

    def _new(self, home: Path) -> Path:
        (home / "demo").mkdir(parents=True)
        (home / "demo" / "logs").symlink_to(self.folder / "logs")
        return home

    def run(self, home: Path, command: str) -> str:
        """What ``command`` prints; its errors go to standard error."""
        path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        done = subprocess.run(
            ["/bin/sh", "-c", command],
            cwd=home,
            env={
                "HOME": str(home),
                "PATH": path,
                "PYTHONPATH": os.environ.get("PYTHONPATH", ""),
                "PYTHONUTF8": "1",
                "RINGSERVERSTATS_SECRET": _SECRET,
            },
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        )
        # A store may contain the home folder in which logs were read.
        text = re.sub(rf"{re.escape(str(self.folder))}/\w+", HOME, done.stdout)
        lines = (line.rstrip() for line in text.strip("\n").splitlines())
        return "".join(f"{line}\n" for line in lines)


def examples(page: str) -> list[tuple[str, str]]:
    """Commands of ``page``, each with what it says they print."""
    found = []
    for block in _BLOCK.findall(page):
        for part in re.split(r"^\$ ", block, flags=re.M)[1:]:
            command, _, output = part.partition("\n")
            found.append((command, output))
    return found


def run_page(page: str, home: Path, homes: Homes) -> str:
    """``page`` with what its examples print now, where it does not say ``...``."""

    def run_block(match: re.Match[str]) -> str:
        lines = []
        for command, output in examples(f"```console\n{match[1]}```"):
            printed = homes.run(home, command)
            shown = output if _fits(output, printed) else printed
            lines.append(f"$ {command}\n{shown}")
        return "".join(lines)

    shown = _BLOCK.sub(run_block, page)
    if not is_read_first(page):
        homes.save_read(home)
    return shown


def is_read_first(page: str) -> bool:
    """Whether the examples of ``page`` ask a store in which the sample is."""
    return "$ ringserverstats server add" not in page


def with_examples() -> list[Path]:
    """Pages with examples, the one that reads the sample before those that start from there."""
    found = [path for path in PAGES if examples(path.read_text())]
    return sorted(found, key=lambda path: is_read_first(path.read_text()))


def _fits(output: str, printed: str) -> bool:
    """Whether ``printed`` is what ``output`` says."""
    parts = (".*" if line == ANYTHING else re.escape(line) for line in output.splitlines())
    return re.fullmatch("\n".join(parts), printed.rstrip("\n"), flags=re.S) is not None


def main() -> None:
    """Rewrite all pages."""
    with tempfile.TemporaryDirectory() as folder:
        homes = Homes(Path(folder))
        homes.prepare()
        for path in with_examples():
            text = path.read_text()
            home = homes.make(path.stem, is_read=is_read_first(text))
            path.write_text(run_page(text, home, homes))


if __name__ == "__main__":
    main()
