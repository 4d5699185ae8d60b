"""Riding hydrogens: those that a file lacks, placed by the geometry of the standard amino acids.

Bond lengths are those of X-rays, which see the electrons: SHELXL's for low temperature (Sheldrick,
Acta Cryst. C71, 3 (2015)). Methyl and NH3 groups are staggered. A hydroxyl's hydrogen, and that of
a thiol, is trans to the chain: what it is bonded to is not looked for. Acids are without hydrogen,
LYS, ARG and the first residue of a chain are charged, HIS has its hydrogen at NE2.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

import gemmi
import numpy as np
from numpy.typing import NDArray

from onephonon.core.text import counted
from onephonon.crystal.remarks import Remark

from .selection import SelectedAtom

Vector = NDArray[np.float64]

#: The value of `hydrogens` that adds them.
RIDING = "riding"

#: Angle of sp3 atoms, degrees.
TETRAHEDRAL = 109.47

#: An atom with a hydrogen this near has its own, Å: S-H has 1.34.
OWN_HYDROGEN = 1.45

#: The chain continues where C and the next N are this near, Å.
PEPTIDE = 2.0

#: Sulphurs this near are a disulfide, Å.
DISULFIDE = 2.5


@dataclass(frozen=True)
class _Group:
    """Hydrogens of one atom.

    `neighbours` are the heavy atoms bonded to it that define the directions, or, where there is
    one such atom, it and the next along the chain. ``-C`` is that of the residue before.
    """

    parent: str
    place: Callable[[Vector, Sequence[Vector], float], list[Vector]]
    neighbours: tuple[str, ...]
    length: float
    names: tuple[str, ...]


def _unit(v: Vector) -> Vector:
    return v / np.linalg.norm(v)


def _opposite(parent: Vector, neighbours: Sequence[Vector], length: float) -> list[Vector]:
    """One hydrogen away from all neighbours: CH, and planar CH and NH."""
    return [parent - length * _unit(sum((_unit(n - parent) for n in neighbours), np.zeros(3)))]


def _pair(parent: Vector, neighbours: Sequence[Vector], length: float) -> list[Vector]:
    """Two hydrogens of CH2, on both sides of the plane of the neighbours."""
    u, v = (_unit(n - parent) for n in neighbours)
    out, across = -_unit(u + v), _unit(np.cross(u, v))
    half = np.radians(TETRAHEDRAL / 2)
    return [parent + length * (np.cos(half) * out + s * np.sin(half) * across) for s in (-1, 1)]


def _at_torsions(
    parent: Vector,
    neighbours: Sequence[Vector],
    length: float,
    angle: float,
    torsions: Iterable[float],
) -> list[Vector]:
    """Hydrogens at an angle to the bond, and at torsions about it from the second neighbour."""
    along = _unit(parent - neighbours[0])
    side = neighbours[1] - neighbours[0]
    # Torsion 0 is the side of the second neighbour.
    x = _unit(side - (side @ along) * along)
    y = np.cross(along, x)
    tilt = np.radians(180.0 - angle)
    return [
        parent + length * (np.cos(tilt) * along + np.sin(tilt) * (np.cos(t) * x + np.sin(t) * y))
        for t in np.radians(list(torsions))
    ]


def _staggered(parent: Vector, neighbours: Sequence[Vector], length: float) -> list[Vector]:
    """Three hydrogens of CH3 or NH3."""
    return _at_torsions(parent, neighbours, length, TETRAHEDRAL, (60.0, 180.0, 300.0))


def _planar_pair(parent: Vector, neighbours: Sequence[Vector], length: float) -> list[Vector]:
    """Two hydrogens of a planar NH2."""
    return _at_torsions(parent, neighbours, length, 120.0, (0.0, 180.0))


def _trans(parent: Vector, neighbours: Sequence[Vector], length: float) -> list[Vector]:
    """One hydrogen of OH or SH."""
    return _at_torsions(parent, neighbours, length, TETRAHEDRAL, (180.0,))


def _ch(parent: str, neighbours: str, name: str = "") -> _Group:
    names = (name or f"H{parent[1:]}",)
    return _Group(parent, _opposite, tuple(neighbours.split()), 1.00, names)


def _flat(parent: str, neighbours: str, length: float = 0.95) -> _Group:
    return _Group(parent, _opposite, tuple(neighbours.split()), length, (f"H{parent[1:]}",))


def _ch2(parent: str, neighbours: str) -> _Group:
    names = f"H{parent[1:]}2", f"H{parent[1:]}3"
    return _Group(parent, _pair, tuple(neighbours.split()), 0.99, names)


def _ch3(parent: str, neighbours: str) -> _Group:
    names = tuple(f"H{parent[1:]}{i}" for i in (1, 2, 3))
    return _Group(parent, _staggered, tuple(neighbours.split()), 0.98, names)


def _nh2(parent: str, neighbours: str) -> _Group:
    names = f"H{parent[1:]}1", f"H{parent[1:]}2"
    return _Group(parent, _planar_pair, tuple(neighbours.split()), 0.88, names)


def _oh(parent: str, neighbours: str, length: float = 0.84) -> _Group:
    return _Group(parent, _trans, tuple(neighbours.split()), length, (f"H{parent[1:]}",))


_CB2 = _ch2("CB", "CA CG")

#: Side chains; the main chain is the same for all but GLY and PRO.
_SIDE_CHAINS: dict[str, tuple[_Group, ...]] = {
    "GLY": (),
    "ALA": (_ch3("CB", "CA N"),),
    "VAL": (_ch("CB", "CA CG1 CG2"), _ch3("CG1", "CB CA"), _ch3("CG2", "CB CA")),
    "LEU": (_CB2, _ch("CG", "CB CD1 CD2"), _ch3("CD1", "CG CB"), _ch3("CD2", "CG CB")),
    "ILE": (
        _ch("CB", "CA CG1 CG2"),
        _ch2("CG1", "CB CD1"),
        _ch3("CG2", "CB CA"),
        _ch3("CD1", "CG1 CB"),
    ),
    "MET": (_CB2, _ch2("CG", "CB SD"), _ch3("CE", "SD CG")),
    "MSE": (_CB2, _ch2("CG", "CB SE"), _ch3("CE", "SE CG")),
    "PRO": (_CB2, _ch2("CG", "CB CD"), _ch2("CD", "CG N")),
    "PHE": (
        _CB2,
        _flat("CD1", "CG CE1"),
        _flat("CD2", "CG CE2"),
        _flat("CE1", "CD1 CZ"),
        _flat("CE2", "CD2 CZ"),
        _flat("CZ", "CE1 CE2"),
    ),
    "TYR": (
        _CB2,
        _flat("CD1", "CG CE1"),
        _flat("CD2", "CG CE2"),
        _flat("CE1", "CD1 CZ"),
        _flat("CE2", "CD2 CZ"),
        _oh("OH", "CZ CE1"),
    ),
    "TRP": (
        _CB2,
        _flat("CD1", "CG NE1"),
        _flat("NE1", "CD1 CE2", 0.88),
        _flat("CE3", "CD2 CZ3"),
        _flat("CZ2", "CE2 CH2"),
        _flat("CZ3", "CE3 CH2"),
        _flat("CH2", "CZ2 CZ3"),
    ),
    "SER": (_ch2("CB", "CA OG"), _oh("OG", "CB CA")),
    "THR": (_ch("CB", "CA OG1 CG2"), _oh("OG1", "CB CA"), _ch3("CG2", "CB CA")),
    "CYS": (_ch2("CB", "CA SG"), _oh("SG", "CB CA", 1.20)),
    "ASN": (_CB2, _nh2("ND2", "CG OD1")),
    "GLN": (_CB2, _ch2("CG", "CB CD"), _nh2("NE2", "CD OE1")),
    "ASP": (_CB2,),
    "GLU": (_CB2, _ch2("CG", "CB CD")),
    "LYS": (
        _CB2,
        _ch2("CG", "CB CD"),
        _ch2("CD", "CG CE"),
        _ch2("CE", "CD NZ"),
        replace(_ch3("NZ", "CE CD"), length=0.91),
    ),
    "ARG": (
        _CB2,
        _ch2("CG", "CB CD"),
        _ch2("CD", "CG NE"),
        _flat("NE", "CD CZ", 0.88),
        _nh2("NH1", "CZ NE"),
        _nh2("NH2", "CZ NE"),
    ),
    "HIS": (_CB2, _flat("CD2", "CG NE2"), _flat("CE1", "ND1 NE2"), _flat("NE2", "CD2 CE1", 0.88)),
}

_AMIDE = _Group("N", _opposite, ("CA", "-C"), 0.88, ("H",))
_AMMONIUM = _Group("N", _staggered, ("CA", "C"), 0.91, ("H1", "H2", "H3"))
_FIRST_PRO = _Group("N", _pair, ("CA", "CD"), 0.91, ("H2", "H3"))


def _groups(name: str, first: bool) -> tuple[_Group, ...]:
    """Groups of a residue of this type."""
    if name == "PRO":
        main = (_FIRST_PRO,) if first else ()
    else:
        main = (_AMMONIUM,) if first else (_AMIDE,)
    alpha = _ch2("CA", "N C") if name == "GLY" else _ch("CA", "N C CB", "HA")
    return (*main, alpha, *_SIDE_CHAINS[name])


def add_riding(selected: Sequence[SelectedAtom]) -> tuple[list[SelectedAtom], list[Remark]]:
    """Add the hydrogens that standard amino acids lack, after the other atoms of their residue.

    Parameters
    ----------
    selected : sequence of SelectedAtom
        The atoms that were read, hydrogens included.

    Returns
    -------
    atoms : list of SelectedAtom
        Each new hydrogen has residue, conformer, occupancy and displacements of its parent.
    remarks : list of Remark

    Notes
    -----
    An atom that has a hydrogen keeps what it has, and one whose neighbours are missing gets none;
    so do residues of other kinds, and waters. Where a neighbour has conformers and the parent has
    not, the first conformer defines the direction.
    """
    residues: dict[tuple[str, str, int], list[SelectedAtom]] = defaultdict(list)
    for atom in selected:
        residues[atom.label.residue_id].append(atom)
    surroundings = _Surroundings.of(selected)
    out: list[SelectedAtom] = []
    n_added = n_without = 0
    chains: set[str] = set()
    for members in residues.values():
        chain = members[0].label.chain
        added = _added(members, surroundings, chain not in chains)
        chains.add(chain)
        out += [*members, *added]
        n_added += len(added)
        n_without += not any(a.label.residue_name in _SIDE_CHAINS for a in members)
    remarks = [Remark("assumed", f"{counted(n_added, 'riding hydrogen')}, placed by geometry")]
    if n_without:
        text = f"no riding hydrogens in {counted(n_without, 'residue')}, not standard amino acids"
        remarks.append(Remark("assumed", text))
    return out, remarks


@dataclass(frozen=True, eq=False)
class _Surroundings:
    """Heavy atoms of all residues."""

    atoms: list[SelectedAtom]
    r: Vector
    is_C: NDArray[np.bool_]  # noqa: N815 - the main chain's C

    @classmethod
    def of(cls, selected: Sequence[SelectedAtom]) -> _Surroundings:
        atoms = [a for a in selected if not a.atom.is_hydrogen()]
        r = np.array([a.atom.pos.tolist() for a in atoms]).reshape(-1, 3)
        return cls(atoms, r, np.array([a.label.atom_name == "C" for a in atoms], dtype=bool))

    def bonded(
        self, atom: SelectedAtom, distance: float, only: NDArray[np.bool_] | None = None
    ) -> list[SelectedAtom]:
        """Atoms of other residues within a distance, the nearest first."""
        far = np.linalg.norm(self.r - _r(atom), axis=1)
        near = far < distance if only is None else (far < distance) & only
        found = sorted(np.flatnonzero(near).tolist(), key=lambda i: float(far[i]))
        own = atom.label.residue_id
        return [self.atoms[i] for i in found if self.atoms[i].label.residue_id != own]


def _added(
    members: Sequence[SelectedAtom], surroundings: _Surroundings, first: bool
) -> list[SelectedAtom]:
    """Hydrogens that the atoms of one residue lack; `first` of the chain or not."""
    hydrogens = [a for a in members if a.atom.is_hydrogen()]
    own = np.array([_r(a) for a in hydrogens]).reshape(-1, 3)
    known = {(a.label.atom_name, a.label.altloc) for a in hydrogens}
    added = []
    for kind in dict.fromkeys(a.label.residue_name for a in members):
        if kind not in _SIDE_CHAINS:
            continue
        atoms = [a for a in members if a.label.residue_name == kind and not a.atom.is_hydrogen()]
        nitrogen = [a for a in atoms if a.label.atom_name == "N"]
        previous = surroundings.bonded(nitrogen[0], PEPTIDE, surroundings.is_C) if nitrogen else []
        for group in _groups(kind, first and not previous):
            for parent in (a for a in atoms if a.label.atom_name == group.parent):
                if (np.linalg.norm(own - _r(parent), axis=1) < OWN_HYDROGEN).any():
                    continue
                # Where one conformer is kept, its hydrogen may be that of another, far away.
                if any((name, parent.label.altloc) in known for name in group.names):
                    continue
                if group.parent == "SG" and surroundings.bonded(parent, DISULFIDE):
                    continue
                added += _hydrogens(parent, group, atoms, previous)
    return added


def _hydrogens(
    parent: SelectedAtom,
    group: _Group,
    atoms: Sequence[SelectedAtom],
    previous: Sequence[SelectedAtom],
) -> list[SelectedAtom]:
    """Hydrogens of one atom; none if a neighbour is missing."""
    neighbours = []
    for name in group.neighbours:
        among = previous if name == "-C" else [a for a in atoms if a.label.atom_name == name]
        found = _of_conformer(among, parent.label.altloc)
        if found is None:
            return []
        neighbours.append(_r(found))
    made = []
    for name, r in zip(group.names, group.place(_r(parent), neighbours, group.length), strict=True):
        if not np.isfinite(r).all():  # atoms at one point
            return []
        atom = parent.atom.clone()
        atom.name, atom.element, atom.charge = name, gemmi.Element("H"), 0
        atom.pos = gemmi.Position(*r.tolist())
        label = replace(parent.label, atom_name=name, element="H")
        made.append(SelectedAtom(label, atom, parent.occupancy))
    return made


def _of_conformer(atoms: Sequence[SelectedAtom], altloc: str) -> SelectedAtom | None:
    """The atom of the same conformer, or without a letter, or the first."""
    for letter in (altloc, ""):
        for atom in atoms:
            if atom.label.altloc == letter:
                return atom
    return atoms[0] if atoms else None


def _r(atom: SelectedAtom) -> Vector:
    return np.array(atom.atom.pos.tolist())
