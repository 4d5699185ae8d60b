"""Scenes for ChimeraX and PyMOL: real coordinates, right lengths, and files that parse."""

from __future__ import annotations

import ast
import re
import xml.etree.ElementTree as ET
from pathlib import Path
from types import ModuleType, SimpleNamespace

import gemmi
import numpy as np
import pytest
import torch

from commands import run_command
from onephonon import FileError, InputError, OnePhonon, SpringPlan
from onephonon.dynamics.joint import joint_displacements
from onephonon.dynamics.tls import model_tls
from onephonon.viz.scenes import FILES, write_scenes
from onephonon.viz.scenes.layers import MAGNIFIED, joint_layer, motion_layer, spring_layers
from onephonon.viz.scenes.neighbours import find_neighbours
from onephonon.viz.scenes.palette import STOPS, graded
from structures import DATA

NUMBER = r"-?\d+\.\d{3}"

#: The lines of BILD that are used.
BILD = re.compile(
    rf"\.comment .+|\.color(?: [01]\.\d{{3}}){{3}}|\.cylinder(?: {NUMBER}){{6}} \d+\.\d{{3}}"
)

#: Commands of ChimeraX and PyMOL that are used, with what follows.
CHIMERAX = re.compile(
    r"open [\w.]+ id \d+|hide #\d+ (atoms|models)|cartoon #1|color #1 lightgray|view|#.*"
    r"|label #1/\w+:-?\w+ residues text \"[^\"\n]*\" height 3"
)
PYMOL = re.compile(
    r"load [\w.]+, molecules|hide (everything|nonbonded), \w+|show cartoon, molecules"
    r"|show sticks, molecules and not polymer|color grey80, molecules|run [\w.]+|disable \w+"
    rf"|pseudoatom \w+, pos=\[{NUMBER}, {NUMBER}, {NUMBER}\], label=\"[^\"\n]*\""
    r"|orient molecules|#.*"
)


@pytest.fixture(scope="module")
def model() -> OnePhonon:
    with torch.no_grad():
        return OnePhonon(DATA / "5zck.pdb")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, model: OnePhonon) -> Path:
    found = tmp_path_factory.mktemp("scenes")
    with torch.no_grad():
        joint = joint_displacements(model)
    write_scenes(model, found, joint, title='A "title"\nof two lines')
    return found


def rods_of(path: Path) -> list[tuple[np.ndarray, np.ndarray]]:
    """Ends of all cylinders of a BILD file, or of all links of a marker file."""
    if path.suffix == ".bild":
        rows = [line.split()[1:7] for line in path.read_text().splitlines() if "cylinder" in line]
        ends = np.array(rows, dtype=float)
        return [(row[:3], row[3:]) for row in ends]
    root = ET.parse(path).getroot()
    at = {m.get("id"): np.array([float(m.get(x)) for x in "xyz"]) for m in root.iter("marker")}
    return [(at[link.get("id1")], at[link.get("id2")]) for link in root.iter("link")]


def positions(chain: gemmi.Chain) -> np.ndarray:
    return np.array([atom.pos.tolist() for residue in chain for atom in residue])


def test_the_molecule_stands_where_it_does_in_its_file(folder: Path, model: OnePhonon) -> None:
    shown = gemmi.read_structure(str(folder / "molecules.cif"))[0]
    file = gemmi.read_structure(str(DATA / "5zck.pdb"))
    atoms = {
        (residue.seqid.num, atom.name): atom.pos.tolist()
        for residue in file[0][0].get_polymer()
        for atom in residue
        if atom.element.name != "H" and atom.altloc in ("\0", "A")
    }
    first = shown[0]
    assert first.name == file[0][0].name
    found = {(r.seqid.num, a.name): a.pos.tolist() for r in first for a in r}
    assert len(found) == model.crystal.n_atoms
    for key, place in found.items():
        np.testing.assert_allclose(place, atoms[key], atol=5.01e-4)  # three decimals
    # Neighbours are copies by the operators that the command file names.
    pml = (folder / "view.pml").read_text(encoding="utf-8")
    named = dict(re.findall(r"# chain (\w+): (\S+)", pml))
    assert set(named) == {chain.name for chain in shown}
    assert named[first.name] == "x,y,z"
    cell = file.cell
    for chain in shown:
        op = gemmi.Op(named[chain.name])
        moved = [
            cell.orthogonalize(
                gemmi.Fractional(*op.apply_to_xyz(cell.fractionalize(gemmi.Position(*p)).tolist()))
            ).tolist()
            for p in positions(first)
        ]
        # Three decimals, of the first and of the copy.
        np.testing.assert_allclose(positions(chain), moved, atol=2e-3)


