"""What figures are measured on is a store like any other."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

LARGE = Path(__file__).parent.parent / "benchmarks" / "large.py"


@pytest.mark.soak
def test_a_year_that_was_made_is_whole(tmp_path: Path) -> None:
    store = tmp_path / "year.duckdb"
    making = [sys.executable, LARGE, "make", store, "--transfers", "20000"]
    assert "transfers" in subprocess.run(making, check=True, capture_output=True, text=True).stdout
    environment = {
        **os.environ,
        "DATABASE_URI": f"duckdb://{store}",
        "RINGSERVERSTATS_SECRET": (b"k" * 32).hex(),
    }
    audit = [sys.executable, "-m", "ringserverstats", "audit"]
    done = subprocess.run(audit, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
