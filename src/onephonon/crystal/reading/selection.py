"""Which atoms of a structure file are used: polymer, waters, ligands; conformers."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import gemmi

from onephonon.core.errors import StructureError
from onephonon.crystal.crystal import AtomLabel

CONFORMERS = ("highest", "all")

Residues = list[tuple[str, gemmi.Residue]]


def residues_of_model(structure: gemmi.Structure, number: int, path: Path) -> Residues:
    """Chain names and residues of one model of the file, counted from 1."""
    if not 1 <= number <= len(structure):
        raise StructureError(
            f"{path}: there is no model {number}; the file holds {len(structure)} "
            f"(model_number from 1 to {len(structure)})"
        )
    return [(chain.name, residue) for chain in structure[number - 1] for residue in chain]


def select(
    residues: Residues, *, hydrogens: bool, waters: bool, ligands: bool, which: str
) -> Iterator[tuple[AtomLabel, gemmi.Atom]]:
    """Selected atoms, in the order of the file, with their labels."""
    groups: dict[tuple[str, str, bool], list[tuple[AtomLabel, gemmi.Atom]]] = {}
    for chain, residue in residues:
        water = residue.is_water()
        polymer = residue.entity_type in (gemmi.EntityType.Polymer, gemmi.EntityType.Unknown)
        if (water and not waters) or not (water or polymer or ligands):
            continue
        key = (chain, str(residue.seqid), polymer)
        atoms = groups.setdefault(key, [])
        for atom in residue:
            if atom.is_hydrogen() and not hydrogens:
                continue
            altloc = "" if atom.altloc == "\0" else atom.altloc
            label = AtomLabel(
                chain, str(residue.seqid), residue.name, atom.name, atom.element.name, altloc
            )
            atoms.append((label, atom))
    for atoms in groups.values():
        yield from atoms if which == "all" else _highest_conformer(atoms)


def _highest_conformer(
    atoms: list[tuple[AtomLabel, gemmi.Atom]],
) -> list[tuple[AtomLabel, gemmi.Atom]]:
    """Keep the conformer of highest mean occupancy, the first on a tie.

    An atom that the chosen conformer lacks is taken from the next best one, unless that is
    another residue type (a point mutation modelled as alternatives).
    """
    occupancies: dict[str, list[float]] = {}
    for label, atom in atoms:
        if label.altloc:
            occupancies.setdefault(label.altloc, []).append(atom.occ)
    if not occupancies:
        return atoms
    mean = {altloc: sum(occ) / len(occ) for altloc, occ in occupancies.items()}
    # Occupancies have two decimals; a difference below half of the last one is a tie.
    ranked = sorted(mean, key=lambda altloc: -round(mean[altloc], 3))
    rank = {"": -1} | {altloc: i for i, altloc in enumerate(ranked)}
    residue = next(label.residue_name for label, _ in atoms if label.altloc == ranked[0])
    best: dict[str, tuple[AtomLabel, gemmi.Atom]] = {}
    for label, atom in atoms:
        if label.altloc and label.residue_name != residue:
            continue
        held = best.get(label.atom_name)
        if held is None or rank[label.altloc] < rank[held[0].altloc]:
            best[label.atom_name] = (label, atom)
    return list(best.values())


def nothing_selected_message(residues: Residues, path: Path) -> str:
    """Explain that the selection left no atoms."""
    waters = sum(len(r) for _, r in residues if r.is_water())
    polymer = sum(len(r) for _, r in residues if r.entity_type == gemmi.EntityType.Polymer)
    total = sum(len(r) for _, r in residues)
    return (
        f"{path}: no atoms are left of {total} ({polymer} polymer, {waters} water, "
        f"{total - polymer - waters} ligand) after the selection; keep more with waters=True, "
        "ligands=True or hydrogens=True (--waters, --ligands, --hydrogens)"
    )