def test_springs_join_real_atoms(folder: Path, model: OnePhonon) -> None:
    shown = gemmi.read_structure(str(folder / "molecules.cif"))[0]
    own = positions(shown[0])
    others = np.concatenate([positions(chain) for chain in list(shown)[1:]])
    rods = rods_of(folder / "springs.cmm")
    contacts = model.contacts
    # Each contact of two copies is seen from copy 1 as often as an end of it is there.
    copy, between = model.bodies.copy, ~contacts.same_copy
    ends = (copy[contacts.i] == 0).long() + (copy[contacts.j] == 0).long()
    assert len(rods) == int(ends[between].sum())
    for start, end in rods:
        near, far = np.linalg.norm(own - start, axis=1), np.linalg.norm(others - end, axis=1)
        if near.min() > 1e-3:  # a link has no direction
            start, end = end, start
            near, far = np.linalg.norm(own - start, axis=1), np.linalg.norm(others - end, axis=1)
        assert near.min() < 2e-3  # three decimals
        assert far.min() < 2e-3
        assert np.linalg.norm(start - end) < model.gnm_cutoff + 2e-3


def test_stiff_springs_are_bright_and_thick(model: OnePhonon) -> None:
    plan = SpringPlan(by="interface")
    with torch.no_grad():
        other = OnePhonon(DATA / "5zck.pdb", springs=plan)
        # The stiffest are within the molecule, which is rigid: they are not shown.
        names = other.springs.names
        values = [99.0 if name == "within" else 1.0 + 3.0 * n for n, name in enumerate(names)]
        values = torch.tensor(values).double()[:, None]
        other.springs.set_values(values)
        (layer,) = spring_layers(other.lattice)
        (alike,) = spring_layers(model.lattice)
        k = {name: float(v) for name, v in zip(other.springs.names, values, strict=True)}
        scale = float(other.thermal_scale)
    thick, thin = max(rod.radius for rod in layer.rods), min(rod.radius for rod in layer.rods)
    assert {rod.colour for rod in layer.rods if rod.radius == thick} == {graded(1.0)}
    assert {rod.colour for rod in layer.rods if rod.radius == thin} == {graded(0.0)}
    assert len({rod.colour for rod in layer.rods}) == len(k) - 1  # none within the copy
    between = [v / scale for name, v in k.items() if name != "within"]
    assert f"{min(between):.3g} (dark" in layer.about
    assert f"{max(between):.3g} kT/A^2 (bright" in layer.about
    assert len({rod.radius for rod in alike.rods}) == 1
    assert "all 0.5" in alike.about  # 1/s, s = 1.86


def test_colours_of_the_scale() -> None:
    assert graded(0.0) == STOPS[0]
    assert graded(1.0) == pytest.approx(STOPS[-1])
    assert graded(0.5) == pytest.approx(STOPS[2])
    assert graded(-3.0) == STOPS[0]


def test_axes_are_as_long_as_the_motion(folder: Path, model: OnePhonon) -> None:
    with torch.no_grad():
        tls = model_tls(model)
        layer = motion_layer(tls, model.bodies)
        about = tls.about_reaction_centre()
        joint = joint_displacements(model)
        near = find_neighbours(model.lattice)
        shared = joint_layer(near, joint.molecules)
    rods = rods_of(folder / "motion.bild")
    assert len(rods) == len(layer.rods) == 6
    gyration = float(model.bodies.offsets[: model.crystal.n_atoms].square().sum(1).mean().sqrt())
    T = MAGNIFIED * torch.linalg.eigvalsh(about.T[0]).sqrt()
    L = MAGNIFIED * gyration * torch.linalg.eigvalsh(about.L[0]).sqrt()
    half = [0.5 * float(np.linalg.norm(b - a)) for a, b in rods]
    assert half == pytest.approx([*T.tolist(), *L.tolist()], abs=2e-3)  # three decimals
    for a, b in rods:
        np.testing.assert_allclose(0.5 * (a + b), about.origin[0].numpy(), atol=1e-3)
    # Joint displacements, in the order of the neighbours.
    rows = [joint.molecules.operators.operator.index(o) for o in near.operators]
    U = joint.molecules.symmetric_U[rows]
    expected = MAGNIFIED * torch.linalg.eigvalsh(U).abs().sqrt()
    half = [0.5 * float(np.linalg.norm(rod.end - rod.start)) for rod in shared.rods]
    assert half == pytest.approx(expected.flatten().tolist(), rel=1e-9)
    assert [tag.text for tag in shared.tags] == [
        f"{joint.molecules.correlation[n]:.2f}" for n in rows
    ]


