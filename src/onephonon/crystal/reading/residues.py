"""The residues of a structure file: how they are told apart, and which are polymer or water."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import Literal

import gemmi
import numpy as np
from numpy.typing import NDArray

from .residue_order import chain_of_part

Kind = Literal["polymer", "water", "ligand"]

Matrix = NDArray[np.float64]


def _names(text: str) -> frozenset[str]:
    return frozenset(text.split())


#: Water in programs for molecular dynamics and in old files; HOH, DOD, WAT, H2O and their like are
#: in gemmi's table. Taken as water only if the residue is a single oxygen with its hydrogens.
WATER_NAMES = _names(
    "SOL TIP TIP2 TIP3 TIP4 TIP5 TP3 TP4 TP5 T3P T4P T5P TP3M TI3 TI4 SPC SPCE SPE SWM SWM4 SWM6 "
    "OPC OPC3 OP3 WTR OH2 OHH H_O HHO D2O DDW"
)

#: Single oxygen atoms that are no water: oxide and hydroxide.
NOT_WATER = frozenset({"O", "OH", "O2"})

#: Amino acids and nucleotides by the names of programs for molecular dynamics, which the
#: dictionary of the Protein Data Bank lacks.
MD_POLYMERS = _names(
    "HID HIE HIP HSD HSE HSP CYX CYM ASH GLH LYN ARN LSN ASPP GLUP "
    "RA RC RG RU ADE GUA CYT URA THY A5 A3 C5 C3 G5 G3 U5 U3 RA5 RA3 RC5 RC3 RG5 RG3 RU5 RU3 "
    "DA5 DA3 DC5 DC3 DG5 DG3 DT5 DT3"
)

#: Groups that cap a chain and are part of it where they are bonded to it.
CAPS = frozenset({"ACE", "NME", "NMA", "NH2", "NHE", "FOR", "BOC", "CBZ", "MYR"})

#: Kinds of residues in gemmi's table that occur in chains.
CHAIN_KINDS = frozenset(
    {
        gemmi.ResidueKind.AA,
        gemmi.ResidueKind.AAD,
        gemmi.ResidueKind.PAA,
        gemmi.ResidueKind.MAA,
        gemmi.ResidueKind.RNA,
        gemmi.ResidueKind.DNA,
    }
)

#: Bonds along a chain: last atom of one residue, first atom of the next.
CHAIN_BONDS = (("C", "N"), ("O3'", "P"), ("O3*", "P"))

#: Longest bond along a chain, Å: a peptide bond has 1.33, one between nucleotides 1.6.
MAX_CHAIN_BOND = 2.0

#: Alternatives without a letter are this near to each other (Å); other atoms of one name belong to
#: residues of one number.
MAX_ALTERNATIVE_DISTANCE = 3.0

#: Largest sum of the occupancies of alternatives, with a margin for rounding to two decimals.
MAX_TOTAL_OCCUPANCY = 1.025


@dataclass(frozen=True)
class NamedAtom:
    """An atom, and the name of its residue: alternatives of one residue may differ in it."""

    residue_name: str
    atom: gemmi.Atom

    @property
    def altloc(self) -> str:
        """Letter of the conformer, or nothing."""
        return "" if self.atom.altloc == "\0" else str(self.atom.altloc)

    @property
    def is_hydrogen(self) -> bool:
        """Whether it is hydrogen or deuterium."""
        return bool(self.atom.is_hydrogen())


@dataclass(frozen=True)
class Residue:
    """One residue, with all its alternatives.

    Parameters
    ----------
    chain : str
        Name by which chains are told apart; see `AtomLabel`.
    number : str
        With the insertion code.
    atoms : tuple of NamedAtom
    kind : {'polymer', 'water', 'ligand'}
    occurrence : int
        Counts the residues of this number in the chain, from 1.
    modified : bool
        Whether it is part of the chain but not a standard residue.
    guessed : bool
        Whether it is taken as water by its atoms, not by its name.
    """

    chain: str
    number: str
    atoms: tuple[NamedAtom, ...]
    kind: Kind = "ligand"
    occurrence: int = 1
    modified: bool = False
    guessed: bool = False
    #: Whether the record is HETATM; what mmCIF says of the entity.
    het: bool = field(default=False, repr=False)
    entity: gemmi.EntityType = field(default=gemmi.EntityType.Unknown, repr=False)

    @property
    def name(self) -> str:
        """Name of the first alternative."""
        return self.atoms[0].residue_name

    def atom(self, name: str) -> gemmi.Atom | None:
        """The first atom of a name."""
        return next((a.atom for a in self.atoms if a.atom.name == name), None)


def read_residues(
    models: Iterable[gemmi.Model], structure: gemmi.Structure, matrix: Matrix
) -> list[Residue]:
    """The residues of the models, in the order of the file, told apart and classified.

    Parameters
    ----------
    models : iterable of gemmi.Model
        Chains as they stand in the file, not merged.
    structure : gemmi.Structure
        For the sequence and the modified residues that the file declares.
    matrix : array, shape (3, 3)
        Columns are the axes of the cell, Å.
    """
    entities = structure.input_format != gemmi.CoorFormat.Pdb
    found = [residue for model in models for residue in _separate(model, matrix)]
    if not entities:  # PDB: gemmi's guess from the place of TER
        found = [replace(residue, entity=gemmi.EntityType.Unknown) for residue in found]
    sequence = {
        name.split(",")[0]
        for entity in structure.entities
        if entity.entity_type in (gemmi.EntityType.Polymer, gemmi.EntityType.Unknown)
        for name in entity.full_sequence
    } | {declared.res_id.name for declared in structure.mod_residues}
    found = _classified(found, matrix, sequence)
    return _counted(_in_molecules(found, matrix))


# ---- which atoms are one residue -------------------------------------------------------------


def _separate(model: gemmi.Model, matrix: Matrix) -> Iterator[Residue]:
    """Residues of a model: gemmi's, divided where several of one number were read as one."""
    names = _chain_names(model)
    for chain in model:
        last: Residue | None = None
        for residue in chain:
            chain_name, residue_name = _four_letters(
                names[chain_of_part(chain.name), residue.segment], residue.name
            )
            atoms = [NamedAtom(residue_name, atom) for atom in residue]
            for piece in _divided(atoms, matrix):
                new = Residue(
                    chain_name,
                    _number(residue.seqid),
                    tuple(piece),
                    het=residue.het_flag == "H",
                    entity=residue.entity_type,
                )
                if last is not None and _is_alternative(last, new):
                    last = replace(last, atoms=last.atoms + new.atoms)
                    continue
                if last is not None:
                    yield last
                last = new
        if last is not None:
            yield last


