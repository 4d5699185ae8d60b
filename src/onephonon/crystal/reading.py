"""Reading structure files (PDB, mmCIF, plain or gzipped) into a `Crystal`."""

from __future__ import annotations

import gzip
import math
import os
import re
import warnings
import zlib
from collections.abc import Iterator
from pathlib import Path

import gemmi
import torch

from onephonon.core.errors import InputError, StructureError
from onephonon.core.units import EIGHT_PI_SQUARED

from .cell import UnitCell, check_cell
from .crystal import AtomLabel, Crystal

CONFORMERS = ("highest", "all")

#: Mean-square displacements below this (Å^2) give a warning: at d = 1.5 Å they amplify a wave by
#: half or more. Refined ANISOU of good structures go below zero by less.
NEGATIVE_U = -0.05

#: Columns 73-80 of old PDB files: the entry's code and the record's number.
_LEGACY_COLUMNS = re.compile(r"^[0-9][A-Z0-9]{3} {0,3}[0-9]{1,4}$")


def read_crystal(
    path: str | os.PathLike[str],
    *,
    hydrogens: bool = False,
    waters: bool = False,
    ligands: bool = False,
    conformers: str = "highest",
    anisotropic: bool = True,
    model_number: int = 1,
    radiation: str = "xray",
    expand_p1: bool = True,
) -> Crystal:
    """Read a structure file.

    The operators of the space group come from tables, by the symbol and the cell in the file;
    REMARK records are ignored. Occupancies are those of the file, even where only one of several
    conformers is kept.

    Parameters
    ----------
    path : path
        PDB or mmCIF, plain or .gz.
    hydrogens, waters, ligands : bool
        Whether to keep them; all three are removed by default.
    conformers : {'highest', 'all'}
        Alternative conformers to keep: in each residue the one with the highest occupancy (the
        first on a tie), or all.
    anisotropic : bool
        Use anisotropic displacements where the file has them; otherwise B only.
    model_number : int
        Which model of the file, counted from 1.
    radiation : {'xray', 'electron', 'neutron'}
    expand_p1 : bool
        True: the file holds one asymmetric unit. False: it holds the whole cell, and no operator
        is applied.

    Returns
    -------
    Crystal
        On the CPU, in float64.

    Raises
    ------
    StructureError
        If the file is missing or unreadable, has no usable cell, space group, elements or
        coordinates, or if nothing is left after the selection.
    InputError
        If an option is not one of those named above.
    """
    if conformers not in CONFORMERS:
        raise InputError(f"conformers {conformers!r} is not one of {', '.join(CONFORMERS)}")
    path = Path(path)
    structure = _read_structure(path)
    cell = _unit_cell(structure, path)
    spacegroup = _spacegroup(structure, path) if expand_p1 else "P 1"
    residues = _model(structure, model_number, path)
    kept = list(
        _select(residues, hydrogens=hydrogens, waters=waters, ligands=ligands, which=conformers)
    )
    if not kept:
        raise StructureError(_nothing_selected_message(residues, path))
    for label, atom in kept:
        _check_atom(label, atom, path)
    matrix = cell.matrix
    # Converted by gemmi, which includes an origin shift given in SCALE records.
    fractional = [structure.cell.fractionalize(atom.pos).tolist() for _, atom in kept]
    U = torch.tensor([_displacement(a, anisotropic) for _, a in kept], dtype=matrix.dtype)
    _check_displacements(U, [label for label, _ in kept], path)
    return Crystal.from_atoms(
        cell,
        spacegroup,
        [label.element for label, _ in kept],
        fractional,
        U=U,
        occupancies=[atom.occ for _, atom in kept],
        labels=[label for label, _ in kept],
        radiation=radiation,
    )


def _read_structure(path: Path) -> gemmi.Structure:
    if not path.is_file():
        raise StructureError(f"{path}: there is no such file; check the path")
    try:
        if _is_legacy_pdb(path):
            structure = gemmi.read_pdb(str(path), max_line_length=72)
        else:
            structure = gemmi.read_structure(str(path))
    except (RuntimeError, ValueError, OSError, EOFError, IndexError, zlib.error) as error:
        raise StructureError(
            f"{path}: cannot be read as a structure ({error}); give a PDB or mmCIF file"
        ) from error
    if not any(True for model in structure for _ in model.all()):
        raise StructureError(
            f"{path}: holds no atoms; give a PDB or mmCIF file with coordinates "
            "(.pdb, .ent or .cif, optionally .gz)"
        )
    structure.setup_entities()
    return structure


