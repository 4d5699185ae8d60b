"""The few softest modes alone: against dense modes, and what they neglect."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from agreement import largest_error
from onephonon import InputError, OnePhonon
from onephonon.cli import app
from onephonon.dynamics.solvers.choice import make_solver
from onephonon.scattering import softest as module
from onephonon.scattering.softest import largest_eigenpairs, softest_intensity, softest_modes
from structures import DATA

#: Residuals are below 4e-11 of the last frequency; gaps are some hundredths or more of it.
CLOSE = 1e-8


#: No point on the zone's faces, where screw axes pair frequencies.
THIRDS = (0, 1, 3)


def model_of(crystal, group_by, sampling=THIRDS, **options):
    options = {"gnm_cutoff": 6.0, "engine": "direct"} | options
    last = (*sampling[:2], 1) if sampling is THIRDS else sampling
    with torch.no_grad():
        return OnePhonon(crystal, sampling, sampling, last, group_by=group_by, **options)


@pytest.mark.parametrize(
    ("code", "group_by", "n"),
    [("5zck", "asu", 3), ("5zck", "residue", 5), ("2ol9", "atom", 6), ("5wkd", "residue", 4)],
)
@pytest.mark.parametrize(("solver", "use_data_adp"), [("dense", True), ("condensed", False)])
def test_they_are_the_first_dense_modes(data, monkeypatch, code, group_by, n, solver, use_data_adp):
    if group_by != "asu":  # few enough there for dense modes; here nothing may fall back on them
        monkeypatch.setattr(module, "_dense", None)
    springs = {"model": "hybrid", "k_par": 1.0, "k_perp": 0.3}
    model = model_of(data / f"{code}.pdb", group_by, solver=solver, **springs)
    found = softest_intensity(model, n, use_data_adp)
    dense = model(rank=range(n), use_data_adp=use_data_adp).detach()
    assert found.n_split == 0
    assert largest_error(found.intensity, dense) < CLOSE
    whole = model(use_data_adp=use_data_adp).detach()
    assert largest_error(found.whole, whole) < CLOSE
    assert found.neglected == pytest.approx(1 - float(dense.nansum() / whole.nansum()), abs=CLOSE)
    max_neglected_share = float((1 - dense / whole)[~whole.isnan()].max())
    assert found.max_neglected == pytest.approx(
        max_neglected_share, abs=1e-6
    )  # of a q that may be faint
    # Symmetry may hide these modes from a q altogether.
    assert 0.01 < found.neglected < found.max_neglected < 1 + CLOSE
    used = ~found.w_squared[:, 0].isnan()
    reference = model.modes().w_squared[used, :n]
    assert torch.allclose(found.w_squared[used], reference, rtol=CLOSE, atol=0)
    assert not found.intensity.requires_grad


@pytest.mark.parametrize("group_by", ["asu", "residue"])
def test_all_modes_sum_to_the_whole(data, group_by):
    model = model_of(data / "2ol9.pdb", group_by)
    found = softest_intensity(model, model.bodies.n_dof)
    # Both are exact; they differ by rounding times the condition of K, some 1e3.
    assert largest_error(found.intensity, found.whole) < 1e-9
    assert abs(found.neglected) < 1e-9
    assert found.n_split == 0


def test_sets_of_equal_frequencies_are_found_whole(data):
    # Isotropic springs between single atoms: every frequency three times.
    model = model_of(data / "2ol9.pdb", "atom")
    found = softest_intensity(model, 6)
    assert largest_error(found.intensity, model(rank=range(6))) < CLOSE
    assert found.n_split == 0
    used = found.w_squared[~found.w_squared[:, 0].isnan()].reshape(-1, 2, 3)
    assert torch.allclose(used, used[:, :, :1].expand_as(used), rtol=CLOSE, atol=0)
    split = softest_intensity(model, 5)
    assert split.n_split == len(used)


@pytest.mark.parametrize("times", [1, 3, 8])
def test_eigenpairs_of_a_made_up_matrix(times):
    # Sets of `times` equal values, spread as near Gamma: three acoustic ones far above the rest.
    torch.manual_seed(times)
    D, n = 96, 4
    values = torch.logspace(0, -3, D // times, dtype=torch.float64).repeat_interleave(times)
    values[:3] = 1e4
    rotation = torch.linalg.qr(torch.randn(2, D, D, dtype=torch.complex128))[0]
    matrix = (rotation * values) @ rotation.mH
    theta, X, converged = largest_eigenpairs(lambda x: matrix @ x, 2, D, n, values)
    assert converged.all()
    top = values[:n].expand(2, n)
    # Rounding leaves 1e3 eps of the largest value, 2e-9 here; a residual, squared in a value.
    assert torch.allclose(theta[:, :n], top, rtol=CLOSE, atol=0)
    assert torch.allclose(matrix @ X[:, :, :n], X[:, :, :n] * top[:, None], atol=1e-8)


def test_what_does_not_converge_is_dense(data):
    model = model_of(data / "5zck.pdb", "residue")
    made = make_solver(model.bodies, model.force_constants(), "condensed")
    k = torch.tensor([[0.5, 0.0, 0.0], [0.31, 0.22, -0.13]], dtype=torch.float64)
    found, _ = softest_modes(made, k, 5, max_cycles=1)
    assert torch.allclose(found.w_squared, module._dense(made, k).w_squared[:, :5], rtol=CLOSE)


def test_bodies_that_lack_motions(data):
    # Lines of two atoms and points beside larger bodies: the padded layout has gaps.
    numbers = [min(i // 2, 8) for i in range(18)] + [9] + [10 + i // 5 for i in range(100)]
    crystal = data / "5zck.pdb"
    n_atoms = model_of(crystal, "asu").crystal.n_atoms
    model = model_of(crystal, numbers[:n_atoms])
    assert model.bodies.n_dof < model.bodies.n_bodies * model.bodies.width
    found = softest_intensity(model, 5)
    assert largest_error(found.intensity, model(rank=range(5))) < CLOSE


def test_float32_and_the_mesh(data):
    options = {"model": "hybrid", "k_par": 1.0, "k_perp": 0.3}
    reference = model_of(data / "5zck.pdb", "residue", **options)(rank=range(5))
    single = model_of(data / "5zck.pdb", "residue", dtype=torch.float32, **options)
    # float32 rounding times the condition of K, some 1e3.
    assert largest_error(softest_intensity(single, 5).intensity.double(), reference) < 1e-3
    mesh = model_of(data / "5zck.pdb", "residue", **(options | {"engine": "mesh"}))
    # The mesh is exact to 1e-6 of the rms of whole intensities.
    assert largest_error(softest_intensity(mesh, 5).intensity, reference) < 1e-5


@pytest.mark.parametrize("n", [0, -1, 25, 2.0, "3"])
def test_counts_that_are_none(data, n):
    with pytest.raises(InputError, match=r"softest .*: give a number from 1 to 24"):
        softest_intensity(model_of(data / "5zck.pdb", "asu"), n)


def simulate(*arguments):
    ranges = [part for axis in "hkl" for part in (f"--{axis}", "-1", "1", "2")]
    arguments = [str(a) for a in arguments]
    return CliRunner().invoke(app, ["simulate", str(DATA / "5zck.pdb"), *ranges, *arguments])


def test_the_command_writes_them_and_says_what_is_neglected(tmp_path):
    options = ["--group-by", "residue", "--cutoff", "6", "--engine", "direct"]
    output = simulate(*options, "--softest", "5", "-o", tmp_path / "a.npz", "-q").output
    model = model_of(DATA / "5zck.pdb", "residue", (-1, 1, 2))
    found = softest_intensity(model, 5)
    assert f"5 softest of 96 modes: {100 * found.neglected:.2f} % of the summed" in output
    assert f"at most {100 * found.max_neglected:.2f} % at one q" in output
    written = np.load(tmp_path / "a.npz")["intensity"].reshape(-1)
    np.testing.assert_allclose(written, found.intensity.numpy(), rtol=1e-6)


def test_the_command_refuses_what_it_cannot(tmp_path):
    for more, why in (
        (["-o", tmp_path / "a.h5", "--engine", "mesh"], "written to .h5 in parts"),
        (["-o", tmp_path / "a.npz", "--rank", "0"], "--rank"),
    ):
        result = simulate("--softest", "2", *more)
        assert isinstance(result.exception, InputError)
        assert why in str(result.exception)
    assert not list(tmp_path.iterdir())