def _chain_names(model: gemmi.Model) -> dict[tuple[str, str], str]:
    """Name of each chain and segment: segments count where chains have no name or several."""
    segments: dict[str, dict[str, None]] = {}
    for chain in model:
        for residue in chain:
            segments.setdefault(chain_of_part(chain.name), {})[residue.segment] = None
    names = {}
    for chain_name, found in segments.items():
        own = chain_name.strip()
        for segment in found:
            told = [own, segment.strip()] if len(found) > 1 or not own else [own]
            names[chain_name, segment] = ".".join(part for part in dict.fromkeys(told) if part)
    return names


def _four_letters(chain: str, name: str) -> tuple[str, str]:
    """Chain and residue name where a PDB file has TIP3 in the columns of TIP and of the chain."""
    if name == "TIP" and chain[:1] in ("2", "3", "4", "5"):
        return chain[1:], name + chain[0]
    return chain, name


def _number(seqid: gemmi.SeqId) -> str:
    return "" if seqid.num is None else str(seqid)


def _divided(atoms: list[NamedAtom], matrix: Matrix) -> Iterator[list[NamedAtom]]:
    """Atoms of one number and name, divided into residues where their names begin anew."""
    starts = [0]
    for i, atom in enumerate(atoms[1:], start=1):
        first = atoms[starts[-1]]
        if atom.atom.name == first.atom.name and _begins_anew(atoms[starts[-1] : i], atom, matrix):
            starts.append(i)
    pieces = [atoms[a:b] for a, b in zip(starts, [*starts[1:], len(atoms)], strict=True)]
    # A ligand whose atoms are named alike is one residue; several residues have the same names.
    if all(_named_alike(pieces[0], piece) for piece in pieces[1:]):
        yield from pieces
    else:
        yield atoms


def _named_alike(one: list[NamedAtom], other: list[NamedAtom]) -> bool:
    """Whether at least half of the heavy atoms have the same names."""
    a, b = ({x.atom.name for x in piece if not x.is_hydrogen} for piece in (one, other))
    return 2 * len(a & b) >= max(len(a), len(b))


