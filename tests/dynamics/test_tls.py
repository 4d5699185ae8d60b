"""T, L and S: of bodies that librate in known ways, of the model, and fitted to displacements."""

import numpy as np
import pytest
import torch

from crystals import made_up
from onephonon import OnePhonon
from onephonon.crystal.crystal import mean_square
from onephonon.dynamics.tls import (
    TLS,
    b_factors_by_tls,
    cross_matrix,
    fit_tls,
    model_tls,
    principal_rms,
)
from onephonon.network.bodies import gather_bodies


@pytest.fixture(autouse=True)
def no_gradients():
    with torch.no_grad():
        yield


def random_covariance(seed=0):
    """A covariance of (t, l) with correlations: t of 0.3 Å, l of 0.05 rad."""
    rng = np.random.default_rng(seed)
    root = rng.normal(size=(6, 8)) * np.array([0.3] * 3 + [0.05] * 3)[:, None]
    return torch.as_tensor(root @ root.T / 8)


def tls_of(C, origin):
    return TLS(C[None, :3, :3], C[None, 3:, 3:], C[None, 3:, :3], origin[None])


def rigid(crystal):
    return gather_bodies(crystal, "asu")


def displaced(C, offsets):
    """U by the definition: covariances of t + l x rho."""
    A = torch.cat([torch.eye(3).double().expand(len(offsets), 3, 3), -cross_matrix(offsets)], 2)
    return A @ C @ A.mT


def test_libration_about_an_axis():
    # Turning about z by 0.1 rad rms moves an atom 2 Å along x by 0.2 Å along y; a correlated
    # slide along z of 0.05 Å per 0.1 rad makes it a screw.
    L, T, S = (torch.zeros(1, 3, 3).double() for _ in range(3))
    L[0, 2, 2], T[0, 2, 2], S[0, 2, 2] = 0.01, 0.0025, 0.005
    tls = TLS(T, L, S, torch.zeros(1, 3).double())
    U = tls.displacements(torch.tensor([[2.0, 0, 0]]).double(), torch.zeros(1).long())[0]
    expected = torch.as_tensor(np.array([[0, 0, 0], [0, 0.04, 0.01], [0, 0.01, 0.0025]]))
    torch.testing.assert_close(U, expected, rtol=0, atol=1e-15)  # a few products


def test_displacements_are_those_of_the_covariance():
    offsets = torch.as_tensor(np.random.default_rng(1).normal(size=(7, 3))) * 4
    C, origin = random_covariance(), torch.tensor([1.0, -2.0, 3.0]).double()
    ours = tls_of(C, origin).displacements(origin + offsets, torch.zeros(7).long())
    torch.testing.assert_close(ours, displaced(C, offsets), rtol=0, atol=1e-15)  # a few products


@pytest.mark.parametrize("seed", range(3))
def test_a_rigid_body_is_recovered(seed):
    bodies = rigid(made_up("P 1", n_atoms=9, seed=seed))
    C = random_covariance(seed)
    fitted = fit_tls(bodies, displaced(C, bodies.offsets[:9]))
    assert fitted.n_determined.tolist() == [20]
    assert "trace of S" in fitted.undetermined()
    assert float(fitted.residual[0]) < 1e-14
    truth = tls_of(C, bodies.centroids[0])
    # Condition of the fit, near 1e3, times rounding.
    for name in ("T", "L", "origin"):
        ours, theirs = getattr(fitted.tls, name), getattr(truth, name)
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-12)
    torch.testing.assert_close(fitted.tls.S, truth.traceless_S(), rtol=0, atol=1e-12)


@pytest.mark.parametrize("group_by", ["asu", "residue", "atom"])
def test_the_models_tensors_give_its_displacements(group_by):
    model = OnePhonon(made_up("P 1 21 1"), *[(0, 1, 2)] * 3, gnm_cutoff=6.5, group_by=group_by)
    tls = model_tls(model)
    n = model.crystal.n_atoms
    U = tls.displacements(model.bodies.positions[:n], model.bodies.body[:n])
    # The windows of the zone average for C(R) and for U alone differ by 1e-10 of them.
    torch.testing.assert_close(U, model.U, rtol=0, atol=1e-11)
    if group_by == "atom":
        torch.testing.assert_close(tls.T, model.U, rtol=0, atol=1e-11)
        assert float(tls.L.abs().max()) == float(tls.S.abs().max()) == 0
    else:
        assert float(torch.linalg.eigvalsh(tls.L).min()) > -1e-15  # a line has one zero


def test_bodies_on_a_line_have_no_libration_about_it():
    crystal = made_up("P 1", n_atoms=4)
    model = OnePhonon(crystal, *[(0, 1, 2)] * 3, gnm_cutoff=6.5, group_by=[0, 0, 1, 1])
    tls = model_tls(model)
    along = crystal.positions[1] - crystal.positions[0]
    # Products of lengths of Å; L is 1e-2.
    assert float((tls.L[0] @ along).abs().max()) < 1e-14
    assert float((along @ tls.S[0]).abs().max()) < 1e-14
    assert float(tls.L[0].diagonal().sum()) > 1e-4


