"""Rates, memory and error of both engines, beside a plain direct sum and the FFTs alone.

    python benchmarks/speed.py                              # structures bundled, 1e4 to 1e6 points
    python benchmarks/speed.py FILE... --points 1e4 1e7     # other sizes, structures of one's own
    python benchmarks/speed.py FILE --copies 8              # a cell of 2 x 2 x 2, each its own body
    python benchmarks/speed.py --small                      # seconds, for continuous integration

The plain way is the usual one: NumPy, G by summing over atoms in chunks, an eigendecomposition for
each zone point. It is timed on few points and its rate taken as it is. The FFTs alone are four
complex transforms (F and three moments) of the integer points of the map, for each zone offset and
each body of the asymmetric unit, without symmetry and without oversampling. Every row has a process
of its own, so that its memory is its own; times are medians.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import platform
import resource
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from onephonon import Crystal, OnePhonon, read_crystal
from onephonon.data import crambin_path
from onephonon.dynamics.stiffness_matrix import stiffness
from onephonon.network.bodies import gather_bodies

#: Samples per Miller index along h, k and l.
SAMPLES = (13, 11, 11)

#: How many points the plain way is timed and compared on, and of how many zone points of a map.
PLAIN, PLAIN_ZONES = 2000, 8

#: Largest |q| of scattered points, 1/Å: 1.25 Å.
Q_MAX = 5.0

#: Most points that gradients are taken at.
MAX_BOTH = 2_000_000


@dataclass(frozen=True)
class Case:
    """One row of the table."""

    file: Path
    mode: str
    points: int
    group_by: str
    engine: str
    copies: int
    repeats: int
    clock: str


def main() -> None:
    """Measure, print one table, and save JSON where asked."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("files", nargs="*", type=Path, help="structures (default: crambin)")
    parser.add_argument("--points", nargs="+", type=float, default=[1e4, 1e5, 1e6])
    parser.add_argument("--modes", nargs="+", default=["grid", "scattered"])
    parser.add_argument("--group-by", nargs="+", default=["asu"], help="asu, residue, atom")
    parser.add_argument("--engine", default="auto", help="auto, mesh or direct")
    parser.add_argument("--copies", type=int, default=1, help="1 or 8: a cell of 2 x 2 x 2")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument(
        "--cpu", action="store_true", help="seconds of one core, where other work runs as well"
    )
    parser.add_argument("--small", action="store_true", help="toy size")
    parser.add_argument("--json", type=Path, help="file for the numbers")
    arguments = parser.parse_args()
    clock = "cpu" if arguments.cpu else "wall"
    case = Case(Path(), "", 0, "", arguments.engine, arguments.copies, arguments.repeats, clock)
    sizes = arguments.points
    if arguments.small:
        sizes, case = [500.0], replace(case, engine="mesh", repeats=1)
    cases = [
        replace(case, file=file, mode=mode, points=int(size), group_by=group_by)
        for file in arguments.files or [crambin_path()]
        for group_by in arguments.group_by
        for mode in arguments.modes
        for size in sizes
    ]
    threads = 1 if arguments.cpu else torch.get_num_threads()
    print(f"{platform.machine()}, {threads} threads, {clock} time")
    rows: list[dict[str, Any]] = []
    with multiprocessing.get_context("spawn").Pool(1, maxtasksperchild=1) as pool:
        for row in pool.imap(measure, cases, chunksize=1):
            if not rows:
                print("  ".join(f"{name:>12}" for name in row))
            cells = (f"{x:.4g}" if isinstance(x, float) else str(x) for x in row.values())
            print("  ".join(f"{x:>12}" for x in cells), flush=True)
            rows.append(row)
            if arguments.json:
                arguments.json.write_text(json.dumps(rows, indent=1))


