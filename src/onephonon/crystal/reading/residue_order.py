"""Residues of PDB files whose chain and number come again, kept apart from the first ones."""

from __future__ import annotations

from collections.abc import Iterable, Iterator


def separated(lines: Iterable[str]) -> Iterator[str]:
    """Records of a PDB file, with TER where the atoms of an earlier residue begin again.

    Parsers put all atoms of one chain and number together: of several molecules without chain
    names, and of waters whose numbers start again after 9999. Conformers and hydrogens that are
    listed after all other atoms are not such.
    """
    names: dict[tuple[str, str], set[str]] = {}
    current = None
    for line in lines:
        record = line[:6]
        if record in ("ATOM  ", "HETATM"):
            residue, name = (line[17:27], line[72:76]), line[12:16]
            if residue != current and line[16:17] == " " and name in names.get(residue, ()):
                names.clear()
                yield "TER"
            names.setdefault(residue, set()).add(name)
            current = residue
        elif record[:3] == "TER" or record in ("MODEL ", "ENDMDL"):
            names.clear()
            current = None
        yield line
