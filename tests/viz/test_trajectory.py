"""Modes as moving atoms: that they move as the mode says, and that files say the same."""

import gemmi
import numpy as np
import pytest
import torch

from crystals import made_up, simple_lattice
from onephonon import AtomLabel, FileError, InputError, OnePhonon
from onephonon.dynamics.spectra import frequencies
from onephonon.viz.trajectory.mode_trajectory import commensurate_cells, make_block, mode_pattern
from onephonon.viz.trajectory.nmd import write_nmd
from onephonon.viz.trajectory.structure_files import chain_names, write_animation

SCALE = 1.7


def model_of(spacegroup="P 1 21 1", group_by="residue", **options):
    options = {"gnm_cutoff": 6.5, "thermal_scale": SCALE} | options
    return OnePhonon(made_up(spacegroup), group_by=group_by, **options)


@pytest.fixture(autouse=True)
def no_gradients():
    with torch.no_grad():
        yield


@pytest.mark.parametrize(
    ("k", "cells"),
    [
        ((0, 0, 0), (1, 1, 1)),
        ((0.5, 0, -0.25), (2, 1, 4)),
        ((1 / 3, 0.6667, 1), (3, 3, 1)),
        ((0.1, 0.4, 0.4951), (2, 5, 2)),
    ],
)
def test_cells_after_which_a_wave_repeats(k, cells):
    assert commensurate_cells(k) == cells


def test_a_block_holds_the_structure_first():
    model = model_of("P 31 2 1")
    block = make_block(model.bodies, (2, 1, 3))
    n = model.crystal.n_atoms
    assert len(block.positions) == 6 * 6 * n
    # Through fractional coordinates and back.
    torch.testing.assert_close(block.positions[:n], model.crystal.positions, rtol=0, atol=1e-12)
    # Copies stand with their centroids in one cell, and every cell is the first one, moved.
    inverse = model.crystal.cell.inverse
    centres = block.positions.reshape(6, 6, n, 3).mean(2) @ inverse.T
    assert bool((centres[0].floor() == centres[0, 0].floor()).all())
    step = block.positions.reshape(6, 6 * n, 3) @ inverse.T
    torch.testing.assert_close(
        (step - step[0]).mean(1), block.cell.reshape(6, -1, 3)[:, 0].double(), rtol=0, atol=1e-12
    )
    assert block.box.parameters[:3] == pytest.approx((16.6, 8.3, 27.3))


@pytest.mark.parametrize("spacegroup", ["P 1", "C 1 2 1"])
def test_cells_move_alike_but_for_their_phase(spacegroup):
    k = (0.25, 0.0, -0.5)
    pattern = mode_pattern(model_of(spacegroup), k, 4, travelling=True)
    assert pattern.block.cells == (4, 1, 2)
    assert pattern.repeats
    frames = pattern.frames(8).reshape(8, 8, -1, 3)  # frame, cell, atom
    cells = pattern.block.cell.reshape(8, -1, 3)[:, 0]
    for c, cell in enumerate(cells.tolist()):
        # u(R, phi) = u(0, phi - k.R): k.R in eighths of a period.
        late = round(8 * float(np.dot(k, cell))) % 8
        expected = torch.roll(frames[:, 0], late, dims=0)
        torch.testing.assert_close(frames[:, c], expected, rtol=0, atol=1e-12)  # rounding
    assert float(frames.abs().max()) > 0.1


