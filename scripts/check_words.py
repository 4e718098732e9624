"""Count words of the old dialect in tracked files: their number may only fall.

Examples:
    python scripts/check_words.py            # fails where a word is used more often than allowed
    python scripts/check_words.py --update   # lowers the limits to what is counted now

Limits lie in scripts/words.json: a regular expression for each word, and how often it may occur.
"""

import json
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).parents[1]
LIMITS = ROOT / "scripts" / "words.json"
_FILES = ("*.py", "*.sql", "*.md", "*.html", "*.js", "*.toml", "*.yaml", "Makefile")
_EXCLUDED = ("CHANGELOG.md", "tests/data", "scripts", "docs/decisions")


def count_words(patterns: list[str]) -> Counter[str]:
    """Return how often each of ``patterns`` occurs. They are case-sensitive."""
    excluded = (f":!{path}" for path in _EXCLUDED)
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--", *_FILES, *excluded],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    )
    counts: Counter[str] = Counter()
    for name in filter(None, listed.stdout.split("\0")):
        path = ROOT / name
        text = path.read_text("utf-8") if path.is_file() else ""
        for pattern in patterns:
            counts[pattern] += len(re.findall(pattern, text))
    return counts


def main() -> int:
    """Return 1 if a word occurs more often than its limit allows, else 0."""
    limits: dict[str, int] = json.loads(LIMITS.read_text("utf-8"))
    counts = count_words(list(limits))
    if "--update" in sys.argv[1:]:
        limits = {pattern: min(limit, counts[pattern]) for pattern, limit in limits.items()}
        LIMITS.write_text(json.dumps(limits, indent=2) + "\n", "utf-8")
    print(f"words of the old dialect: {counts.total()} (limit {sum(limits.values())})")
    exceeded = [pattern for pattern, limit in limits.items() if counts[pattern] > limit]
    for pattern in exceeded:
        print(f"error: {pattern} occurs {counts[pattern]} times, the limit is {limits[pattern]}.")
    if exceeded:
        print("Use the words of CONTRIBUTING.md (Language) instead.")
    return 1 if exceeded else 0


if __name__ == "__main__":
    sys.exit(main())
