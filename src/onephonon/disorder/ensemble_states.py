"""States of an ensemble, from the models of a file or from alternative conformers."""

from __future__ import annotations

import dataclasses
import itertools
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from onephonon.core.errors import InputError
from onephonon.core.tensors import constant_values
from onephonon.crystal.conformers import find_conformers
from onephonon.crystal.crystal import Crystal
from onephonon.crystal.reading import read_crystal
from onephonon.crystal.reading.structure_file import open_structure
from onephonon.scattering.numerics import Numerics

from .ensemble import Ensemble

CONFORMERS = ("independent", "letter")

#: Probabilities closer than this are equal: occupancies have two decimals, and thirds are rounded.
SAME = 0.006


def read_ensemble(
    path: str | os.PathLike[str],
    *,
    coherent: str = "asu",
    numerics: Numerics | None = None,
    **reading: Any,
) -> Ensemble:
    """The models of a structure file as equally probable states.

    Parameters
    ----------
    path : path
        PDB or mmCIF, with two models or more of the same atoms.
    coherent : {'asu', 'cell'}
        As for `Ensemble`.
    numerics : Numerics, optional
    **reading
        Options of `read_crystal`, which reads every model.

    Raises
    ------
    StructureError
        As for `read_crystal`.
    InputError
        If the file has a single model, or the models have different atoms.
    """
    path = Path(path)
    n = len(open_structure(path).structure)
    if n < 2:
        raise InputError(
            f"{path}: an ensemble needs two models or more, and the file holds {n}; for "
            "alternative conformers of one model leave out file="
        )
    models = [read_crystal(path, model_number=i + 1, **reading) for i in range(n)]
    options = {"file": str(path)}
    return ensemble_of_models(models, coherent=coherent, options=options, numerics=numerics)


def ensemble_of_models(
    models: Sequence[Crystal],
    probability: Tensor | None = None,
    *,
    coherent: str = "asu",
    options: dict[str, str] | None = None,
    numerics: Numerics | None = None,
) -> Ensemble:
    """Models as states of one group.

    Parameters
    ----------
    models : sequence of Crystal
        Of the same atoms, in the same order; cell and operators are those of the first.
    probability : Tensor, shape (n_models,), optional
        Equal by default.
    coherent, options, numerics
        As for `Ensemble`.

    Raises
    ------
    InputError
        If the models have different atoms.
    """
    first = models[0]
    for i, model in enumerate(models[1:], start=2):
        if model.n_atoms != first.n_atoms:
            raise InputError(
                f"model {i} has {model.n_atoms} atoms, model 1 has {first.n_atoms}; an ensemble "
                "needs the same atoms in all models"
            )
        for a, b in zip(first.labels, model.labels, strict=True):
            if a != b:
                raise InputError(
                    f"model {i} has {b} where model 1 has {a}; an ensemble needs the same atoms "
                    "in all models, in the same order"
                )
    n = len(models)
    joined = _atoms(first, list(range(first.n_atoms)) * n).replace(
        positions_frac=torch.cat([m.positions_frac for m in models]),
        U=torch.cat([m.U for m in models]),
        occupancies=torch.cat([m.occupancies for m in models]),
    )
    state = tuple(i for i in range(n) for _ in range(first.n_atoms))
    if probability is None:
        probability = torch.full((n,), 1 / n, dtype=first.U.dtype, device=first.U.device)
    numerics = numerics or Numerics()
    return Ensemble(joined, state, (0,) * n, probability, coherent, options or {}, numerics)


