"""The bundled crystal."""

from __future__ import annotations

from pathlib import Path


def crambin_path() -> Path:
    """Path of crambin at 0.54 Å (PDB 1EJG, P2₁), from the Protein Data Bank, public domain (CC0).

    C. Jelsch et al., Proc. Natl. Acad. Sci. USA 97, 3171 (2000).
    """
    return Path(__file__).parent / "1ejg.cif"
