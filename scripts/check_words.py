"""Check the language of tracked files: no words of the old dialect, short sentences in the manual.

scripts/words.txt has a regular expression in each line. They are case-sensitive.
"""

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
_FILES = ("*.py", "*.sql", "*.md", "*.html", "*.js", "*.toml", "*.yaml", "Makefile")
_EXCLUDED = ("CHANGELOG.md", "tests/data", "docs/decisions", "*/migrations/*")
_LONGEST_MEAN = 18  # words of a sentence
_NO_PROSE = re.compile(r"```.*?```|<!--.*?-->|^[|#<][^\n]*$", re.S | re.M)
_END_OF_SENTENCE = re.compile(r"[.:;!?](?=\s|$)|\n\s*\n|\n\s*(?:[-*]|\d+\.) ")


def tracked(*patterns: str) -> list[Path]:
    """Return the tracked files that match ``patterns``, without those of others and of the past."""
    excluded = (f":!{path}" for path in _EXCLUDED)
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--", *patterns, *excluded],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    )
    return [
        path for name in filter(None, listed.stdout.split("\0")) if (path := ROOT / name).exists()
    ]


def dialect() -> Iterator[str]:
    """Yield file, line and word of each word of the old dialect."""
    words = re.compile("|".join((ROOT / "scripts" / "words.txt").read_text("utf-8").splitlines()))
    for path in tracked(*_FILES):
        for number, line in enumerate(path.read_text("utf-8").splitlines(), start=1):
            for match in words.finditer(line):
                yield f"{path.relative_to(ROOT)}:{number}: {match[0]}"


def mean_sentence(pages: list[Path]) -> float:
    """Return the mean number of words of the sentences in ``pages``, outside of code and tables."""
    lengths = []
    for page in pages:
        prose = _NO_PROSE.sub("\n\n", page.read_text("utf-8"))
        sentences = map(str.split, _END_OF_SENTENCE.split(prose))
        lengths += [len(words) for words in sentences if len(words) > 1]
    return sum(lengths) / len(lengths)


def main() -> int:
    """Return 1 if a word or the mean sentence breaks the rules, else 0."""
    found = list(dialect())
    for line in found:
        print(f"error: {line}: use the words of CONTRIBUTING.md (Language)")
    mean = mean_sentence(tracked("README.md", "docs/*.md"))
    print(f"mean sentence of the manual: {mean:.1f} words (limit {_LONGEST_MEAN})")
    return 1 if found or mean > _LONGEST_MEAN else 0


if __name__ == "__main__":
    sys.exit(main())
