"""Sums of orders where bodies move as far as series go, and farther: told, and never hidden."""

import json
import math
import warnings

import pytest
import torch

from onephonon import InputError, OnePhonon, read_map
from onephonon.scattering.amplitudes.direct import DirectEngine
from onephonon.scattering.multiphonon.higher_orders import (
    HigherOrders,
    SeriesError,
    SeriesWarning,
    largest_motion,
    mean_radius,
)
from onephonon.scattering.multiphonon.settings import Orders
from onephonon.scattering.multiphonon.truncation import truncate, truncation_error
from structures import DATA

D = 3.0
MESH = (2, 2, 2)

#: Spring constants of 5zck: its series is accurate; not quite; hopeless; overflows; all underflows.
GOOD, WARNED, TOO_SOFT, OVERFLOWS, UNDERFLOWS = 0.1, 0.009, 0.003, 1e-4, 1e-6


def model_of(gamma, **options):
    generator = torch.Generator().manual_seed(0)
    u = torch.randn(12, 3, dtype=torch.float64, generator=generator)
    q = u / torch.linalg.vector_norm(u, dim=1, keepdim=True) * 2 * torch.pi / D
    settings = {"mesh": MESH, "thermal_scale": 1.0, "engine": "direct", "orders": "all"} | options
    springs = {"gamma_intra": gamma, "gamma_inter": gamma}
    if "hsampling" not in settings:
        settings["q_vectors"] = q
    return OnePhonon(DATA / "5zck.pdb", **springs, **settings)


@torch.no_grad()
def double_sum(model):
    """The intensity of all orders, summed over pairs of atoms."""
    bodies, q, hkl = model.bodies, model.q_vectors, model.points.hkl
    pairs = model.bound.pairs(Orders(None))
    form_factors = bodies.crystal.form_factors
    f = form_factors.evaluate((q * q).sum(1))[:, form_factors.kind[bodies.asu_atom]]
    wave = (
        f * bodies.crystal.occupancies[bodies.asu_atom] * torch.exp(1j * (q @ bodies.positions.T))
    )
    U, _ = model.displacements_and_scale()
    W = 0.5 * torch.einsum("qx,jxy,qy->qj", q, U, q)
    # q.u = q.t + (rho x q).l
    torque = torch.linalg.cross(bodies.offsets[None], q[:, None].expand(-1, len(U), 3))
    v = torch.cat([q[:, None].expand_as(torque), torque], dim=2)
    total = torch.zeros(len(q), dtype=torch.float64)
    for (a, b, row), weight, C in zip(
        pairs.index.tolist(), pairs.weight, pairs.blocks, strict=True
    ):
        j, k = ((bodies.body == x).nonzero().squeeze(1) for x in (a, b))
        x = v[:, j] @ C @ v[:, k].mT
        w = W[:, j, None] + W[:, None, k]
        value = torch.exp(x - w) - (1 + x) * torch.exp(-w)  # exp(x) alone would overflow
        phase = torch.exp(2j * torch.pi * (hkl @ pairs.cells[row].double()))
        waves = wave[:, j, None].conj() * wave[:, None, k]
        total += (weight * phase * (waves * value).sum((1, 2))).real
    return model(orders=1) + total


@torch.no_grad()
def test_what_is_left_out_is_stated():
    for gamma in (GOOD, 0.02, WARNED):
        model = model_of(gamma)
        exact = double_sum(model)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", SeriesWarning)
            true = float((model() - exact).square().mean().sqrt() / exact.mean())
        error = model.order_error
        pairs = model.bound.pairs(Orders(None))
        truncation = truncate(pairs, 2 * math.pi / D, model.rtol)
        # The pairs are computed anew for it, and differ by rounding.
        assert error.order >= truncation.error * (1 - 1e-10)
        # An estimate for random phases, as in test_truncation: these few q may be worse.
        assert true / 1.5 < error.order < 10 * true
    assert error.order > 1e-3  # the last of them is warned of
    # And of three orders alone.
    three = model_of(GOOD, orders=3)
    true = float((three() - double_sum(three)).square().mean().sqrt() / double_sum(three).mean())
    assert three.order_error.order == pytest.approx(true, rel=1e-3)  # of the accuracy of all


@torch.no_grad()
def test_warned_of_once_and_stated_without_a_further_warning():
    model = model_of(WARNED)
    with pytest.warns(SeriesWarning, match=r"estimated error is 0\.0\d+ of") as told:
        model()
    assert len(told) == 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert str(model.order_error).startswith("about ")
        assert "0 % left out" not in str(model.order_error)
        _ = model_of(WARNED, orders=3).order_error


@pytest.mark.parametrize("gamma", [TOO_SOFT, OVERFLOWS, UNDERFLOWS])
@torch.no_grad()
def test_motions_too_large_for_the_series_are_an_error(gamma):
    model = model_of(gamma)
    rms = float((3 * model.ADP).max().sqrt())
    farthest = str(model.crystal.labels[int(model.ADP.argmax())])
    for result in (model, lambda: model.order_error, model.to_map):
        with pytest.raises(SeriesError) as caught:
            result()
        said = str(caught.value)
        # An atom and its copies move equally far, up to rounding.
        assert f"at d = 3 Å, {farthest} by {rms:.2g} Å (root mean square)" in said
        assert "nan" not in said
        assert "stiffer springs, a smaller thermal scale" in said
    assert issubclass(SeriesError, InputError)
    # Lower resolution is a way out, as is said.
    far = model.q_vectors * (1e-3 if gamma == UNDERFLOWS else 0.03)
    every, one = model(far), model(far, orders=1)
    assert bool((every > one).all())


