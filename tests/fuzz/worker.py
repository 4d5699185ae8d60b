"""A process that reads damaged files, one for each line on its input, and answers what came of it.

It is killed from outside if it takes too long, and cannot take more than some memory.
"""

from __future__ import annotations

import json
import os
import random
import resource
import sys
import traceback
import warnings
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[1])]

from targets import Target, targets

from onephonon import OnePhononError
from onephonon.core.text import printable

#: Memory (bytes) that reading may take beyond that of the program.
MEMORY = 2 << 30

#: Longest message of an error.
MAX_MESSAGE = 2000


def main(whole: Path, folder: Path, seed: int) -> None:
    """Answer each number of a case by a line of JSON; cases below 0 are whole files."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what libraries print is no answer
    warnings.simplefilter("ignore")
    kinds = targets()
    contents = {target.name: (whole / target.name).read_bytes() for target in kinds}
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limit = pages * resource.getpagesize() + MEMORY
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    for line in sys.stdin:
        case = int(line)
        target, rng = case_of(kinds, seed, case)
        path = folder / target.name
        try:
            whole_file = contents[target.name]
            path.write_bytes(whole_file if case < 0 else target.damaged(whole_file, rng, folder))
            outcome, detail = outcome_of(target, path, rng)
        except Exception:
            outcome, detail = "undamaged", traceback.format_exc()
        answers.write(json.dumps({"case": case, "outcome": outcome, "detail": detail}) + "\n")
        answers.flush()


def case_of(kinds: list[Target], seed: int, case: int) -> tuple[Target, random.Random]:
    """The target of a case, and the generator of its damage."""
    return kinds[case % len(kinds)], random.Random(f"{seed} {case}")


def outcome_of(target: Target, path: Path, rng: random.Random) -> tuple[str, str]:
    """'read', 'refused', or 'fault' with what is wrong."""
    try:
        target.read(path, rng)
    except OnePhononError as error:
        message = str(error)
        if not message.strip():
            return "fault", "an error without a message"
        if len(message) > MAX_MESSAGE:
            return "fault", f"a message of {len(message)} characters: {message[:200]}"
        return "refused", printable(message)
    except BaseException:
        return "fault", traceback.format_exc()
    return "read", ""


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]))
