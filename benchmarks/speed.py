"""Rates, memory and error of the mesh engine, beside a plain direct sum and the FFTs alone.

    python benchmarks/speed.py                              # structures bundled, 1e4 and 1e6 points
    python benchmarks/speed.py --points 1e4 1e6 1e8 FILE... # other sizes, structures of one's own
    python benchmarks/speed.py --small                      # seconds, for continuous integration

The plain way is the usual one: NumPy, G by summing over atoms in chunks, an eigendecomposition
for each zone point. It is timed on few points and its rate taken as it is. The FFTs alone are
four complex transforms (F and three moments) of the integer points of the map for each zone
offset, without symmetry; with symmetry the mesh may pass them.
"""

from __future__ import annotations

import argparse
import json
import platform
import resource
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from onephonon import Crystal, OnePhonon, read_crystal
from onephonon.data import crambin_path
from onephonon.dynamics import stiffness
from onephonon.network import ForceConstants

#: Samples per Miller index along h, k and l.
SAMPLES = (13, 11, 11)

#: How many points the plain way is timed and compared on.
PLAIN = 2000


def median_seconds(work: Callable[[], Any], repeats: int) -> float:
    """Median wall time of a call."""
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def plain_intensity(
    model: OnePhonon, constants: ForceConstants, q: NDArray[Any], hkl: NDArray[Any]
) -> NDArray[Any]:
    """Intensity at s = 1 with the file's ADPs, point by point of the zone (not at Bragg points)."""
    bodies = model.bodies
    crystal = bodies.crystal
    r, U, A = (x.detach().numpy() for x in (bodies.positions, bodies.U, bodies.displacements()))
    atom = bodies.asu_atom
    f = crystal.form_factors.evaluate(torch.as_tensor((q * q).sum(1))).detach().numpy()
    f = f[:, crystal.form_factors.kind[atom].numpy()] * crystal.occupancies[atom].detach().numpy()
    columns = np.arange(bodies.n_bodies * bodies.width).reshape(bodies.n_bodies, bodies.width)
    G = np.zeros((len(q), columns.size), complex)
    for some in np.array_split(np.arange(len(q)), max(1, len(q) // 500)):
        debye_waller = np.exp(-0.5 * np.einsum("qa,jab,qb->qj", q[some], U, q[some]))
        waves = f[some] * debye_waller * np.exp(1j * q[some] @ r.T)
        for body in range(bodies.n_bodies):
            own = np.flatnonzero(bodies.body.numpy() == body)
            G[np.ix_(some, columns[body])] = np.einsum(
                "qj,qa,jad->qd", waves[:, own], q[some], A[own]
            )
    G = bodies.gather(torch.as_tensor(G)).numpy()
    k, where = np.unique(np.round(hkl - np.round(hkl), 9), axis=0, return_inverse=True)
    found = np.empty(len(q))
    for i, K in enumerate(stiffness(bodies, constants, torch.as_tensor(k)).detach().numpy()):
        w2, V = np.linalg.eigh(K)
        here = np.flatnonzero(where.ravel() == i)
        found[here] = (np.abs(G[here].conj() @ V) ** 2 / w2).sum(1)
    return found


def ranges(crystal: Crystal, n: int) -> dict[str, tuple[float, float, int]]:
    """Samplings of about n points, as many Å^-1 along each axis."""
    lengths = torch.linalg.vector_norm(crystal.cell.matrix, dim=1).tolist()
    reach = (n / (8 * np.prod(SAMPLES) * np.prod(lengths))) ** (1 / 3)
    steps = [max(1, round(reach * x * s)) for x, s in zip(lengths, SAMPLES, strict=True)]
    names = ("hsampling", "ksampling", "lsampling")
    return {name: (-m / s, m / s, s) for name, m, s in zip(names, steps, SAMPLES, strict=True)}


def fft_seconds(shape: tuple[int, ...]) -> float:
    """Seconds a voxel of the FFTs alone."""
    fields = torch.randn(4, *(max(2, n // s) for n, s in zip(shape, SAMPLES, strict=True))) + 0j
    fields = fields.to(torch.complex128)
    seconds = median_seconds(lambda: torch.fft.fftn(fields, dim=(1, 2, 3)), 7)
    return seconds / fields[0].numel()


def measure(crystal: Crystal, n: int, mode: str, repeats: int) -> dict[str, Any]:
    """One row of the table; ``mode`` is 'grid' or 'scattered'."""
    torch.manual_seed(0)
    options: dict[str, Any] = {"thermal_scale": 1.0, "gnm_cutoff": 4.0, "engine": "mesh"}
    if mode == "grid":
        model = OnePhonon(crystal, **ranges(crystal, n), **options)
    else:
        q = torch.randn(n, 3, dtype=torch.float64)
        q *= 5.0 * torch.rand(n, 1, dtype=torch.float64) ** (1 / 3) / q.norm(dim=1, keepdim=True)
        model = OnePhonon(crystal, q_vectors=q.requires_grad_(), **options)
    n = model.points.n_q

    def forward() -> torch.Tensor:
        with torch.no_grad():
            return model(use_data_adp=True)

    def both() -> None:
        positions = crystal.positions.detach().clone().requires_grad_()
        more = {"positions": positions} | options
        points = ranges(crystal, n) if mode == "grid" else {"q_vectors": model.points.q}
        OnePhonon(crystal, **points, **more)(use_data_adp=True).nansum().backward()

    intensity = forward().flatten()
    seconds = median_seconds(forward, repeats)
    good = (~intensity.isnan()).nonzero().squeeze(1)
    if mode == "grid":  # few zone points, so that the plain way shares them as on a whole map
        k = (model.points.hkl - model.points.hkl.round())[good].detach()
        zones, where = torch.unique((1e6 * k).round(), dim=0, return_inverse=True)
        good_few = good[torch.isin(where, torch.randperm(len(zones))[:8])]
    else:
        good_few = good
    some = good_few[torch.randperm(len(good_few))[:PLAIN]]
    q_some, hkl_some = (x.detach()[some].numpy() for x in (model.points.q, model.points.hkl))
    constants = model.force_constants()
    start = time.perf_counter()
    plain = plain_intensity(model, constants, q_some, hkl_some)
    plain_rate = len(some) / (time.perf_counter() - start)
    rms = float(intensity[good].square().mean().sqrt())
    return {
        "mode": mode,
        "atoms": model.bodies.n_cell_atoms,
        "points": n,
        "points_per_s": n / seconds,
        "over_plain": n / seconds / plain_rate,
        "over_fft": seconds / n / fft_seconds(tuple(model.map_shape)) if mode == "grid" else None,
        "both_over_forward": median_seconds(both, 1) / seconds if n <= 2e6 else None,
        "error_of_rms": float(np.abs(intensity[some].numpy() - plain).max()) / rms,
        "peak_GB": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20,
    }


def main() -> None:
    """Measure, print one table, and save JSON where asked."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("files", nargs="*", type=Path, help="structures (default: crambin)")
    parser.add_argument("--points", nargs="+", type=float, default=[1e4, 1e6])
    parser.add_argument("--modes", nargs="+", default=["grid", "scattered"])
    parser.add_argument("--small", action="store_true", help="toy size")
    parser.add_argument("--json", type=Path, help="file for the numbers")
    arguments = parser.parse_args()
    sizes, repeats = ([500.0], 1) if arguments.small else (arguments.points, 3)
    rows = []
    print(f"{platform.machine()}, {torch.get_num_threads()} threads")
    for file in arguments.files or [crambin_path()]:
        for mode in arguments.modes:
            for size in sizes:
                row = measure(read_crystal(file), int(size), mode, repeats)
                if not rows:
                    print("  ".join(f"{name:>17}" for name in row))
                cells = (f"{x:.4g}" if isinstance(x, float) else str(x) for x in row.values())
                print("  ".join(f"{x:>17}" for x in cells), flush=True)
                rows.append(row)
    if arguments.json:
        arguments.json.write_text(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()
