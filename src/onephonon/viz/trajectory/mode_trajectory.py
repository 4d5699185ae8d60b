"""Animation of one mode: displacements of the atoms of a few cells.

A mode of wavevector k displaces atom j of the cell at R by ``Re[c z_j exp(i (k.R - phi))]``, with
``z = A V`` its pattern in one cell. phi runs over one period. This is a travelling wave; a standing
wave, the sum of k and -k, is ``sin(phi) Re[c z_j exp(i k.R)]`` and passes through rest.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import torch
from torch import Tensor

from onephonon.core.errors import InputError
from onephonon.core.memory import state_memory
from onephonon.core.units import TWO_PI
from onephonon.crystal.cell import UnitCell
from onephonon.crystal.crystal import Crystal
from onephonon.dynamics.lattice_model import HasLattice, LatticeModel, lattice_of
from onephonon.dynamics.unfolding import unfolded_modes
from onephonon.network.bodies import Bodies

#: Maximum number of cells along an axis; longer waves are shown over two cells.
MAX_CELLS = 6

#: Tolerance between an index and a fraction with a denominator up to `MAX_CELLS`: users type four
#: decimals.
COMMENSURATE = 1e-4

ATOMS = ("all", "backbone", "ca")

#: Backbone atoms of proteins and of nucleotides.
BACKBONE = ("N", "CA", "C", "O", "P", "O5'", "C5'", "C4'", "C3'", "O3'")
TRACE = ("CA", "P")

#: Memory for each atom of a block, bytes.
ATOM_BYTES = 500

#: Maximum number of values in memory: displacements times frames.
MAX_NUMBERS = 300_000_000


@dataclass(frozen=True)
class Block:
    """Atoms of a few cells at rest.

    Parameters
    ----------
    crystal : Crystal
        The asymmetric unit, with labels, B-factors etc., indexed by `atom`.
    box : UnitCell
        The unit cell of the block.
    cells : three int
        Number of cells along each axis.
    positions : Tensor, shape (n, 3), Å
        Those of the first copy in the first cell are as in the structure; other copies are shifted
        by whole cells so that all centroids are in the same cell.
    atom : Tensor, shape (n,), int64
        Index of the atom in the asymmetric unit.
    copy : Tensor, shape (n,), int64
        Index of its symmetry operator.
    cell : Tensor, shape (n, 3), int64
        Its cell, relative to the first.
    shift : Tensor, shape (n, 3), int64
        Shift of the copy from the position that the operator gives in the first cell, in cells.
    """

    crystal: Crystal
    box: UnitCell
    cells: tuple[int, int, int]
    positions: Tensor
    atom: Tensor
    copy: Tensor
    cell: Tensor
    shift: Tensor


@dataclass(frozen=True)
class Pattern:
    """Displacements of the atoms of a block in one mode.

    Parameters
    ----------
    block : Block
    displacements : Tensor, shape (n, 3), complex
        ``c z_j exp(i k.R)``, Å.
    k_frac : three float
        Wavevector in the reciprocal axes of the crystal's own cell.
    mode : int
        Index of the mode, from 0 for the softest at this wavevector.
    frequency : float
        In reduced units; see `spectra`.
    travelling : bool
        Whether the wave is travelling or standing.
    repeats : bool
        Whether the wave is periodic in the block.
    thermal : float
        Amplitude in units of the thermal amplitude; zero for uniform translations.
    """

    block: Block
    displacements: Tensor
    k_frac: tuple[float, float, float]
    mode: int
    frequency: float
    travelling: bool
    repeats: bool
    thermal: float

    def frames(self, n: int = 24) -> Tensor:
        """Displacements over one period, shape (n, n_atoms, 3), Å.

        A standing wave starts at rest, so frame 0 is the structure itself.
        """
        size = self.displacements.numel()
        if n < 1 or n * size > MAX_NUMBERS:
            raise InputError(
                f"frames {n}: give 1 to {MAX_NUMBERS // size} for {len(self.displacements)} "
                "atoms, or show fewer cells or atoms"
            )
        phi = TWO_PI * torch.arange(n, dtype=self.block.positions.dtype) / n
        if self.travelling:
            phase_factors = torch.polar(torch.ones_like(phi), -phi)
            return (phase_factors[:, None, None] * self.displacements).real
        return torch.sin(phi)[:, None, None] * self.displacements.real

    @property
    def largest(self) -> float:
        """The largest displacement of an atom, Å."""
        return float(_reach(self.displacements, self.travelling).max())


def commensurate_cells(k_frac: Sequence[float]) -> tuple[int, int, int]:
    """Minimum number of cells along each axis after which a wave repeats.

    Two along an axis that would need more than six; the wave then does not repeat.
    """
    cells = []
    for x in k_frac:
        fraction = Fraction(float(x)).limit_denominator(MAX_CELLS)
        fits = abs(float(fraction) - float(x)) < COMMENSURATE
        cells.append(fraction.denominator if fits else 2)
    return cells[0], cells[1], cells[2]


def make_block(bodies: Bodies, cells: Sequence[int], atoms: str = "all") -> Block:
    """Atoms of a block of cells.

    Parameters
    ----------
    bodies : Bodies
    cells : three int
    atoms : {'all', 'backbone', 'ca'}

    Raises
    ------
    InputError
        If a number is not positive, or no atom is selected.
    """
    if atoms not in ATOMS:
        raise InputError(f"atoms {atoms!r} is not one of {', '.join(ATOMS)}")
    if len(cells) != 3 or min(cells) < 1:
        raise InputError(f"cells {tuple(cells)}: give three whole numbers, 1 or more")
    crystal = bodies.crystal
    names = {"all": None, "backbone": BACKBONE, "ca": TRACE}[atoms]
    keep = torch.tensor([names is None or x.atom_name in names for x in crystal.labels])
    if not bool(keep.any()):
        raise InputError(f"there is no {' or '.join(names or ())} atom; show all atoms")
    n = crystal.n_atoms
    matrix = crystal.cell.matrix.detach().cpu().double()
    positions = bodies.positions.detach().cpu().double()
    copies = positions.reshape(-1, n, 3)
    whole = torch.floor(copies.mean(1) @ torch.linalg.inv(matrix).T)
    shift = (whole[:1] - whole).repeat_interleave(n, 0)
    kept = keep.repeat(bodies.n_ops).nonzero().squeeze(1)
    every = torch.tensor(list(itertools.product(*(range(m) for m in cells))), dtype=torch.float64)
    moved = every[:, None] + shift[kept]
    place = positions[kept] + moved @ matrix.T
    size = torch.tensor(cells, dtype=torch.float64)
    return Block(
        crystal=crystal,
        box=UnitCell(matrix * size),
        cells=(int(cells[0]), int(cells[1]), int(cells[2])),
        positions=place.reshape(-1, 3),
        atom=(kept % n).repeat(len(every)),
        copy=(kept // n).repeat(len(every)),
        cell=every.repeat_interleave(len(kept), 0).to(torch.int64),
        shift=moved.reshape(-1, 3).to(torch.int64),
    )


def mode_pattern(
    model: LatticeModel | HasLattice,
    k_frac: Sequence[float],
    mode: int = 0,
    *,
    cells: Sequence[int] | None = None,
    amplitude: float | None = None,
    thermal: float | None = None,
    travelling: bool = False,
    atoms: str = "all",
) -> Pattern:
    """The displacements of one mode over a block of cells.

    Parameters
    ----------
    model : LatticeModel, or OnePhonon
    k_frac : three float
        In the reciprocal axes of the crystal's own cell. In a centred cell the modes are those
        of the primitive cell, as in `dispersion`.
    mode : int
        Index of the mode, from 0 for the softest; at Gamma the first three are the translations
        along x, y and z.
    cells : three int, optional
        By default as many as the wave needs to repeat; see `commensurate_cells`.
    amplitude : float, optional
        Largest displacement of the shown atoms, Å; by default 1.
    thermal : float, optional
        Alternatively, the amplitude in units of the thermal amplitude, at which the vibration has
        the energy kT in a crystal of the size of the block, or that of the model's occupation. By
        equipartition ``w^2 sum m |z|^2 = 2``, in reduced units and over all atoms of the block.
    travelling : bool
    atoms : {'all', 'backbone', 'ca'}
        Which atoms to show.

    Returns
    -------
    Pattern

    Raises
    ------
    InputError
        If there is no such mode, a translation is given a thermal amplitude, or an option is
        invalid.
    """
    k = torch.tensor([[float(x) for x in k_frac]], dtype=torch.float64)
    if k.shape != (1, 3) or not bool(torch.isfinite(k).all()):
        raise InputError(f"wavevector {tuple(k_frac)}: give three finite indices")
    lattice = lattice_of(model)
    n_cells = math.prod(int(n) for n in cells or commensurate_cells(k_frac))
    n_atoms = n_cells * len(lattice.bodies.positions)
    state_memory(
        ATOM_BYTES * n_atoms,
        f"a block of {n_cells} cells with {n_atoms} atoms",
        "show fewer cells",
    )
    block = make_block(lattice.bodies, cells or commensurate_cells(k_frac), atoms)
    whole = k[0] * torch.tensor(block.cells, dtype=k.dtype)
    repeats = bool((whole - torch.round(whole)).abs().max() < COMMENSURATE * max(block.cells))
    with torch.no_grad():
        z, frequency = _in_one_cell(lattice, k, mode)
    everywhere = make_block(lattice.bodies, block.cells)
    moving = _over_block(z, everywhere, k[0])
    if not travelling:
        moving = moving.real
    masses = lattice.bodies.masses.detach().cpu().double()[everywhere.atom]
    inertia = float((masses[:, None] * moving.abs().square()).sum())
    unit = math.sqrt(2.0 / inertia) / frequency if frequency > 0 else math.inf
    if lattice.occupation is not None:
        squared = torch.tensor([frequency**2], dtype=torch.float64)
        unit *= math.sqrt(max(0.0, float(lattice.occupation.factor(squared))))
    shown = _over_block(z, block, k[0])
    factor = _factor(float(_reach(shown, travelling).max()), amplitude, thermal, unit)
    return Pattern(
        block=block,
        displacements=factor * shown,
        k_frac=(float(k[0, 0]), float(k[0, 1]), float(k[0, 2])),
        mode=mode,
        frequency=frequency,
        travelling=travelling,
        repeats=repeats,
        thermal=factor / unit,
    )


def _in_one_cell(lattice: LatticeModel, k: Tensor, mode: int) -> tuple[Tensor, float]:
    """Displacements of one cell's atoms, (n_cell_atoms, 3), complex, and the frequency."""
    bodies = lattice.bodies
    found = unfolded_modes(bodies, lattice.force_constants, k.to(bodies.positions))
    n_modes = found.w_squared.shape[1]
    if not 0 <= mode < n_modes:
        raise InputError(f"mode {mode}: this wavevector has modes 0 to {n_modes - 1}")
    w = found.frequencies[0, mode]
    padded = bodies.scatter(found.V[0, :, mode], 0).reshape(bodies.n_bodies, bodies.width)
    if not float(w) > 0:  # any mixture of the translations is a mode: use one axis
        padded = torch.zeros_like(padded)
        padded[:, mode] = 1.0
    A = bodies.displacements().to(padded.dtype)
    z = (A @ padded[bodies.body][:, :, None])[:, :, 0].detach().cpu().to(torch.complex128)
    # The phase is arbitrary: maximize the real part, with the largest component positive.
    z = z * torch.exp(-0.5j * torch.angle((z * z).sum()))
    largest = z.real.reshape(-1)[z.real.abs().argmax()]
    return z * torch.sign(largest), float(w / lattice.thermal_scale.sqrt())


