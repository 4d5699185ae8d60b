"""Comparison of model B-factors with those of the file."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import ArrayLike, NDArray

from onephonon.core.correlation import pearson
from onephonon.core.errors import InputError
from onephonon.core.units import EIGHT_PI_SQUARED
from onephonon.crystal.crystal import AtomLabel, mean_square

from .style import FAINT, LINES, PAGE, new_figure, styled

if TYPE_CHECKING:
    from onephonon.dynamics.lattice_model import HasLattice, LatticeModel

Float64 = NDArray[np.float64]

#: Approximate number of residue labels along the axis.
N_TICKS = 14


def draw_model_b_factors(model: LatticeModel | HasLattice, *, title: str = "") -> Figure:
    """Draw the B-factors of a model and of its file; see `draw_b_factors`."""
    from onephonon.dynamics.lattice_model import lattice_of

    lattice = lattice_of(model)
    calculated = EIGHT_PI_SQUARED * lattice.ADP
    from_file = EIGHT_PI_SQUARED * mean_square(lattice.crystal.U)
    return draw_b_factors(
        calculated.detach().cpu().numpy(),
        from_file.detach().cpu().numpy(),
        lattice.crystal.labels,
        title=title,
    )


@styled
def draw_b_factors(
    calculated: ArrayLike,
    from_file: ArrayLike,
    labels: Sequence[AtomLabel],
    *,
    title: str = "",
    names: tuple[str, str] = ("model", "file"),
) -> Figure:
    """Draw B-factors by residue, and of all atoms against each other.

    Parameters
    ----------
    calculated, from_file : array, shape (n_atoms,)
        B-factors of the model and of the file, Å^2.
    labels : sequence of AtomLabel, length n_atoms
    title : str
    names : pair of str

    Raises
    ------
    InputError
        If the lengths do not agree, or a B-factor is not finite.
    """
    first, second = (np.asarray(B, dtype=np.float64).reshape(-1) for B in (calculated, from_file))
    if not len(first) == len(second) == len(labels) or not len(labels):
        raise InputError(
            f"{len(first)} and {len(second)} B-factors and {len(labels)} labels; there must be "
            "one of each for each atom"
        )
    if not (np.isfinite(first) & np.isfinite(second)).all():
        raise InputError("a B-factor is not finite; remove such atoms")
    figure = new_figure(PAGE, 0.4 * PAGE)
    left, right = figure.subplots(1, 2, width_ratios=(2.4, 1))
    _by_residue(left, first, second, labels, names)
    _by_atom(right, first, second, names)
    figure.suptitle(title, parse_math=False)
    return figure


def _by_residue(
    panel: Axes, first: Float64, second: Float64, labels: Sequence[AtomLabel], names: Sequence[str]
) -> None:
    """Mean over the atoms of each residue, in the order of the file."""
    keys = [(label.chain, label.residue_number, label.residue_name) for label in labels]
    residues = list(dict.fromkeys(keys))
    place = {key: i for i, key in enumerate(residues)}
    index = np.array([place[key] for key in keys])
    n = np.bincount(index)
    marker = "o" if len(residues) < 60 else ""
    for values, name, colour in ((second, names[1], "black"), (first, names[0], LINES[0])):
        mean = np.bincount(index, values) / n
        for chain in dict.fromkeys(key[0] for key in residues):
            own = [i for i, key in enumerate(residues) if key[0] == chain]
            panel.plot(own, mean[own], color=colour, marker=marker, ms=2.5, label=name)
            name = ""
    _residue_ticks(panel, [key[1] for key in residues])
    starts = [i for i, key in enumerate(residues) if i and key[0] != residues[i - 1][0]]
    for start in starts:
        panel.axvline(start - 0.5, color="0.6", lw=0.6, ls=(0, (4, 3)))
    if starts:
        for start in (0, *starts):
            panel.text(start, 1.01, residues[start][0], transform=panel.get_xaxis_transform(),
                       color=FAINT, ha="left", va="bottom")  # fmt: skip
    panel.set(xlabel="residue", ylabel="B / Å²", xlim=(-0.5, len(residues) - 0.5))
    panel.set_ylim(bottom=0)
    panel.legend(frameon=False)


def _residue_ticks(panel: Axes, numbers: Sequence[str]) -> None:
    """Label residues at regular intervals."""
    step = next(
        (s for s in (1, 2, 5, 10, 20, 50, 100, 200, 500) if len(numbers) / s <= N_TICKS), 1000
    )
    shown = [i for i, n in enumerate(numbers) if n.isdigit() and int(n) % step == 0]
    shown = shown or list(range(0, len(numbers), step))
    panel.set_xticks(shown, [numbers[i] for i in shown])


def _by_atom(panel: Axes, first: Float64, second: Float64, names: Sequence[str]) -> None:
    """Scatter plot of all atoms, with the line of equality and the correlation."""
    panel.plot(second, first, ".", ms=3, mew=0, alpha=0.5, color=LINES[0], rasterized=True)
    top = 1.05 * max(float(first.max()), float(second.max()), 1e-6)
    panel.plot([0, top], [0, top], color="0.5", lw=0.6)
    panel.set(xlim=(0, top), ylim=(0, top), aspect="equal")
    panel.set(xlabel=f"B of the {names[1]} / Å²", ylabel=f"B of the {names[0]} / Å²")
    cc = pearson(first, second)
    if math.isfinite(cc):
        panel.set_title(f"{len(first)} atoms, CC {cc:.2f}".replace("-", "−"))
    else:
        panel.set_title(f"{len(first)} atoms")
