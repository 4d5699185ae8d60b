"""The benchmarks run, at toy size."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

BENCHMARKS = Path(__file__).parent.parent / "benchmarks"


def test_gradients(tmp_path: Path) -> None:
    saved = tmp_path / "gradients.json"
    command = [sys.executable, str(BENCHMARKS / "gradients.py"), "--small", "--json", str(saved)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "backward_everything" in done.stdout
    assert json.loads(saved.read_text())[0]["n_q"] == 300
