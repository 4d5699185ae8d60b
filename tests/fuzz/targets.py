"""What is read: whole files of every kind, and the functions that read them.

Each target is a kind of input: a file that is right, how it is damaged, and what reads it. A
damaged one must be read, or refused with a `OnePhononError`.
"""

from __future__ import annotations

import gzip
import random
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gemmi
import h5py
import mutations
import numpy as np
import torch

from crystals import made_up as crystal_of
from foreign_maps import CELL, MAPS, made_up, write_mdx_lib
from onephonon import (
    OnePhonon,
    SpringPlan,
    read_crystal,
    read_map,
    write_map,
)
from onephonon.crystal.crystal import Crystal
from onephonon.crystal.reindexing import parse_reindexing
from onephonon.maps.io import read_q_vectors
from onephonon.maps.io.cell_file import read_cell
from onephonon.network.bodies import gather_bodies
from onephonon.network.contact_files import (
    labelling,
    read_contact_table,
    start_values,
    write_contact_table,
)
from onephonon.network.contacts import find_contacts
from onephonon.refine.minimizations import SavedMinimum
from onephonon.refine.state import FitState, read_fit_state, write_fit_state
from onephonon.viz.plot import parse_plane
from structures import DATA

SAMPLING = ((-2, 2, 2), (-1, 1, 3), (0, 4, 1))

#: Information that the reader of each map needs.
MAPS_READ: dict[str, dict[str, Any]] = {
    "ours.npz": {},
    "ours.h5": {},
    "ours.nxs": {},
    "table.nxs": {},
    "ours.mtz": {},
    "foreign.mtz": {"cell": CELL},
    "ours.ccp4": {},
    "foreign.ccp4": {"cell": CELL},
    "ours.hkl": {},
    "ours.lat": {"cell": CELL},
    "ours.npy": {"cell": CELL, "sampling": SAMPLING},
    "mdx_lib.h5": {},
    "mdx2_map.nxs": {"cell": CELL},
    "mdx2_counts.nxs": {"cell": CELL},
    "mdx2_merged.nxs": {"cell": CELL},
    "nexusformat_edges.nxs": {"cell": CELL},
    "nxrefine_transform.nxs": {},
}

Reader = Callable[[Path, random.Random], object]


@dataclass(frozen=True)
class Target:
    """A kind of input.

    Parameters
    ----------
    name : str
        Name of the whole file.
    read : callable
        Reads a file, with options drawn from a random generator.
    """

    name: str
    read: Reader

    def damaged(self, raw: bytes, rng: random.Random, folder: Path) -> bytes:
        """A damaged copy of the whole file."""
        binary = self.name.endswith((".npz", ".npy", ".h5", ".nxs", ".gz"))
        if binary and rng.random() < 0.6:
            if self.name.endswith(".npz"):
                return mutations.zipped(raw, rng)
            if self.name.endswith(".npy"):
                return mutations.numpy_header(raw, rng)
            if self.name.endswith(".gz"):
                return mutations.gzipped(raw, rng)
            return mutations.hdf5(raw, rng, folder)
        for _ in range(rng.choice((1, 1, 1, 2, 3))):
            if raw:
                raw = rng.choice(mutations.PLAIN)(raw, rng)
        return raw


def targets() -> list[Target]:
    """All kinds of inputs."""
    structures = ("a.pdb", "a.cif", "a.pdb.gz", "a.cif.gz", "many.pdb")
    cells = ("cell.pdb", "cell.cif", "cell.mtz", "cell.nxs", "cell.h5")
    return [
        *(Target(name, _structure) for name in structures),
        *(Target(name, _map_reader(options)) for name, options in MAPS_READ.items()),
        *(Target(name, lambda path, _: read_cell(path)) for name in cells),
        *(
            Target(f"q.{end}", lambda path, _: read_q_vectors(path))
            for end in ("npy", "npz", "txt", "h5")
        ),
        *(Target(f"contacts.{end}", _contact_table) for end in ("csv", "json")),
        Target("state.json", lambda path, _: read_fit_state(path)),
        Target("ranges.text", _text(lambda text: gather_bodies(_peptide(), text))),
        Target(
            "reindexing.text", _text(lambda text: parse_reindexing(text, (30, 30, 40, 90, 90, 90)))
        ),
        Target("plane.text", _text(lambda text: parse_plane(text, CELL))),
        Target("group.text", _text(_space_group)),
    ]


