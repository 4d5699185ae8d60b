"""The text of a structure file: decompressed within a bound, decoded, with plain line ends."""

from __future__ import annotations

import gzip
import io
import re
import zlib
from pathlib import Path

from onephonon.core.errors import StructureError

#: Largest text of a structure (bytes); the largest deposited one has a quarter of it.
MAX_TEXT = 1 << 30

#: Coordinates compress to a fifth, seldom to a tenth; a file that inflates more than this is made
#: to fill memory. Small files are always read.
MAX_COMPRESSION = 100
ALWAYS_READ = 16 << 20

#: First bytes of compressed files that are not read, and of files that are no text.
OTHER_KINDS = {
    b"BZh": "compressed with bzip2; decompress it",
    b"\xfd7zXZ": "compressed with xz; decompress it",
    b"\x28\xb5\x2f\xfd": "compressed with zstandard; decompress it",
    b"PK\x03\x04": "a zip archive; unpack it",
    b"\x89HDF": "an HDF5 file; give the PDB or mmCIF file of the structure",
}
GZIP = b"\x1f\x8b"

#: Endings of formats that hold a structure but are not read.
OTHER_FORMATS = {
    ".bcif": "BinaryCIF",
    ".mmtf": "MMTF",
    ".json": "mmJSON",
    ".pqr": "PQR (charges and radii in place of occupancies and B-factors)",
    ".pdbqt": "PDBQT (charges in place of the element)",
    ".gro": "GROMACS",
    ".mol2": "MOL2",
    ".sdf": "SDF",
    ".res": "SHELX",
    ".ins": "SHELX",
    ".xyz": "XYZ, without a cell",
}

READABLE = "give a PDB or mmCIF file (.pdb, .ent, .cif or .mmcif, optionally .gz)"


def read_text(path: Path) -> str:
    """Text of a structure file, with a line feed at the end of its lines.

    Raises
    ------
    StructureError
        If there is no such file, it is of another kind, damaged, or inflates without bound.
    """
    check_file(path)
    try:
        with path.open("rb") as file:
            raw = file.read(MAX_TEXT + 1)
    except OSError as error:
        raise StructureError(f"{path}: cannot be read ({error}); check the file") from error
    text = _decoded(_inflated(raw, path), path)
    return re.sub(r"\r\n?", "\n", text)


def check_file(path: Path) -> None:
    """Refuse what is not a file, and formats that are not read.

    Raises
    ------
    StructureError
    """
    if str(path) == "-":
        raise StructureError("-: standard input is not read; save the structure to a file")
    if path.is_dir():
        raise StructureError(f"{path} is a folder, so there is no such file; name a file in it")
    try:
        if path.exists() and not path.is_file():
            raise StructureError(
                f"{path} is a pipe or device, not a file; save the structure to a file"
            )
        missing = not path.is_file()
    except (OSError, ValueError):  # a name too long, or with a NUL
        missing = True
    if missing:
        raise StructureError(f"{path}: there is no such file; check the path")
    endings = [ending.lower() for ending in path.suffixes if ending.lower() != ".gz"]
    if endings and endings[-1] in OTHER_FORMATS:
        raise StructureError(
            f"{path}: {OTHER_FORMATS[endings[-1]]} is not read; convert it, or {READABLE}"
        )


def _inflated(raw: bytes, path: Path) -> bytes:
    """The bytes as they are, or decompressed if they are gzip's, whatever the file's name."""
    for start, kind in OTHER_KINDS.items():
        if raw.startswith(start):
            raise StructureError(f"{path}: cannot be read: it is {kind}")
    limit = MAX_TEXT
    if raw.startswith(GZIP):
        limit = min(limit, max(ALWAYS_READ, MAX_COMPRESSION * len(raw)))
        try:
            with gzip.GzipFile(fileobj=io.BytesIO(raw)) as file:
                raw = file.read(limit + 1)
        except (OSError, EOFError, zlib.error) as error:
            raise StructureError(
                f"{path}: the gzip file is damaged ({error}); fetch it again, or {READABLE}"
            ) from error
    if len(raw) > limit:
        raise StructureError(
            f"{path}: holds over {limit >> 20} MiB of text, more than a structure; {READABLE}"
        )
    return raw


def _decoded(raw: bytes, path: Path) -> str:
    """Text from UTF-8, UTF-16 with its mark, or Latin-1."""
    try:
        if raw.startswith((b"\xff\xfe", b"\xfe\xff")):
            text = raw.decode("utf-16")
        else:
            text = raw.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = raw.decode("latin-1")
    if "\0" in text:
        raise StructureError(f"{path}: cannot be read: it holds bytes, not text; {READABLE}")
    return text