def test_markers_are_xml(folder: Path) -> None:
    root = ET.parse(folder / "springs.cmm").getroot()
    assert (root.tag, root.get("name")) == ("marker_set", "springs")
    ids = [marker.get("id") for marker in root.iter("marker")]
    assert len(set(ids)) == len(ids) > 10
    links = list(root.iter("link"))
    for link in links:
        assert {link.get("id1"), link.get("id2")} <= set(ids)
        assert link.get("id1") != link.get("id2")
    for element in (*root.iter("marker"), *links):
        assert all(0 <= float(element.get(x)) <= 1 for x in "rgb")
        assert 0 < float(element.get("radius")) < 1


@pytest.mark.parametrize("name", ["interfaces.bild", "motion.bild", "joint.bild"])
def test_bild_lines(folder: Path, name: str) -> None:
    text = (folder / name).read_text(encoding="ascii")
    for line in text.splitlines():
        assert BILD.fullmatch(line), line
    assert text.count(".cylinder") >= 6


def test_chimerax_commands(folder: Path) -> None:
    shown = gemmi.read_structure(str(folder / "molecules.cif"))[0]
    text = (folder / "view.cxc").read_text(encoding="utf-8")
    for line in text.splitlines():
        assert CHIMERAX.fullmatch(line), line
    opened = re.findall(r"open (\S+) id (\d+)", text)
    assert [int(n) for _, n in opened] == list(range(1, len(opened) + 1))
    assert {name for name, _ in opened} == {
        path.name for path in folder.iterdir() if path.suffix in (".cif", ".cmm", ".bild")
    }
    labels = re.findall(r"#1/(\w+):(\S+) residues text \"(\S+)\"", text)
    assert len(labels) == len(shown) - 1
    for chain, number, operator in labels:
        assert number in {str(residue.seqid) for residue in shown[chain]}
        assert gemmi.Op(operator).triplet() == operator


def test_pymol_commands(folder: Path) -> None:
    text = (folder / "view.pml").read_text(encoding="utf-8")
    for line in text.splitlines():
        assert PYMOL.fullmatch(line), line
    for name in re.findall(r"(?:load|run) ([\w.]+)", text):
        assert (folder / name).is_file()
    script = (folder / "view_shapes.py").read_text(encoding="utf-8")
    made: dict[str, list[float]] = {}
    pymol = ModuleType("pymol")
    pymol.cgo = SimpleNamespace(CYLINDER=9.0)  # type: ignore[attr-defined]
    pymol.cmd = SimpleNamespace(load_cgo=lambda shape, name: made.update({name: shape}))  # type: ignore[attr-defined]
    names = {alias.name for node in ast.walk(ast.parse(script)) if isinstance(node, ast.ImportFrom)
             for alias in node.names}  # fmt: skip
    assert names == {"cgo", "cmd"}
    body = script.replace("from pymol import cgo, cmd", "")
    exec(compile(body, "view_shapes.py", "exec"), {"cgo": pymol.cgo, "cmd": pymol.cmd})
    assert list(made) == ["springs", "interfaces", "motion", "joint"]
    for name, shape in made.items():
        rows = np.array(shape).reshape(-1, 14)  # code, two ends, radius, two colours
        assert (rows[:, 0] == 9.0).all()
        path = next(folder.glob(f"{name}.*"))
        expected = np.array([np.concatenate(ends) for ends in rods_of(path)])
        # Links of markers have no direction, and one marker stands for equal ends.
        assert len(rows) == len(expected)
        if path.suffix == ".bild":
            np.testing.assert_allclose(rows[:, 1:7], expected, atol=1e-9)


def test_several_bodies_and_files_in_the_way(tmp_path: Path) -> None:
    run_command("displacements", DATA / "2ol9.pdb", "--group-by", "residue", "--within", 6, "-q",
                "--scenes", "-o", tmp_path)  # fmt: skip
    assert {path.name for path in tmp_path.iterdir()} >= set(FILES)
    text = (tmp_path / "view.pml").read_text(encoding="utf-8")
    assert "disable springs_within" in text
    assert 'label="A/ASN 2"' in text
    # Six bodies, each with a springs to the next at least; none within a body.
    with torch.no_grad():
        bodies = OnePhonon(DATA / "2ol9.pdb", group_by="residue").bodies
    place = {
        tuple(np.round(p, 3)): int(b)
        for p, b in zip(bodies.positions.numpy(), bodies.body, strict=True)
    }
    joined = [
        tuple(place[tuple(np.round(x, 3))] for x in rod)
        for rod in rods_of(tmp_path / "springs_within.cmm")
    ]
    assert all(a != b for a, b in joined)
    assert len({b for pair in joined for b in pair}) == 6
    with pytest.raises(FileError, match="--force"):
        run_command("displacements", DATA / "2ol9.pdb", "--scenes", "-o", tmp_path)


def test_scenes_need_a_folder() -> None:
    with pytest.raises(InputError, match="--scenes writes files into a folder"):
        run_command("displacements", DATA / "2ol9.pdb", "--scenes")