def write_whole_files(folder: Path) -> None:
    """Write a whole file for every target."""
    peptide = (DATA / "5zck.pdb").read_bytes()
    structure = gemmi.read_structure(str(DATA / "5zck.pdb"))
    structure.setup_entities()
    cif = structure.make_mmcif_document().as_string().encode()
    model = structure[0].clone()
    model.num = 2
    structure.add_model(model)
    contents = {
        "a.pdb": peptide,
        "a.cif": cif,
        "a.pdb.gz": gzip.compress(peptide, 1),
        "a.cif.gz": gzip.compress(cif, 1),
        "many.pdb": structure.make_pdb_string().encode(),
        "cell.pdb": peptide,
        "cell.cif": cif,
        "ranges.text": b"A:1-2 A:3 rest",
        "reindexing.text": b"k,h,-l",
        "plane.text": b"0,0,0.5:1,1,0:0,0,1",
        "group.text": b"P 1 21 1",
    }
    for name, content in contents.items():
        (folder / name).write_bytes(content)
    _write_maps(folder)
    q = np.random.default_rng(0).uniform(-2, 2, (40, 3))
    np.save(folder / "q.npy", q)
    np.savez(folder / "q.npz", q_vectors=q, map_shape=np.array([4, 5, 2]))
    np.savetxt(folder / "q.txt", q)
    write_map(made_up(), folder / "q.h5")
    bound = OnePhonon(
        crystal_of("P 21 21 21"), *[(0, 1, 2)] * 3, gnm_cutoff=6.5, springs=SpringPlan()
    )
    for end in ("csv", "json"):
        write_contact_table(list(bound.contact_table())[:20], folder / f"contacts.{end}")
    minima = [
        SavedMinimum(level, 10.0, torch.arange(3.0).double(), 7, 1e-4, True, "converged", 200)
        for level in ("global", "interface")
    ]
    write_fit_state(folder / "state.json", FitState({"the data": "0" * 64}, tuple(minima), False))


def _write_maps(folder: Path) -> None:
    for name in MAPS_READ:
        if name.startswith("ours"):
            write_map(made_up(), folder / name)
        elif (MAPS / name).is_file():
            (folder / name).write_bytes((MAPS / name).read_bytes())
    write_map(made_up(), folder / "table.nxs", table=True)
    mtz = gemmi.read_mtz_file(str(folder / "ours.mtz"))
    mtz.history = []
    mtz.write_to_file(str(folder / "foreign.mtz"))
    (folder / "cell.mtz").write_bytes((folder / "foreign.mtz").read_bytes())
    ccp4 = gemmi.read_ccp4_map(str(folder / "ours.ccp4"))
    ccp4.set_header_str(57, " " * 800)
    ccp4.write_ccp4_map(str(folder / "foreign.ccp4"))
    write_mdx_lib(folder / "mdx_lib.h5")
    (folder / "cell.h5").write_bytes((folder / "mdx_lib.h5").read_bytes())
    (folder / "cell.nxs").write_bytes((MAPS / "mdx2_geometry.nxs").read_bytes())
    # Text of variable length, which lies apart from the datasets that name it.
    with h5py.File(folder / "cell.nxs", "r+") as file:
        file.attrs["note"] = "text of a length of its own"


def _structure(path: Path, rng: random.Random) -> object:
    options: dict[str, Any] = {
        name: True for name in ("waters", "ligands", "hydrogens") if rng.random() < 0.3
    }
    if rng.random() < 0.3:
        options["conformers"] = "all"
    if rng.random() < 0.2:
        options["expand_p1"] = False
    crystal = read_crystal(path, **options)
    bodies = gather_bodies(crystal, rng.choice(("asu", "chain", "residue", "atom")))
    return find_contacts(bodies, 4.0)


def _map_reader(options: dict[str, Any]) -> Reader:
    def read(path: Path, _: random.Random) -> object:
        diffuse = read_map(path, **options)
        shape = diffuse.map_shape or (len(diffuse.q_vectors),)
        assert diffuse.intensity.shape == shape
        return repr(diffuse)

    return read


def _contact_table(path: Path, rng: random.Random) -> object:
    table = read_contact_table(path)
    return labelling(table), start_values(table, rng.choice(("gaussian", "parallel", "hybrid")))


def _text(parse: Callable[[str], object]) -> Reader:
    def read(path: Path, _: random.Random) -> object:
        return parse(path.read_bytes().decode("utf-8", "replace"))

    return read


def _space_group(text: str) -> object:
    return Crystal.from_atoms((20, 21, 22, 90, 100, 90), text, ["C"], [[0.1, 0.2, 0.3]])


def _peptide() -> Crystal:
    return read_crystal(DATA / "5zck.pdb")