def _begins_anew(held: list[NamedAtom], atom: NamedAtom, matrix: Matrix) -> bool:
    """Whether an atom is the first of another residue, and not an alternative of the first."""
    same = [a for a in held if a.atom.name == atom.atom.name]
    total = sum(a.atom.occ for a in same) + atom.atom.occ
    if all(a.altloc != atom.altloc for a in same):
        # Letters mark alternatives, unless one without a letter is already whole.
        mixed = any(bool(a.altloc) != bool(atom.altloc) for a in same)
        single = len({a.atom.name for a in held if not a.atom.is_hydrogen()}) == 1
        return mixed and single and total > MAX_TOTAL_OCCUPANCY
    if atom.altloc:
        return True
    apart = _distances([same[0].atom], [atom.atom], matrix)[0, 0]
    return total > MAX_TOTAL_OCCUPANCY or bool(apart > MAX_ALTERNATIVE_DISTANCE)


def _is_alternative(last: Residue, new: Residue) -> bool:
    """Whether two residues of one number are alternatives of one (point mutations)."""
    if (last.chain, last.number) != (new.chain, new.number) or not new.number:
        return False
    names = {a.residue_name for a in last.atoms}
    if new.name in names:
        return False
    if all(a.altloc for a in new.atoms):
        return any(a.altloc for a in last.atoms) or _share(last, new)
    if all(a.altloc for a in last.atoms):
        return _share(last, new)
    return _share(last, new) and all(not a.altloc for a in (*last.atoms, *new.atoms))


def _share(last: Residue, new: Residue) -> bool:
    """Whether atoms of one name share a site: their occupancies are at most one in all."""
    totals: dict[str, float] = {}
    for a in (*last.atoms, *new.atoms):
        totals[a.atom.name] = totals.get(a.atom.name, 0.0) + a.atom.occ
    common = {a.atom.name for a in last.atoms} & {a.atom.name for a in new.atoms}
    return bool(common) and all(totals[name] <= MAX_TOTAL_OCCUPANCY for name in common)


# ---- polymer, water, ligand ------------------------------------------------------------------


def _classified(residues: list[Residue], matrix: Matrix, sequence: set[str]) -> list[Residue]:
    """Each residue with its kind.

    Standard residues in ATOM records are polymer wherever they stand. Standard residues in HETATM
    records, modified residues and caps are so where the file says it (entities, sequence, MODRES)
    or where they are bonded to the chain. Sugars are ligands.
    """
    kinds = [_kind(residue, sequence) for residue in residues]
    settled = _bonded_to_polymer(residues, kinds, matrix)
    return [
        replace(
            residue,
            kind=kind,
            modified=kind == "polymer" and not _is_standard(residue.name),
            guessed=kind == "water" and not _named_water(residue.name),
        )
        for residue, kind in zip(residues, settled, strict=True)
    ]


def _kind(residue: Residue, sequence: set[str]) -> Kind | None:
    """Kind of a residue; None: it is polymer if it is bonded to the polymer, else ligand."""
    if _is_water(residue):
        return "water"
    standard = _is_standard(residue.name)
    if standard and not residue.het:
        return "polymer"
    if residue.entity == gemmi.EntityType.Polymer:
        return "polymer"
    if residue.name in sequence and not standard:
        return "polymer"
    in_chain = gemmi.find_tabulated_residue(residue.name).kind in CHAIN_KINDS
    if standard or in_chain or residue.name in CAPS or _has_backbone(residue):
        return None
    return "ligand"


def _is_standard(name: str) -> bool:
    return name in MD_POLYMERS or bool(gemmi.find_tabulated_residue(name).is_standard())


def _has_backbone(residue: Residue) -> bool:
    """Whether an unknown residue has the backbone of an amino acid or nucleotide."""
    names = {a.atom.name for a in residue.atoms}
    return {"N", "CA", "C"} <= names or {"P", "O3'"} <= names


def _named_water(name: str) -> bool:
    return name in WATER_NAMES or bool(gemmi.find_tabulated_residue(name).is_water())


def _is_water(residue: Residue) -> bool:
    """Whether a residue is water: by its name, or one oxygen atom of an unknown name."""
    info = gemmi.find_tabulated_residue(residue.name)
    if info.is_water():
        return True
    if info.kind != gemmi.ResidueKind.UNKNOWN or residue.name in NOT_WATER:
        return False
    heavy = {a.atom.name: a.atom for a in residue.atoms if not a.is_hydrogen}
    heavy = {name: atom for name, atom in heavy.items() if not is_massless(atom)}
    return len(heavy) == 1 and all(atom.element.name == "O" for atom in heavy.values())