def test_the_origin_does_not_matter():
    C = random_covariance()
    tls = tls_of(C, torch.zeros(3).double())
    place = torch.as_tensor(np.random.default_rng(3).normal(size=(6, 3))) * 5
    body = torch.zeros(6).long()
    U = tls.displacements(place, body)
    there = torch.tensor([[4.0, -7.0, 2.5]]).double()
    moved = tls.about(there)
    # Moved by t' = t + l x (there - origin), so by A C A^T too.
    A = torch.eye(6).double()
    A[:3, 3:] = -cross_matrix(there[0])
    expected = tls_of(A @ C @ A.T, there[0])
    for name in ("T", "L", "S"):
        # Sums of products of 0.1 Å^2.
        theirs = getattr(expected, name)
        torch.testing.assert_close(getattr(moved, name), theirs, rtol=0, atol=1e-14)
    torch.testing.assert_close(moved.displacements(place, body), U, rtol=0, atol=1e-13)
    torch.testing.assert_close(moved.about(tls.origin).T, tls.T, rtol=0, atol=1e-14)


def test_the_centre_of_reaction():
    C = random_covariance(5)
    found = []
    for start in ([0.0, 0, 0], [8.0, -3.0, 5.0]):
        begun = tls_of(C, torch.zeros(3).double()).about(torch.tensor([start]).double())
        centre = begun.about_reaction_centre()
        found.append(centre.origin)
        torch.testing.assert_close(centre.S, centre.S.mT, rtol=0, atol=1e-14)  # rounding
        least = float(centre.T[0].diagonal().sum())
        for step in torch.eye(3).double():
            for sign in (1.0, -1.0):
                other = centre.about(centre.origin + 0.3 * sign * step)
                assert float(other.T[0].diagonal().sum()) > least
    # The same point from everywhere: distances of 10 Å, solved with tr(L) - L.
    torch.testing.assert_close(found[0], found[1], rtol=0, atol=1e-11)


def test_a_body_that_does_not_librate_keeps_its_origin():
    C = random_covariance()
    C[3:] = 0
    C[:, 3:] = 0
    tls = tls_of(C, torch.ones(3).double())
    assert torch.equal(tls.about_reaction_centre().origin, tls.origin)


def test_b_factors_alone_determine_ten_parameters():
    crystal = made_up("P 1", n_atoms=14)
    bodies = rigid(crystal)
    C = random_covariance(2)
    B = mean_square(displaced(C, bodies.offsets[:14]))
    fitted = fit_tls(bodies, B[:, None, None] * torch.eye(3).double())
    assert fitted.n_determined.tolist() == [10]
    assert "anisotropy of T" in fitted.undetermined()
    truth = tls_of(C, bodies.centroids[0])
    # Determined are L, the trace of T and the skew part of S; condition 1e3 times rounding.
    close = {"rtol": 0, "atol": 1e-12}
    torch.testing.assert_close(fitted.tls.L, truth.L, **close)
    torch.testing.assert_close(mean_square(fitted.tls.T), mean_square(truth.T), **close)
    skew = truth.S - truth.S.mT
    torch.testing.assert_close(2 * fitted.tls.S, skew, **close)
    U = fitted.tls.displacements(bodies.positions[:14], bodies.body[:14])
    torch.testing.assert_close(mean_square(U), B, **close)


def test_one_anisotropic_atom_among_others_is_used():
    crystal = made_up("P 1", n_atoms=14)
    bodies = rigid(crystal)
    full = displaced(random_covariance(2), bodies.offsets[:14])
    U = mean_square(full)[:, None, None] * torch.eye(3).double()
    U[4] = full[4]
    fitted = fit_tls(bodies, U)
    assert 10 < int(fitted.n_determined[0]) < 20
    assert "of 21 parameters" in fitted.undetermined()
    found = fitted.tls.displacements(bodies.positions[:14], bodies.body[:14])
    torch.testing.assert_close(found[4], full[4], rtol=0, atol=1e-12)


def test_least_squares_is_the_least():
    # Noise of 1e-2 Å^2 on every element: no small change of the tensors fits better.
    bodies = rigid(made_up("P 1", n_atoms=8))
    noise = torch.as_tensor(np.random.default_rng(0).normal(size=(8, 3, 3))) * 1e-2
    U = displaced(random_covariance(), bodies.offsets[:8]) + noise + noise.mT
    fitted = fit_tls(bodies, U)

    def misfit(tls):
        shown = tls.displacements(bodies.positions[:8], bodies.body[:8])
        return float((shown - U).square().mean().sqrt())

    least = misfit(fitted.tls)
    assert float(fitted.residual[0]) == pytest.approx(least, rel=1e-9)
    t = fitted.tls
    for i in range(3):
        for j in range(3):
            step = torch.zeros(1, 3, 3).double()
            step[0, i, j] = 1e-5
            assert misfit(TLS(t.T + step + step.mT, t.L, t.S, t.origin)) > least
            assert misfit(TLS(t.T, t.L + step + step.mT, t.S, t.origin)) > least
            if i != j:
                assert misfit(TLS(t.T, t.L, t.S + step, t.origin)) > least


def test_b_factors_of_the_file_by_tls(peptide):
    model = OnePhonon(peptide("2ol9"), *[(0, 1, 2)] * 3)
    fitted = fit_tls(model.bodies, model.crystal.U)
    B = b_factors_by_tls(model, fitted)
    # The trace of U is fitted among the rest, and T shifts all traces alike.
    assert float(B.mean()) == pytest.approx(float(model.crystal.B.mean()), rel=1e-9)
    assert float(torch.corrcoef(torch.stack([B, model.crystal.B]))[0, 1]) > 0.5


def test_principal_rms_of_what_cannot_be():
    shown = principal_rms(torch.diag(torch.tensor([0.04, -0.01, 0.09], dtype=torch.float64))[None])
    assert shown[0].tolist() == pytest.approx([0.3, 0.2, -0.1])