@pytest.mark.parametrize("travelling", [False, True])
@pytest.mark.parametrize(
    ("spacegroup", "k", "mode"),
    [
        ("P 1 21 1", (0.0, 0.25, 0.0), 0),
        ("P 1 21 1", (0.5, 0.0, 0.5), 3),
        ("P 1 21 1", (0.0, 0.0, 0.0), 5),
        ("C 1 2 1", (0.5, 0.25, 0.0), 2),
        ("C 1 2 1", (1.0, 0.0, 0.0), 1),
    ],
)
def test_a_thermal_wave_stretches_the_springs_by_half_kt(spacegroup, k, mode, travelling):
    # Spring by spring over the block: the mean over a period is half of the energy kT, which is s
    # in the springs' unit. A wrong phase between cells, or amplitude, would show.
    model = model_of(spacegroup)
    pattern = mode_pattern(model, k, mode, thermal=1.0, travelling=travelling)
    block, contacts = pattern.block, model.contacts
    size = torch.tensor(block.cells)
    n_cell = model.bodies.n_cell_atoms
    at = {
        (int(copy) * model.crystal.n_atoms + int(atom), *(shift % size).tolist()): i
        for i, (copy, atom, shift) in enumerate(
            zip(block.copy, block.atom, block.shift, strict=True)
        )
    }
    assert len(at) == n_cell * int(size.prod())
    one, other = [], []
    for cell in torch.cartesian_prod(*(torch.arange(m) for m in block.cells)).reshape(-1, 3):
        for i, j, d in zip(contacts.i.tolist(), contacts.j.tolist(), contacts.cell, strict=True):
            one.append(at[i, *(cell % size).tolist()])
            other.append(at[j, *((cell + d) % size).tolist()])
    frames = pattern.frames(16)
    stretched = (frames[:, one] - frames[:, other]).square().sum((1, 2)) / 2  # springs of 1
    assert float(stretched.mean()) == pytest.approx(SCALE / 2, rel=1e-9)  # rounding
    assert pattern.thermal == pytest.approx(1.0)


def test_modes_are_those_of_the_spectrum():
    model = model_of("C 1 2 1")
    k = torch.tensor([[0.0, 0.5, 0.0]], dtype=torch.float64)
    w, _ = frequencies(model, k)
    found = [mode_pattern(model, k[0].tolist(), i).frequency for i in range(w.shape[1])]
    assert found == pytest.approx(w[0].tolist(), rel=1e-12)


@pytest.mark.parametrize("travelling", [False, True])
def test_the_largest_displacement_is_the_one_asked_for(travelling):
    pattern = mode_pattern(model_of(), (0.3, 0.1, 0.2), 2, amplitude=0.7, travelling=travelling)
    assert not pattern.repeats
    moved = pattern.frames(720).norm(dim=2).amax()
    # Half a degree off the turning point at most.
    assert float(moved) == pytest.approx(0.7, rel=2e-5)
    assert pattern.largest == pytest.approx(0.7, rel=1e-12)


def test_a_standing_wave_starts_at_rest_and_swings_both_ways():
    frames = mode_pattern(model_of(), (0, 0.5, 0), 0).frames(8)
    assert float(frames[0].abs().max()) == 0.0
    torch.testing.assert_close(frames[2], -frames[6], rtol=0, atol=1e-14)  # rounding of sin
    assert float(frames[2].norm(dim=1).max()) == pytest.approx(1.0)


def test_the_phase_shows_as_much_as_can_be_seen_at_once():
    # Any phase is as good: the one that makes the real part of the first cell the largest.
    pattern = mode_pattern(model_of("P 1"), (0.31, 0.17, -0.23), 2)
    first = pattern.displacements[pattern.block.cell.eq(0).all(1)]
    total = (first * first).sum()
    assert abs(float(total.imag)) < 1e-12 * float(total.real)  # rounding


def test_translations_at_gamma():
    model = model_of()
    for axis in range(3):
        pattern = mode_pattern(model, (0, 0, 0), axis)
        expected = torch.eye(3, dtype=torch.float64)[axis].expand(len(pattern.displacements), 3)
        torch.testing.assert_close(pattern.displacements.real, expected, rtol=0, atol=1e-14)
        assert pattern.frequency == 0
    with pytest.raises(InputError, match="translation of the whole crystal"):
        mode_pattern(model, (0, 0, 0), 0, thermal=1.0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"mode": 28}, "modes 0 to 27"),
        ({"k_frac": (0, 0)}, "three finite"),
        ({"cells": (1, 0, 1)}, "1 or more"),
        ({"amplitude": 1.0, "thermal": 1.0}, "one of the two"),
        ({"amplitude": -1.0}, "positive"),
        ({"atoms": "some"}, "not one of"),
        ({"atoms": "ca"}, "CA or P"),
    ],
)
def test_what_cannot_be_shown(options, message):
    given = {"k_frac": (0.5, 0, 0), "mode": 0} | options
    with pytest.raises(InputError, match=message):
        mode_pattern(model_of(), **given)


