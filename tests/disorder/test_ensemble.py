"""Ensembles of models and of conformers, against averages over every combination of states."""

import itertools

import pytest
import torch
from torch.autograd import gradcheck

from crystals import made_up, split
from onephonon.core.errors import InputError
from onephonon.disorder import (
    Disorder,
    Ensemble,
    Rigid,
    ensemble_of_conformers,
    ensemble_of_models,
    read_ensemble,
)
from onephonon.network.bodies import gather_bodies
from onephonon.scattering.amplitudes.direct import structure_factor
from onephonon.scattering.points import list_points
from peptide_files import CRYST1, atom_records, pdb_text

#: Two float64 sums of some hundred terms, which partly cancel.
ROUNDING = 1e-12


def random(*shape, seed=0, size=1.0):
    generator = torch.Generator().manual_seed(seed)
    return size * torch.randn(*shape, dtype=torch.float64, generator=generator)


def models_of(crystal, n=3, size=0.4):
    """The crystal with its atoms displaced at random, and B-factors that differ."""
    return [
        crystal.with_tensors(
            positions=crystal.positions + random(*crystal.positions.shape, seed=i, size=size),
            B=crystal.B * (1 + 0.1 * i),
        )
        for i in range(n)
    ]


def copies(crystal):
    """Each copy of the asymmetric unit as a crystal of its own."""
    for rotation, translation in zip(crystal.rotations, crystal.translations, strict=True):
        yield crystal.replace(rotations=rotation[None], translations=translation[None])


def amplitude(crystal, q):
    bodies = gather_bodies(crystal)
    return structure_factor(bodies, q, bodies.U)


def variance(F, p):
    """<|F|^2> - |<F>|^2 of amplitudes (n_states, n_q)."""
    p = torch.as_tensor(p, dtype=torch.float64)[:, None]
    return (p * F.abs().square()).sum(0) - (p * F).sum(0).abs().square()


@pytest.mark.parametrize("p", [None, [0.5, 0.3, 0.2]])
def test_models(p):
    models = models_of(made_up("P 1 21 1"))
    points = list_points(models[0].cell, random(6, 3, seed=9, size=1.5))
    bodies = gather_bodies(models[0])
    probability = None if p is None else torch.tensor(p, dtype=torch.float64)
    weights = [1 / 3] * 3 if p is None else p
    one = ensemble_of_models(models, probability)
    found = one.intensity(bodies, points, bodies.U, None)
    each = [[amplitude(copy, points.q) for copy in copies(m)] for m in models]
    # Every combination of the states of both copies, with the product of their probabilities.
    F = torch.stack([a[0] + b[1] for a, b in itertools.product(each, each)])
    both = [a * b for a, b in itertools.product(weights, weights)]
    torch.testing.assert_close(found, variance(F, both), rtol=ROUNDING, atol=ROUNDING)
    whole = ensemble_of_models(models, probability, coherent="cell")
    found = whole.intensity(bodies, points, bodies.U, None)
    F = torch.stack([amplitude(m, points.q) for m in models])
    torch.testing.assert_close(found, variance(F, weights), rtol=ROUNDING, atol=ROUNDING)


def with_alternatives(p=0.6):
    """Atoms 1 and 3, of two residues, each in two conformers at different places."""
    crystal = split(made_up("P 1", n_atoms=4), [("A", p), ("B", round(1 - p, 3))], which=(1, 3))
    return crystal.with_tensors(
        positions=crystal.positions + random(*crystal.positions.shape, seed=5, size=0.3)
    )


def chosen(crystal, letters):
    """The crystal with one letter in each of its two residues that have some, whole."""
    residues = list(dict.fromkeys(x.residue_id for x in crystal.labels if x.altloc))
    letter = dict(zip(residues, letters, strict=True))
    keep = [not x.altloc or x.altloc == letter[x.residue_id] for x in crystal.labels]
    part = crystal.select(keep)
    return part.with_tensors(occupancies=torch.ones_like(part.occupancies))


@pytest.mark.parametrize(
    ("conformers", "probabilities"),
    [
        ("independent", {"AA": 0.36, "AB": 0.24, "BA": 0.24, "BB": 0.16}),
        ("letter", {"AA": 0.6, "BB": 0.4}),
    ],
)
def test_conformers(conformers, probabilities):
    crystal = with_alternatives()
    points = list_points(crystal.cell, random(6, 3, seed=9, size=1.5))
    bodies = gather_bodies(crystal)
    ensemble = ensemble_of_conformers(crystal, conformers=conformers)
    found = ensemble.intensity(bodies, points, bodies.U, None)
    F = torch.stack([amplitude(chosen(crystal, x), points.q) for x in probabilities])
    wanted = variance(F, list(probabilities.values()))
    assert wanted.min() > 0.1  # not zero by chance
    torch.testing.assert_close(found, wanted, rtol=ROUNDING, atol=ROUNDING)
    # The mean of the states is the crystal as it was read.
    mean = sum(p * amplitude(chosen(crystal, x), points.q) for x, p in probabilities.items())
    torch.testing.assert_close(mean, amplitude(crystal, points.q), rtol=ROUNDING, atol=ROUNDING)


