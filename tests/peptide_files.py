"""Files of two alanines in a small cell, in PDB and mmCIF, with one thing changed at a time."""

CRYST1 = "CRYST1   10.000   12.000   15.000  90.00 100.00  90.00 P 1 21 1      2"

#: Name, residue number, coordinates: far enough from one another for any check.
PLACES = [
    ("N", 1, (1.0, 1.0, 1.0)), ("CA", 1, (2.2, 1.6, 1.0)), ("C", 1, (3.2, 0.8, 1.4)),
    ("O", 1, (4.2, 1.1, 2.2)), ("CB", 1, (2.4, 2.9, 1.8)), ("N", 2, (3.0, -0.5, 1.1)),
    ("CA", 2, (3.9, -1.5, 1.6)), ("C", 2, (3.3, -2.9, 1.5)), ("O", 2, (2.2, -3.1, 1.0)),
    ("CB", 2, (5.2, -1.5, 0.8)),
]  # fmt: skip


def atom_records(B=(10, 12, 14, 16, 18, 20, 22, 24, 26, 28), occupancy=1.0):
    """ATOM records of both residues."""
    return [
        f"ATOM  {i + 1:5d}  {name:<3} ALA A{number:4d}    {x:8.3f}{y:8.3f}{z:8.3f}"
        f"{occupancy:6.2f}{B[i]:6.2f}          {name[0]:>2}  "
        for i, (name, number, (x, y, z)) in enumerate(PLACES)
    ]


def pdb_text(atoms=None, *, cryst1=CRYST1, head=()):
    """Text of a PDB file: records before the cell, the cell, atoms."""
    cell = [cryst1] if cryst1 else []
    return "\n".join([*head, *cell, *(atoms or atom_records()), "TER", "END", ""])


CELL_ITEMS = {
    "_cell.length_a": "10.0", "_cell.length_b": "12.0", "_cell.length_c": "15.0",
    "_cell.angle_alpha": "90.0", "_cell.angle_beta": "100.0", "_cell.angle_gamma": "90.0",
}  # fmt: skip

COLUMNS = [
    "group_PDB", "id", "type_symbol", "label_atom_id", "label_alt_id", "label_comp_id",
    "label_asym_id", "label_entity_id", "label_seq_id", "Cartn_x", "Cartn_y", "Cartn_z",
    "occupancy", "B_iso_or_equiv",
]  # fmt: skip


def mmcif_text(items=None, *, columns=COLUMNS, values=None, name="peptide", more=""):
    """Text of an mmCIF file: items, and a loop of atoms.

    `values` replaces or adds columns: a function of the atom's number, or one value for all.
    """
    items = {**CELL_ITEMS, **({"_symmetry.space_group_name_H-M": "'P 1 21 1'"} | (items or {}))}
    rows = []
    for i, (atom, number, (x, y, z)) in enumerate(PLACES):
        row = dict(
            zip(
                COLUMNS,
                (
                    "ATOM",
                    i + 1,
                    atom[0],
                    atom,
                    ".",
                    "ALA",
                    "A",
                    1,
                    number,
                    x,
                    y,
                    z,
                    1.0,
                    10 + 2 * i,
                ),
                strict=True,
            )
        )
        for column, value in (values or {}).items():
            row[column] = value(i) if callable(value) else value
        rows.append(" ".join(str(row[column]) for column in columns))
    loop = ["loop_", *(f"_atom_site.{column}" for column in columns), *rows]
    lines = [f"{key} {value}" for key, value in items.items() if value is not None]
    return "\n".join([f"data_{name}", "#", *lines, *loop, "#", more, ""])