def measure(case: Case) -> dict[str, Any]:
    """One row of the table."""
    torch.manual_seed(0)
    if case.clock == "cpu":
        torch.set_num_threads(1)
    clock = time.process_time if case.clock == "cpu" else time.perf_counter
    crystal = read_crystal(case.file)
    options: dict[str, Any] = {"thermal_scale": 1.0, "engine": case.engine}
    options["group_by"] = case.group_by
    if case.copies == 8:
        crystal, options["group_by"] = eightfold(crystal)
    if case.mode == "grid":
        options |= ranges(crystal, case.points)
    else:
        options["q_vectors"] = ball(case.points)
    start = clock()
    model = OnePhonon(crystal, **options)
    model.force_constants()
    setup = clock() - start

    def forward() -> torch.Tensor:
        with torch.no_grad():
            return model(use_data_adp=True)

    intensity = forward().reshape(-1)
    seconds = median_seconds(forward, case.repeats, clock)
    forward_GB = peak_GB()
    n, some = model.n_points, chosen(model, intensity)
    hkl = hkl_of_voxels(model, some)
    q = crystal.cell.q_from_hkl(hkl).numpy()
    start = clock()
    plain = plain_intensity(model, q, hkl.numpy())
    plain_rate = len(some) / (clock() - start)
    rms = float(intensity[~intensity.isnan()].square().mean().sqrt())
    both = both_seconds(crystal, options, case.repeats, clock) if n <= MAX_BOTH else None
    per_fft = None
    if case.mode == "grid":
        per_fft = fft_seconds(tuple(model.map_shape), clock) * model.bodies.n_bodies
        per_fft /= crystal.n_ops
    return {
        "structure": case.file.stem + ("x8" if case.copies == 8 else ""),
        "mode": case.mode,
        "engine": model.chosen_engine.name,
        "solver": model.chosen_solver.name,
        "atoms": model.bodies.n_cell_atoms,
        "bodies": model.bodies.n_bodies,
        "points": n,
        "setup_s": setup,
        "forward_s": seconds,
        "points_per_s": n / seconds,
        "over_plain": n / seconds / plain_rate,
        "over_fft": None if per_fft is None else seconds / n / per_fft,
        "both/forward": None if both is None else both / seconds,
        "error/rms": float(np.abs(intensity[some].numpy() - plain).max()) / rms,
        "forward_GB": forward_GB,
        "both_GB": None if both is None else peak_GB(),
    }


def median_seconds(work: Callable[[], Any], repeats: int, clock: Callable[[], float]) -> float:
    """Median time of a call."""
    times = []
    for _ in range(repeats):
        start = clock()
        work()
        times.append(clock() - start)
    return statistics.median(times)


