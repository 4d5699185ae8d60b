"""Ways to damage a file, each drawn from a random generator alone."""

from __future__ import annotations

import contextlib
import gzip
import io
import random
import re
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np

#: Numbers that programs do not expect.
EXTREMES = (
    *("1e308", "-1e308", "1e-320", "-1", "0", "nan", "inf", "-inf", "99999999999"),
    *("9999999999999999999999", "2147483648", "-2147483649", "1e999", "0.1e", "********", "1,5"),
    *("--1", "0x10", "1_000", "١", "", "1" * 400),
)

#: Bytes that are put in the place of others.
WORDS = (
    *(b"\xff\xff\xff\xff", b"\0\0\0\0", b"\x7f\xf0\0\0", b"\0\0\xc0\x7f", b"\x80\0\0\0"),
    *(b"\r\n", b"\x1b[31m", b"\xef\xbb\xbf", b"\xc3\x28", b"\xed\xa0\x80", b"'", b'"', b"%", b"#"),
)

#: Parts of the headers of NumPy files, and what they become.
HEADERS = (
    (
        rb"'descr': '[^']*'",
        (
            *(b"'descr': '|O'", b"'descr': '<U9'", b"'descr': '<c16'", b"'descr': ''"),
            *(b"'descr': '>i8'", b"'descr': '|V0'", b"'descr': [('a','<f8')]"),
        ),
    ),
    (
        rb"'shape': \([^)]*\)",
        (
            *(b"'shape': ()", b"'shape': (-1, 3)", b"'shape': (9999999, 99999)", b"'shape': 3"),
            *(b"'shape': (0, 3)", b"'shape': (2**70,)", b"'shape': (3", b"'shape': (1.5, 3)"),
            b"'shape': (99999999999999999999, 3)",
        ),
    ),
    (rb"'fortran_order': \w+", (b"'fortran_order': 7", b"'fortran_order': True", b"'fortran': 1")),
)

Mutation = Callable[[bytes, random.Random], bytes]


def flip(raw: bytes, rng: random.Random) -> bytes:
    """Flip some bits, half of the time near the beginning, where headers are."""
    content = bytearray(raw)
    reach = len(raw) if rng.random() < 0.5 else min(1500, len(raw))
    for _ in range(rng.randrange(1, 9)):
        content[rng.randrange(reach)] ^= 1 << rng.randrange(8)
    return bytes(content)


def overwrite(raw: bytes, rng: random.Random) -> bytes:
    """Put a word in the place of another."""
    word = rng.choice(WORDS)
    at = rng.randrange(len(raw))
    return raw[:at] + word + raw[at + len(word) :]


def insert(raw: bytes, rng: random.Random) -> bytes:
    """Insert a word, or random bytes."""
    at = rng.randrange(len(raw) + 1)
    word = rng.choice(WORDS) if rng.random() < 0.7 else rng.randbytes(rng.randrange(1, 40))
    return raw[:at] + word + raw[at:]


def cut(raw: bytes, rng: random.Random) -> bytes:
    """Cut off the end, or take out a part."""
    at = rng.randrange(len(raw))
    return raw[:at] if rng.random() < 0.6 else raw[:at] + raw[at + rng.randrange(1, 200) :]


def repeat(raw: bytes, rng: random.Random) -> bytes:
    """Repeat a block, there or elsewhere."""
    at = rng.randrange(len(raw))
    block = raw[at : at + rng.randrange(1, 2000)]
    to = rng.randrange(len(raw))
    return raw[:to] + block * rng.randrange(1, 4) + raw[to:]


def number(raw: bytes, rng: random.Random) -> bytes:
    """Replace numbers by extreme ones, in place or in their columns."""
    found = list(re.finditer(rb"[-+]?\d+\.?\d*(?:[eE][-+]?\d+)?", raw))
    if not found:
        return overwrite(raw, rng)
    chosen = rng.sample(found, min(len(found), rng.randrange(1, 4)))
    for match in sorted(chosen, key=lambda m: -m.start()):
        new = rng.choice(EXTREMES).encode()
        if rng.random() < 0.5:
            size = match.end() - match.start()
            new = new[:size].rjust(size)
        raw = raw[: match.start()] + new + raw[match.end() :]
    return raw


def lines(raw: bytes, rng: random.Random) -> bytes:
    """Swap, repeat or remove lines, or change how they end."""
    found = raw.split(b"\n")
    a, b = rng.randrange(len(found)), rng.randrange(len(found))
    kind = rng.randrange(5)
    if kind == 0:
        found[a], found[b] = found[b], found[a]
    elif kind == 1:
        found.insert(a, found[b])
    elif kind == 2:
        del found[a : a + rng.randrange(1, 20)]
    elif kind == 3:
        return raw.replace(b"\n", rng.choice((b"\r", b"\r\n", b"", b"\n\n", b"\0")))
    else:
        found[a] = found[a][: rng.randrange(len(found[a]) + 1)]
    return b"\n".join(found)