def test_too_many_frames_are_refused():
    with pytest.raises(InputError, match="frames 0"):
        mode_pattern(model_of(), (0, 0, 0), 4).frames(0)


# ---- files ----------------------------------------------------------------------------------


def peptide_model(peptide, code="5zck"):
    return OnePhonon(peptide(code))


@pytest.mark.parametrize("ending", [".pdb", ".cif"])
def test_an_animation_reads_back(tmp_path, peptide, ending):
    model = peptide_model(peptide)
    pattern = mode_pattern(model, (0, 0.5, 0), 1, amplitude=0.8)
    path = tmp_path / f"wave{ending}"
    write_animation(pattern, path, 6, title="a wave")
    back = gemmi.read_structure(str(path))
    assert len(back) == 6
    a, b, c = model.crystal.cell.parameters[:3]
    assert back.cell.parameters == pytest.approx((a, 2 * b, c, 90, 90, 90), abs=1e-3)
    expected = pattern.block.positions + pattern.frames(6)
    for frame, places in zip(back, expected, strict=True):
        found = [atom.pos.tolist() for chain in frame for residue in chain for atom in residue]
        # Three decimals.
        np.testing.assert_allclose(found, places.numpy(), atol=6e-4)
    first = [(ch.name, r.name, str(r.seqid), a.name, a.element.name, a.b_iso)
             for ch in back[0] for r in ch for a in r][: model.crystal.n_atoms]  # fmt: skip
    for label, atom, B in zip(model.crystal.labels, first, model.crystal.B.tolist(), strict=True):
        names = (label.chain, label.residue_name, label.residue_number, label.atom_name)
        assert atom[:4] == names
        assert atom[5] == pytest.approx(B, abs=6e-3)  # two decimals
    # 4 copies in 2 cells, each a chain.
    assert len({chain.name for chain in back[0]}) == len(list(back[0])) == 8
    assert back.info["_struct.title"].upper() == "A WAVE"


def test_the_first_model_is_the_structure(tmp_path, peptide, data):
    write_animation(mode_pattern(peptide_model(peptide), (0, 0, 0), 3), tmp_path / "a.pdb")
    file = gemmi.read_structure(str(data / "5zck.pdb"))
    original = {a.atom.name + str(a.residue.seqid): a.atom.pos for a in file[0].all()}
    first = gemmi.read_structure(str(tmp_path / "a.pdb"))[0][0]
    for residue in first:
        for atom in residue:
            assert atom.pos.dist(original[atom.name + str(residue.seqid)]) < 1e-9


def test_a_turned_cell_is_written_in_the_usual_axes(tmp_path):
    crystal = made_up("P 1 21 1")
    rotation = torch.linalg.qr(torch.tensor([[1.0, 2, 3], [0, 1, 4], [5, 6, 0]]).double()).Q
    rotated = crystal.with_tensors(cell=rotation @ crystal.cell.matrix)
    for name, one in (("a", crystal), ("b", rotated)):
        model = OnePhonon(one, gnm_cutoff=6.5, thermal_scale=1.0)
        write_animation(mode_pattern(model, (0.5, 0, 0), 0), tmp_path / f"{name}.pdb", 1)
    first, second = ([a.atom.pos.tolist() for a in gemmi.read_structure(str(tmp_path / n))[0].all()]
                     for n in ("a.pdb", "b.pdb"))  # fmt: skip
    np.testing.assert_allclose(first, second, atol=2e-3)  # three decimals, twice


def test_chains_have_names_of_their_own():
    labels = [AtomLabel(c, "1", "ALA", "CA", "C") for c in "AB"]
    crystal = made_up("P 1 21 1", n_atoms=2).replace(labels=tuple(labels))
    model = OnePhonon(crystal, gnm_cutoff=8.0, group_by="atom", thermal_scale=1.0)
    names = chain_names(make_block(model.bodies, (5, 5, 2)))
    assert names[:3] == ["A", "B", "C"]
    assert len(set(names)) == len(names) == 2 * 2 * 50
    assert {len(name) for name in names} == {1, 2}