def ensemble_of_conformers(
    crystal: Crystal,
    *,
    conformers: str = "independent",
    coherent: str = "asu",
    numerics: Numerics | None = None,
) -> Ensemble:
    """Alternative conformers of the residues of a crystal as states.

    Parameters
    ----------
    crystal : Crystal
        Read with ``conformers='all'``.
    conformers : {'independent', 'letter'}
        Whether each residue chooses its conformer independently, by occupancy, or residues
        choose those of the same letter together, as far as their occupancies allow.
    coherent, numerics
        As for `Ensemble`.

    Returns
    -------
    Ensemble
        Its mean structure is that of the crystal. Occupancies are constants that decide on the
        states; differentiable in coordinates, U and cell.

    Raises
    ------
    InputError
        If the choice is unknown, or the crystal has no alternative conformers.
    """
    if conformers not in CONFORMERS:
        choices = ", ".join(CONFORMERS)
        raise InputError(f"ensemble: conformers={conformers!r} is not one of {choices}")
    residues = _intervals(crystal)
    if not residues:
        raise InputError(
            "ensemble: the crystal has no alternative conformers; read it with conformers='all' "
            "(--conformers all), or give the file of an ensemble of models, file="
        )
    together = [residues] if conformers == "letter" else [[one] for one in residues]
    atoms: list[int] = []
    weight: list[float] = []
    state: list[int] = []
    group: list[int] = []
    probability: list[float] = []
    for number, members in enumerate(together):
        ends = _merged(
            [end for ranges in members for low, high, _ in ranges for end in (low, high)]
        )
        for low, high in itertools.pairwise(ends):
            middle = 0.5 * (low + high)
            here = [r for ranges in members for r in ranges if r[0] <= middle < r[1]]
            if not here:
                continue
            for start, stop, chosen in here:
                atoms += chosen
                weight += [1 / (stop - start)] * len(chosen)
                state += [len(group)] * len(chosen)
            group.append(number)
            probability.append(high - low)
    every = _atoms(crystal, atoms)
    occupancies = every.occupancies * every.occupancies.new_tensor(weight)
    options = {} if conformers == "independent" else {"conformers": conformers}
    return Ensemble(
        every.replace(occupancies=occupancies),
        tuple(state),
        tuple(group),
        crystal.U.new_tensor(probability),
        coherent,
        options,
        numerics or Numerics(),
    )


def _intervals(crystal: Crystal) -> list[list[tuple[float, float, list[int]]]]:
    """For each residue with alternatives, its conformers as parts of the interval from 0 to 1.

    A number in the interval, drawn once for a residue or for all, chooses the conformer. Each is
    (low, high, atoms), in the order of the letters.
    """
    found = find_conformers(crystal)
    occupancy = constant_values(crystal.occupancies)
    by_residue: dict[int, dict[int, list[int]]] = {}
    for atom in np.flatnonzero(found.letter >= 0).tolist():
        letters = by_residue.setdefault(int(found.residue[atom]), {})
        letters.setdefault(int(found.letter[atom]), []).append(atom)
    residues = []
    for letters in by_residue.values():
        share = {x: float(np.mean(occupancy[letters[x]])) for x in sorted(letters)}
        total = max(1.0, sum(share.values()))
        low, ranges = 0.0, []
        for letter, p in share.items():
            if p > 0:
                ranges.append((low, low + p / total, letters[letter]))
                low += p / total
        if abs(low - 1) < SAME:
            ranges[-1] = (ranges[-1][0], 1.0, ranges[-1][2])
        residues.append(ranges)
    return [ranges for ranges in residues if ranges]


def _merged(ends: list[float]) -> list[float]:
    """Ends of intervals in their order, without those that differ by rounding."""
    kept: list[float] = []
    for end in sorted(ends):
        if not kept or end - kept[-1] > SAME:
            kept.append(end)
    return kept


def _atoms(crystal: Crystal, atoms: Sequence[int]) -> Crystal:
    """Atoms of a crystal by their numbers, which may be repeated."""
    index = torch.tensor(list(atoms), device=crystal.U.device)
    factors = crystal.form_factors
    return crystal.replace(
        positions_frac=crystal.positions_frac[index],
        U=crystal.U[index],
        occupancies=crystal.occupancies[index],
        masses=crystal.masses[index],
        form_factors=dataclasses.replace(factors, kind=factors.kind[index]),
        labels=tuple(crystal.labels[i] for i in atoms),
    )
