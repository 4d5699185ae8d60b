"""Text of PDB files, as tests need it."""

CRYST1 = "CRYST1    7.000    8.000    9.000  90.00  95.00  90.00 P 1 21 1      2"


def atom_line(
    name, residue="ALA", number=1, *, at=(1.0, 2.0, 3.0), altloc=" ", chain="A", occ=1.0, B=10.0,
    element=None, record="ATOM", serial=1, segment="", insertion=" ",
):  # fmt: skip
    """One ATOM or HETATM record."""
    element = name[0] if element is None else element
    x, y, z = (v if isinstance(v, str) else f"{v:8.3f}" for v in at)
    column = name if len(name) == 4 else f" {name:<3}"
    return (
        f"{record:<6}{serial:5d} {column}{altloc}{residue:>3}{chain:>2}{number:>4}{insertion}   "
        f"{x}{y}{z}{occ:6.2f}{B:6.2f}      {segment:<4}{element:>2}"
    )


#: Alanine of no particular geometry, with a peptide bond to the next one 3.8 Å further along x.
ALANINE = {
    "N": (0.0, 0.0, 0.0), "CA": (1.2, 0.8, 0.0), "C": (2.5, 0.0, 0.0), "O": (2.7, -1.1, 0.4),
    "CB": (1.3, 1.8, 1.1),
}  # fmt: skip


def alanine(number=1, at=(1.0, 1.0, 1.0), *, residue="ALA", **options):
    """Records of an alanine, or of another residue of its atoms."""
    return [
        atom_line(
            name, residue, number, at=tuple(a + b for a, b in zip(at, x, strict=True)), **options
        )
        for name, x in ALANINE.items()
    ]


def write_pdb(path, *lines, cryst1=CRYST1):
    """Write a PDB file of these records, and return its path."""
    path.write_text("\n".join([cryst1, *lines, "END"]) + "\n")
    return path