def _is_legacy_pdb(path: Path) -> bool:
    """Whether columns 73-80 hold record numbers instead of element and charge."""
    opened = gzip.open if path.suffix == ".gz" else open
    with opened(path, "rt", errors="replace") as file:
        for line in file:
            if line.startswith(("ATOM", "HETATM")):
                return bool(_LEGACY_COLUMNS.match(line[72:80].rstrip()))
    return False


def _unit_cell(structure: gemmi.Structure, path: Path) -> UnitCell:
    cell = structure.cell
    parameters = cell.parameters
    if not all(math.isfinite(p) for p in parameters):
        raise StructureError(f"{path}: the unit cell {parameters} is not finite; correct CRYST1")
    if not cell.is_crystal():
        raise StructureError(
            f"{path}: there is no unit cell, only the placeholder {parameters[:3]}, as in files "
            "from NMR or electron microscopy; add a CRYST1 record (PDB) or _cell items (mmCIF)"
        )
    try:
        check_cell(parameters)
    except InputError as error:
        raise StructureError(f"{path}: {error}") from error
    # gemmi's matrix follows SCALE records that set another orientation than the usual one.
    return UnitCell(torch.tensor(cell.orth.mat.tolist(), dtype=torch.float64))


def _spacegroup(structure: gemmi.Structure, path: Path) -> str:
    group = structure.find_spacegroup()
    if group is None:
        raise StructureError(
            f"{path}: space group {structure.spacegroup_hm!r} is unknown; write a Hermann-Mauguin "
            "symbol such as 'P 1 21 1' into CRYST1 (PDB) or _symmetry.space_group_name_H-M (mmCIF)"
        )
    return str(group.xhm())


Residues = list[tuple[str, gemmi.Residue]]


def _model(structure: gemmi.Structure, number: int, path: Path) -> Residues:
    if not 1 <= number <= len(structure):
        raise StructureError(
            f"{path}: there is no model {number}; the file holds {len(structure)} "
            f"(model_number from 1 to {len(structure)})"
        )
    return [(chain.name, residue) for chain in structure[number - 1] for residue in chain]


def _select(
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


def _check_atom(label: AtomLabel, atom: gemmi.Atom, path: Path) -> None:
    if atom.element.atomic_number == 0:
        raise StructureError(
            f"{path}: atom {label} (serial {atom.serial}) has no known element; correct the "
            "element column (77-78 in PDB, type_symbol in mmCIF)"
        )
    if atom.occ < 0:
        raise StructureError(
            f"{path}: atom {label} (serial {atom.serial}) has occupancy {atom.occ:g}; correct it, "
            "or remove the atom"
        )
    for name, values in (
        ("coordinates", atom.pos.tolist()),
        ("occupancy", [atom.occ]),
        ("B-factor", [atom.b_iso]),
        ("anisotropic displacement", atom.aniso.elements_pdb()),
    ):
        if not all(math.isfinite(v) for v in values):
            raise StructureError(
                f"{path}: atom {label} (serial {atom.serial}) has {name} {values}, not a number; "
                "correct or remove the atom"
            )


def _check_displacements(U: torch.Tensor, labels: list[AtomLabel], path: Path) -> None:
    """Warn of displacements that are negative in some direction, whose amplitudes grow with q."""
    wrong = torch.linalg.eigvalsh(U)[:, 0] < NEGATIVE_U
    if bool(wrong.any()):
        names = ", ".join(str(labels[i]) for i in wrong.nonzero().flatten().tolist()[:3])
        warnings.warn(
            f"{path}: B or U is negative in some direction for {int(wrong.sum())} of the atoms "
            f"({names}); correct them, or use B only (anisotropic=False)",
            stacklevel=3,
        )


def _displacement(atom: gemmi.Atom, anisotropic: bool) -> list[list[float]]:
    """U of one atom, Cartesian (ANISOU's axes), Å^2."""
    if anisotropic and atom.aniso.nonzero():
        matrix: list[list[float]] = atom.aniso.as_mat33().tolist()
        return matrix
    u = atom.b_iso / EIGHT_PI_SQUARED
    return [[u, 0.0, 0.0], [0.0, u, 0.0], [0.0, 0.0, u]]


def _nothing_selected_message(residues: Residues, path: Path) -> str:
    waters = sum(len(r) for _, r in residues if r.is_water())
    polymer = sum(len(r) for _, r in residues if r.entity_type == gemmi.EntityType.Polymer)
    total = sum(len(r) for _, r in residues)
    return (
        f"{path}: no atoms are left of {total} ({polymer} polymer, {waters} water, "
        f"{total - polymer - waters} ligand) after the selection; keep more with waters=True, "
        "ligands=True or hydrogens=True (--waters, --ligands, --hydrogens)"
    )
