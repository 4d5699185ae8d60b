"""Residues of a file whose chain and number come again, kept apart from the first ones.

Parsers put all atoms of one chain and number together: of several molecules without chain names,
and of waters whose numbers start again after 9999. Conformers and hydrogens that are listed after
all other atoms are not such.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator

import gemmi

#: Before the number of a part of a chain; no chain has it in its name.
PART = "|"


def separated(lines: Iterable[str]) -> Iterator[str]:
    """Records of a PDB file, with TER where the atoms of an earlier residue begin again."""
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


def separate_rows(block: gemmi.cif.Block) -> None:
    """Name parts of chains of an mmCIF block apart, in place: ``A|2``; see `chain_of_part`."""
    table = block.find(
        "_atom_site.",
        ["auth_asym_id", "auth_seq_id", "label_comp_id", "label_atom_id", "?label_alt_id",
         "?pdbx_PDB_ins_code", "?pdbx_PDB_model_num"],
    )  # fmt: skip
    parts: Counter[tuple[str, str]] = Counter()
    names: dict[tuple[str, ...], set[str]] = {}
    current: tuple[str, ...] = ()
    for row in table:
        alt, insertion, model = (
            row.str(i) if row.has(i) and row.str(i) not in (".", "?") else "" for i in (4, 5, 6)
        )
        chain, number, kind, name = (row.str(i) for i in range(4))
        residue = (model, chain, number, insertion, kind)
        if residue != current and not alt and name in names.get(residue, ()):
            parts[model, chain] += 1
            names = {key: held for key, held in names.items() if key[:2] != (model, chain)}
        names.setdefault(residue, set()).add(name)
        current = residue
        if n := parts[model, chain]:
            row[0] = gemmi.cif.quote(f"{chain}{PART}{n + 1}")


def chain_of_part(name: str) -> str:
    """The chain's name in the file."""
    return name.partition(PART)[0]