def test_too_many_chains_for_pdb(tmp_path):
    model = OnePhonon(simple_lattice(), gnm_cutoff=4.1, thermal_scale=1.0)
    pattern = mode_pattern(model, (0.5, 0, 0), 0, cells=(16, 16, 16))
    with pytest.raises(FileError, match=r"4096 chains.*\.cif"):
        write_animation(pattern, tmp_path / "a.pdb", 1)
    with pytest.raises(FileError, match=r"\.pdb or \.cif"):
        write_animation(pattern, tmp_path / "a.xyz", 1)


def parse_nmd(text):
    """The format as its documentation has it."""
    held, modes = {}, []
    for line in text.splitlines():
        key, *values = line.split()
        if key == "mode":
            numbers = np.array([float(x) for x in values])
            modes.append((int(numbers[0]), numbers[1], numbers[2:]))
        else:
            held[key] = values
    return held, modes


def test_nmd_reads_back(tmp_path, peptide):
    model = peptide_model(peptide)
    patterns = [mode_pattern(model, (0, 0, 0.5), i, atoms="backbone") for i in (0, 2)]
    write_nmd(patterns, tmp_path / "modes.nmd", title="two modes")
    held, modes = parse_nmd((tmp_path / "modes.nmd").read_text())
    block = patterns[0].block
    n = len(block.positions)
    assert n == 2 * 4 * sum(x.atom_name in ("N", "CA", "C", "O") for x in model.crystal.labels)
    assert held["name"] == ["two_modes"]
    for key in ("atomnames", "resnames", "resids", "chainids", "bfactors"):
        assert len(held[key]) == n
    assert set(held["atomnames"]) == {"N", "CA", "C", "O"}
    assert all(len(name) == 1 for name in held["chainids"])
    found = np.array(held["coordinates"], dtype=float).reshape(-1, 3)
    np.testing.assert_allclose(found, block.positions.numpy(), atol=6e-4)  # three decimals
    for number, ((label, size, vector), pattern) in enumerate(
        zip(modes, patterns, strict=True), start=1
    ):
        assert label == number
        assert np.linalg.norm(vector) == pytest.approx(1.0, abs=1e-4)
        # Six decimals of a vector times its size, near 10 Å.
        np.testing.assert_allclose(
            size * vector.reshape(-1, 3), pattern.displacements.real.numpy(), atol=1e-5
        )


def test_nmd_refusals(tmp_path, peptide):
    model = peptide_model(peptide)
    one = mode_pattern(model, (0, 0, 0), 3)
    other = mode_pattern(model, (0, 0, 0.5), 3)
    with pytest.raises(InputError, match="different blocks"):
        write_nmd([one, other], tmp_path / "a.nmd")
    with pytest.raises(FileError, match=r"\.nmd"):
        write_nmd([one], tmp_path / "a.txt")
    write_nmd([one], tmp_path / "a.nmd")
    with pytest.raises(FileError, match="--force"):
        write_nmd([one], tmp_path / "a.nmd")


def test_chains_without_room_for_their_names(tmp_path):
    """Names such as A#2 and PROA are not those of a PDB file; atoms named alike keep their name."""
    labels = [
        AtomLabel(chain, "1", "ALA", name, "C")
        for chain in ("PROA", "PROA#2")
        for name in ("CA", "CA#2", "CB")
    ]
    crystal = made_up("P 1", n_atoms=6).replace(labels=tuple(labels))
    model = OnePhonon(crystal, gnm_cutoff=8.0, thermal_scale=SCALE)
    pattern = mode_pattern(model.lattice, (0, 0, 0.5), 3)
    for ending, names in ((".pdb", ["A", "B"]), (".cif", ["PROA", "A"])):
        path = tmp_path / f"wave{ending}"
        write_animation(pattern, path, 2)
        model = gemmi.read_structure(str(path))[0]
        assert [chain.name for chain in model][:2] == names
        assert [atom.name for atom in model[0][0]] == ["CA", "CA", "CB"]