def words(raw: bytes, rng: random.Random) -> bytes:
    """Replace or remove a word of text."""
    found = list(re.finditer(rb"[A-Za-z_][\w.]*", raw))
    if not found:
        return flip(raw, rng)
    match, other = rng.choice(found), rng.choice(found)
    new = rng.choice((b"", b"null", b"[]", b"{}", b"=1+1", b"\xff", b"x" * 3000, other[0]))
    return raw[: match.start()] + new + raw[match.end() :]


PLAIN: tuple[Mutation, ...] = (flip, overwrite, insert, cut, repeat, number, lines, words)


def numpy_header(raw: bytes, rng: random.Random) -> bytes:
    """Edit the header of an .npy."""
    pattern, choices = rng.choice(HEADERS)
    new = rng.choice(choices)
    if rng.random() < 0.7:  # keep the length, or all that follows is shifted
        match = re.search(pattern, raw)
        if match is not None:
            end = raw.find(b"\n", match.end())
            changed = (raw[: match.start()] + new + raw[match.end() : end]).rstrip()
            return changed.ljust(end)[:end] + raw[end:]
    return re.sub(pattern, lambda _: new, raw, count=1)


def zipped(raw: bytes, rng: random.Random) -> bytes:
    """Damage one file of a zip, remove it, or store it twice."""
    whole = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(raw)) as old, zipfile.ZipFile(whole, "w") as new:
        names = old.namelist()
        chosen = rng.choice(names)
        for name in names:
            content = old.read(name)
            if name == chosen:
                kind = rng.randrange(6)
                if kind == 0:
                    continue
                if kind == 1:
                    name = rng.choice((rng.choice(names), "x", "../x.npy", "x\n.npy"))
                else:
                    content = rng.choice((numpy_header, numpy_header, flip, cut))(content, rng)
            new.writestr(name, content)
    return whole.getvalue()


def gzipped(raw: bytes, rng: random.Random) -> bytes:
    """Damage what is compressed."""
    return gzip.compress(rng.choice(PLAIN)(gzip.decompress(raw), rng), 1)


def hdf5(raw: bytes, rng: random.Random, folder: Path) -> bytes:
    """Change values, types, shapes, names and links of an HDF5 file."""
    path = folder / f"mutated{rng.randrange(10**9)}.h5"
    path.write_bytes(raw)
    try:
        with h5py.File(path, "r+") as file:
            for _ in range(rng.randrange(1, 3)):
                # HDF5 refuses some changes; what was done before stays.
                with contextlib.suppress(ValueError, TypeError, LookupError, OSError, RuntimeError):
                    _change_hdf5(file, rng)
        return path.read_bytes()
    finally:
        path.unlink()


def _change_hdf5(file: h5py.File, rng: random.Random) -> None:
    names: list[str] = []
    file.visit(names.append)
    name = rng.choice(names)
    item = file[name]
    if rng.random() < 0.4 and len(item.attrs):
        key = rng.choice(sorted(item.attrs))
        if rng.random() < 0.3:
            del item.attrs[key]
        else:
            item.attrs[key] = _odd_value(rng, item.attrs[key])
        return
    kind = rng.randrange(6)
    if kind == 0:
        del file[name]
    elif kind == 1:
        file.move(name, f"{name}x")
    elif kind == 2:
        del file[name]
        file[name] = rng.choice(
            (h5py.SoftLink("/"), h5py.SoftLink("/none"), h5py.ExternalLink("gone.h5", "/"))
        )
    elif isinstance(item, h5py.Dataset):
        value = _odd_value(rng, item[()])
        attributes = dict(item.attrs)
        del file[name]
        file[name] = value
        for key, held in attributes.items():
            if not isinstance(held, h5py.Reference):
                file[name].attrs[key] = held
    else:
        item.attrs[rng.choice(("axes", "signal", "default", "NX_class", "mask"))] = _odd_value(
            rng, "x"
        )


def _odd_value(rng: random.Random, old: Any) -> Any:
    """Something else in the place of a value."""
    choices: list[Any] = [
        *(0, -1, 2**63 - 1, np.nan, np.inf, 1e308, "", "x", "[", "é" * 50, "\x1b[31m"),
        *(np.zeros(0), np.zeros((2, 2, 2, 2)), np.full(3, np.nan), np.ones(3, complex)),
        *([b"a", b"b"], np.arange(5), True, np.zeros((10_000, 3), "i1")),
    ]
    if isinstance(old, np.ndarray) and old.dtype.kind in "fiu" and old.size:
        flat = old.astype(np.float64).ravel()
        flat[rng.randrange(flat.size)] = float(rng.choice(("nan", "inf", "1e300", "-1", "0")))
        choices += [
            flat.reshape(old.shape),
            old[:-1],
            old.T,
            old.astype("f2"),
            -old.astype("f8"),
        ] * 3
    if isinstance(old, str | bytes) and old:
        text = old if isinstance(old, str) else old.decode("utf-8", "replace")
        choices += [text[: rng.randrange(len(text))], text * 50, number(text.encode(), rng)] * 3
    return rng.choice(choices)
