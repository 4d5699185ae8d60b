"""A short run of the fuzzing; `python tests/fuzz/fuzz.py` is the long one."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

#: Some of every kind of input.
INPUTS = 300


def test_damaged_inputs_are_read_or_refused() -> None:
    script = Path(__file__).with_name("fuzz.py")
    # Cases that the long run, whose seed is 0, does not have.
    command = [sys.executable, str(script), "--inputs", str(INPUTS), "--seed", "1"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{INPUTS} inputs, 0 faults" in done.stdout
