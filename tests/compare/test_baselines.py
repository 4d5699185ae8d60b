"""Null models beside a comparison."""

import csv
import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from crystals import made_up
from fits import sampling, to_map
from onephonon import MapGrid, OnePhonon
from onephonon.compare import (
    NullModel,
    Settings,
    baseline_table,
    compare_model,
    to_dict,
    write_csv,
)
from onephonon.compare import baselines as baselines_module
from onephonon.compare.baselines import of_molecules
from onephonon.model import average_of, points_at, voxel_average
from onephonon.network.bodies import gather_bodies

MOLECULES = NullModel("molecules", "no springs", of_molecules)


@pytest.fixture(scope="module")
def model():
    return OnePhonon(made_up("P 1 21 1"), gnm_cutoff=7.0, engine="direct")


def grid_and_map(model, values, d_min=1.4, step=2):
    """A map with values (a function of points) at the points of a grid."""
    axes = sampling(model.crystal, d_min, (step,) * 3)
    grid = MapGrid.from_sampling(*axes)
    with torch.no_grad():
        found = values(points_at(model, torch.from_numpy(grid.hkl)))
    return to_map(found.numpy().reshape(grid.shape), axes, model.crystal, units="")


def test_independent_molecules_are_the_sum_over_each(model):
    crystal = model.crystal
    hkl = torch.tensor([[0.3, 1.2, -0.7], [2.1, -1.0, 0.4], [1.0, 1.0, 0.0]], dtype=torch.float64)
    points = points_at(model, hkl)
    atoms = gather_bodies(crystal, None)
    found = of_molecules(model, points)
    q = points.q
    factors = crystal.form_factors
    f = factors.evaluate(q.square().sum(1))[:, factors.kind][:, atoms.asu_atom]
    W = torch.exp(-0.5 * torch.einsum("qx,jxy,qy->qj", q, atoms.U, q))
    wave = f * W * torch.exp(1j * (q @ atoms.positions.T))
    copies = torch.stack([wave[:, atoms.copy == c].sum(1) for c in range(2)], dim=1)
    mean = torch.diagonal(crystal.U, dim1=1, dim2=2).mean(1).mean()
    slow = mean * q.square().sum(1) * copies.abs().square().sum(1)
    # The same sums in another order.
    assert torch.allclose(found[:2], slow[:2], rtol=1e-12)
    # As for the lattice there is nothing at a Bragg point.
    assert torch.isnan(found[2])


def test_a_map_of_the_null_model_has_no_room_for_springs(model):
    data = grid_and_map(model, lambda points: of_molecules(model, points))
    found = compare_model(model, data, Settings(), average=0, use_data_adp=True, nulls=[MOLECULES])
    (null,) = found.baselines
    assert null.cc_anisotropic == pytest.approx(1, abs=1e-9)
    assert null.difference == pytest.approx(found.overall.cc_anisotropic - 1, abs=1e-9)
    assert null.difference < -3 * null.difference_error < 0
    assert null.n == found.overall.n


def test_a_map_of_the_lattice_has(model):
    data = grid_and_map(model, lambda points: model.bound.at(points).intensity(use_data_adp=True))
    found = compare_model(model, data, Settings(), average=0, use_data_adp=True, nulls=[MOLECULES])
    (null,) = found.baselines
    assert null.cc_anisotropic < 0.99
    assert null.difference == pytest.approx(1 - null.cc_anisotropic, abs=1e-9)
    assert null.difference > 3 * null.difference_error > 0


def test_a_null_model_that_is_the_model_differs_by_nothing(model):
    rng = np.random.default_rng(0)
    data = grid_and_map(model, lambda p: torch.from_numpy(rng.normal(size=p.n_q)))
    same = NullModel(
        "same", "the model", lambda m, points: m.bound.at(points).intensity(use_data_adp=True)
    )
    for average in (0, 2):
        found = compare_model(
            model, data, Settings(), average=average, use_data_adp=True, nulls=[same]
        )
        (null,) = found.baselines
        # Both are averaged over the same nodes.
        assert null.difference == pytest.approx(0, abs=1e-12)
        assert null.difference_error == pytest.approx(0, abs=1e-12)
        assert null.error == pytest.approx(found.error, rel=1e-9)
        assert null.cc_anisotropic == pytest.approx(found.overall.cc_anisotropic, abs=1e-12)


def test_large_maps_are_compared_at_a_part_of_their_voxels(model, monkeypatch):
    data = grid_and_map(model, lambda points: of_molecules(model, points))
    monkeypatch.setattr(baselines_module, "MAX_NODES", 300)
    found = compare_model(model, data, Settings(), average=0, use_data_adp=True, nulls=[MOLECULES])
    (null,) = found.baselines
    # 300 of the unique voxels, with their equivalents: up to four.
    assert 300 < null.n < 1200
    assert null.n < found.overall.n / 2
    assert null.cc_anisotropic == pytest.approx(1, abs=1e-9)


def test_averages_of_a_function_are_those_of_the_model(model):
    voxels = [[1, 0.5, 0], [2, 1, -1]]
    function = model.bound
    one = average_of(lambda p: function.at(p).intensity(), model, voxels, (0.5,) * 3, 3)
    assert torch.equal(one, voxel_average(model, voxels, (0.5,) * 3, 3))


def test_tables_and_files(model, tmp_path):
    data = grid_and_map(model, lambda points: of_molecules(model, points))
    found = compare_model(model, data, Settings(), average=0, use_data_adp=True, nulls=[MOLECULES])
    headings, rows = baseline_table(found)
    assert headings == ["null model", "voxels", "CC aniso", "model minus null"]
    assert rows[0][0] == "molecules: no springs"
    assert rows[0][3].startswith("-0.")
    (written,) = json.loads(json.dumps(to_dict(found)))["baselines"]
    assert written["difference"] == found.baselines[0].difference
    write_csv(found, tmp_path / "a.csv")
    with (tmp_path / "a.csv").open() as file:
        *_, overall, last = csv.DictReader(file)
    assert overall["shell"] == "all"
    assert last["shell"] == "molecules"
    assert float(last["cc_anisotropic"]) == found.baselines[0].cc_anisotropic
    assert last["r"] == ""
    # Without null models nothing changes.
    assert baseline_table(replace(found, baselines=()))[1] == []