def is_massless(atom: gemmi.Atom) -> bool:
    """Whether an atom of a water is a massless site that some models have (MW, EPW, LP1)."""
    return re.fullmatch(r"(MW?|EPW?|LP)\d?", atom.name) is not None


def _bonded_to_polymer(
    residues: list[Residue], kinds: list[Kind | None], matrix: Matrix
) -> list[Kind]:
    """Settle the kinds that are open: polymer where bonded to a residue that is, else ligand."""
    settled = list(kinds)
    open_ones = [i for i, kind in enumerate(settled) if kind is None]
    if open_ones and "polymer" not in settled:
        # Nothing else is a chain: records of a chain that are all HETATM.
        for i in open_ones:
            if residues[i].name not in CAPS and not _alone(residues, i):
                settled[i] = "polymer"
    fresh = [i for i, kind in enumerate(settled) if kind == "polymer"]
    open_ones = [i for i in open_ones if settled[i] is None]
    while open_ones and fresh:
        near = set()
        for end, start in CHAIN_BONDS:
            near |= _bonded(residues, open_ones, start, fresh, end, matrix)
            near |= _bonded(residues, open_ones, end, fresh, start, matrix)
        for i in near:
            settled[i] = "polymer"
        fresh = sorted(near)
        open_ones = [i for i in open_ones if i not in near]
    return ["ligand" if kind is None else kind for kind in settled]


def _alone(residues: list[Residue], i: int) -> bool:
    """Whether a residue has no neighbour of its chain in the file."""
    near = [*residues[max(i - 1, 0) : i], *residues[i + 1 : i + 2]]
    return not any(r.chain == residues[i].chain and _has_backbone(r) for r in near)


def _bonded(
    residues: list[Residue],
    ones: list[int],
    name: str,
    others: list[int],
    other_name: str,
    matrix: Matrix,
) -> set[int]:
    """Those of `ones` whose atom of a name is within a bond of such an atom of `others`."""
    mine = [(i, atom) for i in ones if (atom := residues[i].atom(name)) is not None]
    theirs = [atom for i in others if (atom := residues[i].atom(other_name)) is not None]
    if not mine or not theirs:
        return set()
    found = set()
    for start in range(0, len(mine), 500):
        part = mine[start : start + 500]
        near = _distances([atom for _, atom in part], theirs, matrix) < MAX_CHAIN_BOND
        found |= {part[k][0] for k in np.flatnonzero(near.any(1)).tolist()}
    return found


def _distances(ones: list[gemmi.Atom], others: list[gemmi.Atom], matrix: Matrix) -> Matrix:
    """Distances modulo the lattice (n_ones, n_others), exact where short against the cell."""
    a, b = (np.array([x.pos.tolist() for x in atoms]) for atoms in (ones, others))
    d = (a[:, None] - b[None]) @ np.linalg.inv(matrix).T
    d -= np.round(d)
    return np.asarray(np.linalg.norm(d @ matrix.T, axis=-1))


# ---- chains and counts -----------------------------------------------------------------------


def _in_molecules(residues: list[Residue], matrix: Matrix) -> list[Residue]:
    """Name chains apart whose name and numbers are used again: ``A``, ``A#2``.

    A number that is used again within one chain, bonded to the residue before, is a wrapped number
    or a lost insertion code.
    """
    molecule: Counter[str] = Counter()
    seen: dict[str, set[str]] = {}
    before: dict[str, Residue] = {}
    out = []
    for residue in residues:
        chain = residue.chain
        if residue.kind == "polymer":
            numbers = seen.setdefault(chain, set())
            if residue.number in numbers and not _follows(before[chain], residue, matrix):
                molecule[chain] += 1
                numbers.clear()
            numbers.add(residue.number)
            before[chain] = residue
        count = molecule[chain]
        out.append(replace(residue, chain=f"{chain}#{count + 1}") if count else residue)
    return out


def _follows(before: Residue, residue: Residue, matrix: Matrix) -> bool:
    """Whether a residue is bonded to the one before."""
    for end, start in CHAIN_BONDS:
        a, b = before.atom(end), residue.atom(start)
        if a is not None and b is not None:
            return bool(_distances([a], [b], matrix)[0, 0] < MAX_CHAIN_BOND)
    return False


def _counted(residues: list[Residue]) -> list[Residue]:
    """Count the residues of one number in one chain."""
    count: Counter[tuple[str, str]] = Counter()
    out = []
    for residue in residues:
        key = (residue.chain, residue.number)
        count[key] += 1
        out.append(replace(residue, occurrence=count[key]) if count[key] > 1 else residue)
    return out