def _over_block(z: Tensor, block: Block, k: Tensor) -> Tensor:
    """Displacements of the atoms of the block from those of one cell."""
    angle = TWO_PI * (block.shift.to(k.dtype) @ k)
    waves = torch.polar(torch.ones_like(angle), angle)
    return waves[:, None] * z[block.copy * block.crystal.n_atoms + block.atom]


def _reach(displacements: Tensor, travelling: bool) -> Tensor:
    """Largest displacement of each atom, shape (n,)."""
    if not travelling:
        return torch.linalg.vector_norm(displacements.real, dim=1)
    # Semi-major axis of the ellipse traced by Re[z exp(-i phi)].
    along = (displacements * displacements).sum(1).abs()
    return ((displacements.abs().square().sum(1) + along) / 2).sqrt()


def _factor(reach: float, amplitude: float | None, thermal: float | None, unit: float) -> float:
    """Factor that gives a pattern the requested amplitude."""
    wanted_amplitude = thermal if thermal is not None else 1.0 if amplitude is None else amplitude
    if amplitude is not None and thermal is not None:
        raise InputError(f"amplitude {amplitude:g} and thermal {thermal:g}: give one of the two")
    if not (math.isfinite(wanted_amplitude) and wanted_amplitude > 0):
        raise InputError(f"an amplitude of {wanted_amplitude:g}: give a positive number")
    if thermal is None:
        return wanted_amplitude / reach
    if math.isinf(unit):
        raise InputError(
            "a translation of the whole crystal has no thermal amplitude; give amplitude in Å"
        )
    return wanted_amplitude * unit
