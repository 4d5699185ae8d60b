"""What orders beyond one phonon cost, as ratios within one run.

    python benchmarks/orders.py model.pdb     # a map of 1e6 points to 2 Å, and 1e4 scattered q
    python benchmarks/orders.py --small       # seconds, for continuous integration

Each row is one sum of orders to one accuracy: times of a map on the mesh and of a list of q,
relative to one phonon at the same accuracy, the backward pass of the list for everything, relative
to its own forward pass, and the error of the map at some of its points against a sum to 1e-9.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from onephonon import OnePhonon, read_crystal
from onephonon.crystal.crystal import Crystal
from onephonon.data import crambin_path

#: Points of the map that are compared with the accurate sum.
N_COMPARED = 200

SUMS: tuple[tuple[int | str, float], ...] = (
    (1, 1e-3),
    (2, 1e-3),
    ("all", 1e-3),
    (1, 1e-4),
    (2, 1e-4),
    ("all", 1e-4),
)


def median_seconds(work: Callable[[], Any], repeats: int) -> float:
    """Median wall time of a call, after one that is not counted."""
    work()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def samplings(crystal: Crystal, d_min: float, n_points: float) -> list[tuple[int, int, int]]:
    """Ranges of hkl that contain the sphere of a resolution, with about so many points."""
    reach = [int(length / d_min) for length in crystal.cell.parameters[:3]]
    per_index = (n_points / (8 * reach[0] * reach[1] * reach[2])) ** (1 / 3)
    n = max(2, round(per_index))
    return [(-x, x, n) for x in reach]


def measure(
    crystal: Crystal, d_min: float, n_points: float, n_q: int, repeats: int
) -> list[dict[str, Any]]:
    """Times and errors of every sum."""
    torch.manual_seed(0)
    direction = torch.nn.functional.normalize(torch.randn(n_q, 3, dtype=torch.float64), dim=1)
    q = direction * (6.2832 / d_min) * torch.rand(n_q, 1, dtype=torch.float64) ** (1 / 3)
    ranges = samplings(crystal, d_min, n_points)
    rows: list[dict[str, Any]] = []
    alone: dict[tuple[str, float], float] = {}
    for orders, rtol in SUMS:
        options: dict[str, Any] = {"orders": orders, "rtol": rtol}
        on_grid = OnePhonon(crystal, *ranges, res_limit=d_min, engine="mesh", **options)
        listed = OnePhonon(crystal, q_vectors=q, engine="direct", **options)

        def leaf(x: torch.Tensor) -> torch.Tensor:
            return x.detach().clone().requires_grad_()

        everything = OnePhonon(
            crystal,
            q_vectors=leaf(q),
            positions=leaf(crystal.positions),
            occupancies=leaf(crystal.occupancies),
            cell=leaf(crystal.cell.matrix),
            engine="direct",
            **options,
        )
        with torch.no_grad():
            on_grid()
            listed()  # both before either is timed: what is done once is not counted
            seconds = {
                "map": median_seconds(on_grid, repeats),
                "list": median_seconds(listed, repeats),
            }
            found = on_grid()
            valid = found.isfinite().nonzero().squeeze(1)
            some = valid[torch.linspace(0, len(valid) - 1, N_COMPARED).long()]
            accurate = OnePhonon(
                crystal, q_vectors=on_grid.q_grid[some], orders=orders, rtol=1e-9, engine="direct"
            )()
        error = (found[some] - accurate).abs() / (accurate + accurate.square().mean().sqrt())
        both = median_seconds(lambda m=everything: m().nansum().backward(), repeats)
        for name, value in seconds.items():
            if orders == 1:
                alone[name, rtol] = value
        rows.append(
            {
                "orders": str(orders),
                "rtol": rtol,
                "points": len(valid),
                "map_s": seconds["map"],
                "map_over_one": seconds["map"] / alone["map", rtol],
                "list_us_per_q": 1e6 * seconds["list"] / n_q,
                "list_over_one": seconds["list"] / alone["list", rtol],
                "backward_over_forward": both / seconds["list"] - 1,
                "error": float(error.max()),
                "peak_GB": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
                / (1e9 if sys.platform == "darwin" else 1e6),
            }
        )
    return rows


def main() -> None:
    """Measure, print one table, and save JSON where asked."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("structure", type=Path, nargs="?", default=None)
    parser.add_argument("--d-min", type=float, default=2.0, help="resolution, Å")
    parser.add_argument("--points", type=float, default=1.1e6, help="points of the map")
    parser.add_argument("--small", action="store_true", help="toy size")
    parser.add_argument("--json", type=Path, help="file for the numbers")
    arguments = parser.parse_args()
    crystal = read_crystal(arguments.structure or crambin_path())
    size = (4.0, 2000, 50, 1) if arguments.small else (arguments.d_min, arguments.points, 10_000, 3)
    rows = measure(crystal, *size)
    names = list(rows[0])
    print("  ".join(f"{name:>8}" for name in names))
    for row in rows:
        cells = (row[n] if isinstance(row[n], str) else f"{row[n]:.3g}" for n in names)
        print("  ".join(f"{cell:>{max(8, len(n))}}" for cell, n in zip(cells, names, strict=True)))
    if arguments.json:
        arguments.json.write_text(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()
