"""Damaged inputs of every kind: each must be read or refused, in bounded time and memory.

``python tests/fuzz/fuzz.py --inputs 30600 --seed 0`` damages that many files and prints what went
wrong: an exception other than a `OnePhononError`, a hang, or a crash. The same seed gives the same
files on every machine; ``--only CASE --keep FOLDER`` writes that of one case.
"""

from __future__ import annotations

import argparse
import json
import select
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[1])]

from targets import targets, write_whole_files

#: Longest time (s) for one input; all take milliseconds where the machine is not busy.
TIME_LIMIT = 20.0

#: Time (s) for a worker to start.
START_LIMIT = 120.0


@dataclass(frozen=True)
class Fault:
    """A case that went wrong.

    Parameters
    ----------
    case : int
    target : str
        Name of the kind of input.
    what : str
        'fault', 'hang' or 'crash'.
    detail : str
        Traceback or exit code.
    """

    case: int
    target: str
    what: str
    detail: str


@dataclass
class Outcome:
    """What became of all cases."""

    counts: Counter[tuple[str, str]] = field(default_factory=Counter)
    faults: list[Fault] = field(default_factory=list)


class Worker:
    """The process that reads."""

    def __init__(self, whole: Path, folder: Path, seed: int) -> None:
        script = Path(__file__).with_name("worker.py")
        self.process = subprocess.Popen(
            [sys.executable, str(script), str(whole), str(folder), str(seed)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        self.limit = START_LIMIT

    def run(self, case: int) -> dict[str, str]:
        """What became of a case."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(f"{case}\n")
        self.process.stdin.flush()
        ready, _, _ = select.select([self.process.stdout], [], [], self.limit)
        self.limit = TIME_LIMIT
        if not ready:
            self.stop()
            return {"outcome": "hang", "detail": f"more than {TIME_LIMIT:g} s"}
        line = self.process.stdout.readline()
        if not line:
            return {"outcome": "crash", "detail": f"exit code {self.process.wait()}"}
        return dict(json.loads(line))

    def stop(self) -> None:
        """End the process."""
        self.process.kill()
        self.process.wait()


def fuzz(cases: Iterable[int], seed: int, progress: bool = False) -> Outcome:
    """Read damaged files.

    Parameters
    ----------
    cases : iterable of int
    seed : int
    progress : bool
        Write a line every half minute.
    """
    outcome, names = Outcome(), [target.name for target in targets()]
    with tempfile.TemporaryDirectory() as place:
        whole, folder = Path(place) / "whole", Path(place) / "damaged"
        whole.mkdir()
        folder.mkdir()
        write_whole_files(whole)
        worker, last = Worker(whole, folder, seed), time.monotonic()
        for case in range(-len(names), 0):
            answer = worker.run(case)
            if answer["outcome"] != "read":
                raise RuntimeError(f"{names[case]} is not read undamaged: {answer['detail']}")
        for n, case in enumerate(cases, start=1):
            answer = worker.run(case)
            target, what = names[case % len(names)], answer["outcome"]
            outcome.counts[target, what] += 1
            if what not in ("read", "refused"):
                outcome.faults.append(Fault(case, target, what, answer["detail"]))
            if what in ("hang", "crash"):
                worker = Worker(whole, folder, seed)
            if progress and time.monotonic() - last > 30:
                last = time.monotonic()
                print(f"{n} inputs, {len(outcome.faults)} faults", file=sys.stderr, flush=True)
        worker.stop()
    return outcome


def keep(case: int, seed: int, folder: Path) -> Path:
    """Write the damaged file of a case into a folder."""
    from worker import case_of

    target, rng = case_of(targets(), seed, case)
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as whole:
        write_whole_files(Path(whole))
        content = target.damaged((Path(whole) / target.name).read_bytes(), rng, folder)
    path = folder / target.name
    path.write_bytes(content)
    return path


def main() -> None:
    """Run the command; the exit code is 1 if anything went wrong."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--inputs", type=int, default=1000, help="number of damaged files")
    parser.add_argument("--first", type=int, default=0, help="number of the first case")
    parser.add_argument("--seed", type=int, default=0, help="of the damage")
    parser.add_argument("--only", type=int, help="this case alone")
    parser.add_argument("--keep", type=Path, help="with --only: write its file into this folder")
    given = parser.parse_args()
    if given.keep is not None:
        if given.only is None:
            parser.error("--keep is for --only")
        print(f"wrote {keep(given.only, given.seed, given.keep)}")
    cases = range(given.first, given.first + given.inputs)
    outcome = fuzz([given.only] if given.only is not None else cases, given.seed, progress=True)
    for fault in outcome.faults:
        print(f"case {fault.case}, {fault.target}: {fault.what}\n{fault.detail}\n")
    for name in sorted({name for name, _ in outcome.counts}):
        shown = {what: n for (kind, what), n in sorted(outcome.counts.items()) if kind == name}
        print(f"{name:25} {', '.join(f'{n} {what}' for what, n in shown.items())}")
    print(
        f"{sum(outcome.counts.values())} inputs, {len(outcome.faults)} faults (seed {given.seed})"
    )
    sys.exit(bool(outcome.faults))


if __name__ == "__main__":
    main()