@torch.no_grad()
def test_too_soft_is_far_from_the_truth():
    # What the error is for: the series' own estimate beyond 1 is of a sum that is worth nothing.
    model = model_of(TOO_SOFT)
    pairs = model.bound.pairs(Orders(None))
    q_max = 2 * math.pi / D
    chosen = truncate(pairs, q_max, 1e-6)
    assert chosen.error > 100
    series = HigherOrders(pairs, None, chosen, mean_radius(model.bodies))
    U, _ = model.displacements_and_scale()
    found = model(orders=1) + series.at_points(DirectEngine(), model.points, U)
    exact = double_sum(model)
    assert float((found - exact).square().mean().sqrt() / exact.mean()) > 0.3


@pytest.mark.parametrize("gamma", [OVERFLOWS, UNDERFLOWS, 1e-30, 1e-200])
def test_estimates_that_overflow_are_infinite_not_nan(gamma):
    pairs = model_of(1.0).bound.pairs(Orders(None))
    pairs = type(pairs)(pairs.bodies, pairs.index, pairs.cells, pairs.weight, pairs.blocks / gamma)
    q_max = 2 * math.pi / D
    for rtol in (1e-6, 1e-2):
        found = truncate(pairs, q_max, rtol)
        assert found.error == math.inf
    degrees = torch.full_like(found.degrees, 3)
    assert truncation_error(pairs, degrees, q_max) == math.inf
    assert truncation_error(pairs, degrees, 0.0) == 0.0
    # Nothing is left out of the first three orders, unless they overflow themselves.
    three = truncate(pairs, q_max, 1e-6, 3).error
    assert three < 1e-6 if gamma > 1e-99 else three == math.inf


@pytest.mark.parametrize("gamma", [TOO_SOFT, OVERFLOWS, UNDERFLOWS])
@torch.no_grad()
def test_first_orders_are_summed_and_what_they_lack_is_not_known(gamma):
    model = model_of(gamma, orders=3)
    assert bool(torch.isfinite(model()).all())
    error = model.order_error
    assert math.isnan(error.order)
    assert math.isnan(error.mesh)
    assert str(error) == (
        "an unknown share left out with high orders, an unknown share from the mesh of the "
        "covariances"
    )


@pytest.mark.parametrize("ending", [".npz", ".h5"])
def test_maps_record_no_error_that_is_not_known(tmp_path, ending):
    samplings = {"hsampling": (0, 1, 2), "ksampling": (-3, 3, 1), "lsampling": (-6, 6, 1)}
    path = tmp_path / f"map{ending}"
    model_of(OVERFLOWS, orders=3, res_limit=D, **samplings).write_map(path)
    parameters = read_map(path).parameters
    assert parameters["order_error"] is None
    assert parameters["multiphonon_mesh_error"] is None
    assert json.dumps(parameters, allow_nan=False)


@pytest.mark.parametrize("group_by", ["asu", "residue", "atom"])
@torch.no_grad()
def test_largest_motion_is_that_of_the_displacements(group_by):
    model = OnePhonon(DATA / "5zck.pdb", group_by=group_by, mesh=MESH)
    name, rms = largest_motion(model.bound.pairs(Orders(None)))
    assert name == str(model.crystal.labels[int(model.ADP.argmax())])
    # The cell of the mesh around Gamma is integrated to 1e-8 or so, for both in its own way.
    assert rms == pytest.approx(float((3 * model.ADP).max().sqrt()), rel=1e-7)


def test_the_share_of_one_phonon_is_nothing_there():
    share = model_of(OVERFLOWS).one_phonon_share(D, 1.2 * D, n_shells=2)
    assert share.share == (0.0, 0.0)


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        ((None,), {}, "d_min None and"),
        (("2",), {}, "d_min '2' and"),
        ((2.0, "3"), {}, "d_max '3'"),
        ((2.0, None), {}, "d_max None"),
        ((True,), {}, "d_min True"),
        (([2.0],), {}, r"d_min \[2.0\]"),
        ((math.nan,), {}, "d_min nan"),
        ((3.0, 2.0), {}, "d_min 3.0 and d_max 2.0"),
        ((2.0,), {"n_shells": 0}, "n_shells 0"),
        ((2.0,), {"n_shells": 2.5}, "n_shells 2.5"),
        ((2.0,), {"n_shells": True}, "n_shells True"),
        ((2.0,), {"n_shells": 1001}, "n_shells 1001"),
        ((2.0,), {"mesh": (True, 3, 3)}, "mesh .True, 3, 3."),
        ((2.0,), {"mesh": (2, 2)}, "mesh .2, 2."),
    ],
)
def test_what_is_no_range_of_resolution(arguments, options, message):
    with pytest.raises(InputError, match=message):
        model_of(1.0).one_phonon_share(*arguments, **options)
    assert len(model_of(1.0).one_phonon_share(6, 10, n_shells=1).share) == 1


@pytest.mark.parametrize("name", ["mesh", "multiphonon_mesh"])
@pytest.mark.parametrize(
    ("mesh", "message"),
    [
        ((True, 3, 3), "three whole numbers"),
        ("333", "three whole numbers"),
        (5, "three whole numbers"),
        ((3, 3, 2.0), "three whole numbers"),
        ((3, 0, 3), "each 1 or more"),
        ((1000, 1000, 11), "1.1e[+]07 points in all; give at most 10,000,000"),
    ],
)
def test_what_is_no_mesh(name, mesh, message):
    model = model_of(1.0)
    with pytest.raises(InputError, match=f"{name} .*{message}"):
        setattr(model, name, mesh)
    setattr(model, name, torch.tensor([3, 4, 5]))
    assert getattr(model, name) == (3, 4, 5)
