"""Run the mutants of ``mutants.toml``: each must make one of its test files fail.

    python tests/mutants/run.py [ID...] [--jobs 1] [--unchanged]

Exits with 1 if a mutant escaped, or could not be applied.
"""

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import tomllib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

FOLDER = Path(__file__).parent
PROJECT = FOLDER.parents[1]
PACKAGE = "ringserverstats"
TIME_LIMIT = 600  # seconds
# An interrupted pytest stops the servers that it started.
LIMITED = ["timeout", "--foreground", "--signal=INT", "--kill-after=60"]
# Hypothesis has a profile "ci" that is repeatable and remembers no failures of another mutant.
PYTEST = [
    *(sys.executable, "-m", "pytest", "-x", "-q", "--hypothesis-profile=ci"),
    *("-p", "no:randomly", "-p", "no:cacheprovider", "-m", "not soak"),
]
CAUGHT, ESCAPED, BROKEN = "caught", "ESCAPED", "broken"
TESTS_FAILED, NO_SUCH_TEST = 1, 4  # exit codes of pytest
TIMED_OUT = (124, 137)  # exit codes of timeout


@dataclass(frozen=True)
class Mutant:
    """One change of the source. ``tests`` run in their order until one fails."""

    id: str
    file: str
    before: str
    after: str
    tests: list[str]

    def apply(self, package: Path) -> str:
        """Change the copy ``package`` of the source; return what prevents that, if anything."""
        path = package / self.file
        text = path.read_text("utf-8") if path.exists() else ""
        count = text.count(self.before)
        if count != 1:
            return f"the text before occurs {count} times in {self.file}"
        path.write_text(text.replace(self.before, self.after), "utf-8")
        return ""


def run(mutant: Mutant) -> tuple[str, str]:
    """Return the result for ``mutant``, and the test that failed or the reason."""
    with tempfile.TemporaryDirectory(prefix="mutant-") as folder:
        source = Path(shutil.copytree(PROJECT / "src", Path(folder, "src")))
        problem = mutant.apply(source / PACKAGE)
        if problem:
            return BROKEN, problem
        end = time.monotonic() + TIME_LIMIT
        for path in mutant.tests:
            result, detail = run_tests(path, source, end - time.monotonic())
            if result != ESCAPED or detail:
                break
        return result, detail


def run_tests(path: str, source: Path, seconds: float) -> tuple[str, str]:
    """Run the tests of ``path`` on the package below ``source``; return as `run` does."""
    command = [*LIMITED, str(max(int(seconds), 1)), *PYTEST, path]
    environment = {**os.environ, "PYTHONPATH": str(source)}
    done = subprocess.run(command, cwd=PROJECT, env=environment, capture_output=True, text=True)
    if done.returncode in TIMED_OUT:
        return ESCAPED, f"no failure within {TIME_LIMIT} s"
    failed = re.findall(r"^(?:FAILED|ERROR) (\S+::.+?)(?: - |$)", done.stdout, re.MULTILINE)
    if done.returncode == TESTS_FAILED and failed:
        return CAUGHT, failed[0]
    # A single test that was renamed is no loss: its file follows in the list.
    if done.returncode == 0 or (done.returncode == NO_SUCH_TEST and "::" in path):
        return ESCAPED, ""
    return BROKEN, "pytest could not run the tests:\n" + done.stdout[-2000:]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("ids", nargs="*", metavar="ID", help="mutants to run (default: all)")
    parser.add_argument("--jobs", type=int, default=1, help="mutants to run at once")
    parser.add_argument("--unchanged", action="store_true", help="run the tests without a mutant")
    given = parser.parse_args()
    tables = tomllib.loads((FOLDER / "mutants.toml").read_text("utf-8"))["mutant"]
    mutants = {table["id"]: Mutant(**table) for table in tables}
    if len(mutants) < len(tables) or not set(given.ids) <= mutants.keys():
        parser.error("an id is used twice in mutants.toml, or an ID is unknown")
    chosen = [mutants[name] for name in given.ids or mutants]
    if given.unchanged:
        files = sorted({path.split("::")[0] for mutant in chosen for path in mutant.tests})
        environment = {**os.environ, "PYTHONPATH": str(PROJECT / "src")}
        return subprocess.run([*PYTEST, *files], cwd=PROJECT, env=environment).returncode
    counts = dict.fromkeys((CAUGHT, ESCAPED, BROKEN), 0)
    with ThreadPoolExecutor(given.jobs) as pool:
        for mutant, (result, detail) in zip(chosen, pool.map(run, chosen), strict=True):
            counts[result] += 1
            print(f"{result}: {mutant.id}: {detail}".removesuffix(": "), flush=True)
    print(", ".join(f"{count} {result}" for result, count in counts.items()))
    return 1 if counts[ESCAPED] or counts[BROKEN] else 0


if __name__ == "__main__":
    sys.exit(main())