def test_letters_go_together_as_far_as_occupancies_allow():
    crystal = with_alternatives()
    lettered = [i for i, x in enumerate(crystal.labels) if x.altloc]
    occupancies = crystal.occupancies.clone()
    occupancies[lettered] = torch.tensor([0.6, 0.4, 0.3, 0.5], dtype=torch.float64)
    crystal = crystal.with_tensors(occupancies=occupancies)
    ensemble = ensemble_of_conformers(crystal, conformers="letter")
    # A with A; A with B; B with B; B with none.
    wanted = torch.tensor([0.3, 0.3, 0.2, 0.2], dtype=torch.float64)
    torch.testing.assert_close(ensemble.probability, wanted)
    assert len(set(ensemble.group)) == 1
    F = [ensemble.crystal.select([s == i for s in ensemble.state]) for i in range(4)]
    assert [x.n_atoms for x in F] == [2, 2, 2, 1]
    q = random(3, 3, seed=2)
    mean = sum(p * amplitude(x, q) for p, x in zip(wanted, F, strict=True))
    part = crystal.select([bool(x.altloc) for x in crystal.labels])
    torch.testing.assert_close(mean, amplitude(part, q), rtol=ROUNDING, atol=ROUNDING)


def test_file_of_models(tmp_path):
    path = tmp_path / "models.pdb"
    first = atom_records()
    second = [x[:30] + f"{float(x[30:38]) + 0.5:8.3f}" + x[38:] for x in first]
    lines = [CRYST1]
    for i, atoms in enumerate((first, second)):
        lines += [f"MODEL     {i + 1:4d}", *atoms, "ENDMDL"]
    path.write_text("\n".join([*lines, "END", ""]))
    ensemble = read_ensemble(path, coherent="cell")
    assert ensemble.text == f"ensemble:file={path},coherent=cell"
    bodies = gather_bodies(ensemble.crystal.select([s == 0 for s in ensemble.state]))
    q = torch.tensor([[1.3, 0.0, 0.0]], dtype=torch.float64)
    # One copy in the cell is displaced along x, the other along -x: F = F1 e^ix + F2 e^-ix.
    points = list_points(bodies.crystal.cell, q)
    found = ensemble.intensity(bodies, points, bodies.U, None)
    F1, F2 = (amplitude(x, q) for x in copies(bodies.crystal))
    turn = torch.exp(torch.tensor(0.5j * 1.3, dtype=torch.complex128))
    F = torch.stack([F1 + F2, F1 * turn + F2 / turn])
    torch.testing.assert_close(found, variance(F, [0.5, 0.5]), rtol=1e-9, atol=0)

    path.write_text(pdb_text())
    with pytest.raises(InputError, match="needs two models or more, and the file holds 1"):
        read_ensemble(path)


def test_ensemble_beside_other_components():
    models = models_of(made_up("P 1 21 1"))
    bodies = gather_bodies(models[0])
    points = list_points(models[0].cell, random(4, 3, seed=9))
    ensemble, rigid = ensemble_of_models(models), Rigid(sigma=0.2)
    both = Disorder((ensemble, rigid)).intensity(bodies, points, None)
    parts = [c.intensity(bodies, points, bodies.U, None) for c in (ensemble, rigid)]
    torch.testing.assert_close(both, sum(parts), rtol=ROUNDING, atol=0)
    assert float(Disorder((ensemble,)).accounts(bodies).B) == 0.0


def test_gradients():
    models = models_of(made_up("P 1", n_atoms=3))
    bodies, q = gather_bodies(models[0]), random(2, 3, seed=9)
    ensemble = ensemble_of_models(models)

    def intensity(probability, positions, B, q):
        crystal = ensemble.crystal.with_tensors(positions=positions, B=B)
        changed = Ensemble(crystal, ensemble.state, ensemble.group, probability)
        return changed.intensity(bodies, list_points(crystal.cell, q), bodies.U, None)

    every = ensemble.crystal
    inputs = [0.9 * ensemble.probability, every.positions, every.B, q]
    inputs = [x.detach().clone().requires_grad_() for x in inputs]
    # Central differences of numbers of order one to a hundred.
    assert gradcheck(intensity, inputs, eps=1e-6, atol=1e-5, rtol=1e-5)


def test_what_cannot_be():
    crystal = made_up("P 1")
    with pytest.raises(InputError, match="no alternative conformers; read it with"):
        ensemble_of_conformers(crystal)
    with pytest.raises(InputError, match="'both' is not one of independent, letter"):
        ensemble_of_conformers(with_alternatives(), conformers="both")
    with pytest.raises(InputError, match="model 2 has 3 atoms, model 1 has 5"):
        ensemble_of_models([crystal, made_up("P 1", n_atoms=3)])
    other = crystal.replace(labels=crystal.labels[::-1])
    with pytest.raises(InputError, match="model 2 has B/UNK 4/C4 where model 1 has A/UNK 1/C0"):
        ensemble_of_models([crystal, other])
    with pytest.raises(InputError, match=r"add up to 1\.2"):
        ensemble_of_models([crystal] * 2, torch.tensor([0.6, 0.6]))
    with pytest.raises(InputError, match="'all' is not one of asu, cell"):
        ensemble_of_models([crystal] * 2, coherent="all")
    with pytest.raises(InputError, match=r"'ensemble' has no parameter 'share'; it has none"):
        ensemble_of_models([crystal] * 2).with_parameters({"share": torch.tensor(1.0)})
