"""What gradients cost beside the intensity itself, as ratios within one run.

    python benchmarks/gradients.py            # crambin, 1e3 to 1e5 q-vectors
    python benchmarks/gradients.py --small    # seconds, for continuous integration

Two models. Overrides ADPs (`use_data_adp=True`), G from the atoms each time: the ratios hold at any
number of q. G kept for a fit over springs: no atoms at all, one solve per q.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from onephonon import OnePhonon, SpringPlan, read_crystal
from onephonon.data import crambin_path


def median_seconds(work: Callable[[], Any], repeats: int) -> float:
    """Median wall time of a call, after one that is not counted."""
    work()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def measure(n_q: int, repeats: int) -> dict[str, float]:
    """Times of forward and backward passes at n_q random q to 1.5 Å."""
    torch.manual_seed(0)
    crystal = read_crystal(crambin_path())
    q = 2 * torch.rand(n_q, 3, dtype=torch.float64)
    plan = SpringPlan(by="interface", kind="hybrid", start=(1.0, 0.3))

    def build(**tensors: torch.Tensor) -> OnePhonon:
        points = tensors.pop("q_vectors", q)
        return OnePhonon(crystal, q_vectors=points, springs=plan, thermal_scale=1.0, **tensors)

    def leaf(x: torch.Tensor) -> torch.Tensor:
        return x.detach().clone().requires_grad_()

    springs_only = build()
    everything = build(
        q_vectors=leaf(q),
        positions=leaf(crystal.positions),
        U=leaf(crystal.U),
        occupancies=leaf(crystal.occupancies),
        cell=leaf(crystal.cell.matrix),
    )
    kept = springs_only.amplitudes()

    def forward(**options: Any) -> None:
        with torch.no_grad():
            springs_only(use_data_adp=True, **options)

    def both(model: OnePhonon, **options: Any) -> None:
        model(use_data_adp=True, **options).nansum().backward()

    seconds = {
        "forward": median_seconds(forward, repeats),
        "springs": median_seconds(lambda: both(springs_only), repeats),
        "everything": median_seconds(lambda: both(everything), repeats),
        "kept forward": median_seconds(lambda: forward(G=kept), repeats),
        "kept springs": median_seconds(lambda: both(springs_only, G=kept), repeats),
        "kept jacobian": median_seconds(lambda: springs_only.spring_jacobian(kept), repeats),
    }
    base, kept_base = seconds["forward"], seconds["kept forward"]
    return {
        "n_q": n_q,
        "forward_us_per_q": 1e6 * base / n_q,
        "backward_springs": seconds["springs"] / base - 1,
        "backward_everything": seconds["everything"] / base - 1,
        "kept_forward_us_per_q": 1e6 * kept_base / n_q,
        "kept_backward_springs": seconds["kept springs"] / kept_base - 1,
        "kept_jacobian_over_forward": seconds["kept jacobian"] / kept_base,
    }


def main() -> None:
    """Measure, print one table, and save JSON where asked."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--small", action="store_true", help="toy size")
    parser.add_argument("--json", type=Path, help="file for the numbers")
    arguments = parser.parse_args()
    sizes, repeats = ([300], 1) if arguments.small else ([1000, 10_000, 100_000], 5)
    rows = [measure(n, repeats) for n in sizes]
    names = list(rows[0])
    print("  ".join(names))
    for row in rows:
        print("  ".join(f"{row[name]:>{len(name)}.4g}" for name in names))
    if arguments.json:
        arguments.json.write_text(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()