def peak_GB() -> float:
    """Most memory that this process has held."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def both_seconds(
    crystal: Crystal, options: dict[str, Any], repeats: int, clock: Callable[[], float]
) -> float:
    """Time of intensity and gradient by springs, positions, U, occupancies and scattered q."""
    given = {"positions": crystal.positions, "U": crystal.U, "occupancies": crystal.occupancies}
    given |= {name: torch.tensor(1.0, dtype=torch.float64) for name in ("gamma_intra",)}
    if "q_vectors" in options:
        given["q_vectors"] = options["q_vectors"]
    leaves = {name: x.detach().clone().requires_grad_() for name, x in given.items()}
    model = OnePhonon(crystal, **options | leaves)

    def both() -> None:
        model(use_data_adp=True).nansum().backward()

    return median_seconds(both, repeats, clock)


def ranges(crystal: Crystal, n: int) -> dict[str, tuple[float, float, int]]:
    """Samplings of about n points, as many 1/Å along each axis."""
    lengths = torch.linalg.vector_norm(crystal.cell.matrix, dim=0).tolist()
    reach = (n / (8 * np.prod(SAMPLES) * np.prod(lengths))) ** (1 / 3)
    steps = [max(1, round(reach * x * s)) for x, s in zip(lengths, SAMPLES, strict=True)]
    names = ("hsampling", "ksampling", "lsampling")
    return {name: (-m / s, m / s, s) for name, m, s in zip(names, steps, SAMPLES, strict=True)}


def ball(n: int) -> torch.Tensor:
    """Random q, evenly spread to `Q_MAX`."""
    q = torch.randn(n, 3, dtype=torch.float64)
    radius = Q_MAX * torch.rand(n, 1, dtype=torch.float64) ** (1 / 3)
    return radius * q / q.norm(dim=1, keepdim=True)


def eightfold(crystal: Crystal) -> tuple[Crystal, list[int]]:
    """Two cells along each axis as one cell in P 1, and the body of each atom."""
    bodies = gather_bodies(crystal)
    matrix = crystal.cell.matrix
    once = bodies.positions @ torch.linalg.inv(matrix).T
    shift = torch.cartesian_prod(*[torch.arange(2.0, dtype=torch.float64)] * 3)
    large = Crystal.from_atoms(
        type(crystal.cell)(2 * matrix),
        "P 1",
        [crystal.labels[i].element for i in bodies.asu_atom.tolist()] * 8,
        ((once + shift[:, None]) / 2).reshape(-1, 3),
        U=bodies.U.repeat(8, 1, 1),
        occupancies=crystal.occupancies[bodies.asu_atom].repeat(8),
    )
    body = bodies.body + bodies.n_bodies * torch.arange(8)[:, None]
    return large, body.reshape(-1).tolist()


def chosen(model: OnePhonon, intensity: torch.Tensor) -> torch.Tensor:
    """Points for the plain way: on a map they share zone points, as they do on all of it."""
    some = torch.arange(len(intensity))
    if model.grid is not None:
        shape = model.grid.shape
        every = some.reshape(shape)
        zones = torch.cartesian_prod(
            *(torch.arange(min(x)) for x in zip(shape, SAMPLES, strict=True))
        )
        few = zones[torch.randperm(len(zones))[:PLAIN_ZONES]].tolist()
        h, k, l = SAMPLES  # noqa: E741
        some = torch.cat([every[a::h, b::k, c::l].reshape(-1) for a, b, c in few])
    some = some[~intensity[some].isnan()]
    return some[torch.randperm(len(some))[:PLAIN]]


def hkl_of_voxels(model: OnePhonon, some: torch.Tensor) -> torch.Tensor:
    """The hkl of some points, those of a large map not all formed."""
    if model.grid is None:
        return model.points.hkl[some].detach()
    index = torch.unravel_index(some, model.grid.shape)
    return torch.from_numpy(model.grid.hkl_of_voxels(i.numpy() for i in index))


def plain_intensity(model: OnePhonon, q: NDArray[Any], hkl: NDArray[Any]) -> NDArray[Any]:
    """Intensity at s = 1 with the file's ADPs, zone point by zone point (not at Bragg points)."""
    bodies = model.bodies
    crystal = bodies.crystal
    r, U, A = (x.detach().numpy() for x in (bodies.positions, bodies.U, bodies.displacements()))
    atom = bodies.asu_atom
    f = crystal.form_factors.evaluate(torch.as_tensor((q * q).sum(1))).detach().numpy()
    f = f[:, crystal.form_factors.kind[atom].numpy()] * crystal.occupancies[atom].detach().numpy()
    width = bodies.width
    columns = np.arange(bodies.n_bodies * width).reshape(bodies.n_bodies, width)
    own = [np.flatnonzero(bodies.body.numpy() == body) for body in range(bodies.n_bodies)]
    G = np.zeros((len(q), columns.size), complex)
    for some in np.array_split(np.arange(len(q)), max(1, len(q) // 500)):
        debye_waller = np.exp(-0.5 * np.einsum("qa,jab,qb->qj", q[some], U, q[some], optimize=True))
        waves = f[some] * debye_waller * np.exp(1j * q[some] @ r.T)
        for body, atoms in enumerate(own):
            along = np.einsum("qa,jad->qjd", q[some], A[atoms, :, :width])
            G[np.ix_(some, columns[body])] = np.einsum("qj,qjd->qd", waves[:, atoms], along)
    G = bodies.gather(torch.as_tensor(G)).numpy()
    k = hkl - np.round(hkl)
    _, first, where = np.unique(np.round(k, 9), axis=0, return_index=True, return_inverse=True)
    k = k[first]
    found = np.empty(len(q))
    order = np.argsort(where.ravel(), kind="stable")
    each = np.split(order, np.cumsum(np.bincount(where.ravel()))[:-1])
    constants = model.force_constants()
    for batch in np.array_split(np.arange(len(k)), max(1, len(k) * G.shape[1] ** 2 // 1_000_000)):
        K = stiffness(bodies, constants, torch.as_tensor(k[batch])).detach().numpy()
        for i, one in zip(batch, K, strict=True):
            w2, V = np.linalg.eigh(one)
            found[each[i]] = (np.abs(G[each[i]].conj() @ V) ** 2 / w2).sum(1)
    return found


def fft_seconds(shape: tuple[int, ...], clock: Callable[[], float]) -> float:
    """Seconds a voxel of the FFTs alone."""
    sizes = [max(2, -(-n // s)) for n, s in zip(shape, SAMPLES, strict=True)]
    fields = torch.randn(4, *sizes, dtype=torch.complex128)
    seconds = median_seconds(lambda: torch.fft.fftn(fields, dim=(1, 2, 3)), 7, clock)
    return seconds / fields[0].numel()


if __name__ == "__main__":
    main()
