"""The mesh at every accuracy that may be asked for: intensities and slopes, against the sum."""

from functools import lru_cache

import numpy as np
import pytest
import torch

from crystals import made_up
from onephonon import InputError, OnePhonon

RTOLS = [1e-2, 1e-3, 1e-5, 1e-7, 1e-8, 3e-9, 1e-9, 3e-10, 1e-10, 1e-11, 1e-12]

GROUPS = {"P 1": "asu", "C 1 2 1": "residue", "P 61": "atom"}

NETWORK = {"gnm_cutoff": 6.0, "thermal_scale": 1.0}

#: Slopes are as good as rounding allows: the window's height, some 1e4, times 1e-15.
SLOPES = 1e-11


def intensity(spacegroup, dtype=torch.float64, **options):
    """Intensities at random q and the gradient of their weighted sum by q."""
    q = torch.rand(16, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) - 0.5
    q = (6 * q).to(dtype).requires_grad_()
    crystal = made_up(spacegroup).to(dtype=dtype)
    model = OnePhonon(
        crystal, q_vectors=q, group_by=GROUPS[spacegroup], dtype=dtype, **NETWORK, **options
    )
    values = model(use_data_adp=True)
    weights = torch.linspace(1, 2, len(q), dtype=dtype)
    return values.detach(), torch.autograd.grad((weights * values).sum(), q)[0]


@lru_cache
def by_sum(spacegroup, dtype=torch.float64):
    return intensity(spacegroup, dtype, engine="direct")


def assert_accurate(found, expected, rtol, slopes):
    """Intensities to rtol of the rms; slopes to that of theirs."""
    for got, true, tolerance in zip(found, expected, (rtol, slopes), strict=True):
        rms = true.square().mean().sqrt()
        assert float((got - true).abs().max() / rms) < tolerance


@pytest.mark.parametrize(
    ("spacegroup", "rtol"),
    [(name, rtol) for name in ("P 1", "P 61") for rtol in RTOLS]
    + [("C 1 2 1", 1e-4), ("C 1 2 1", 1e-9)],
)
def test_scattered_q(spacegroup, rtol):
    found = intensity(spacegroup, engine="mesh", rtol=rtol)
    assert_accurate(found, by_sum(spacegroup), rtol, max(rtol, SLOPES))


@pytest.mark.parametrize("spacegroup", GROUPS)
@pytest.mark.parametrize("rtol", [1e-2, 1e-4])
def test_scattered_q_in_single_precision(spacegroup, rtol):
    found = intensity(spacegroup, torch.float32, engine="mesh", rtol=rtol)
    assert_accurate(found, by_sum(spacegroup, torch.float32), rtol, rtol)


@pytest.mark.parametrize("spacegroup", GROUPS)
@pytest.mark.parametrize("rtol", [1e-2, 1e-5, 3e-9, 1e-9, 1e-12])
def test_grid(spacegroup, rtol):
    samplings = [(-2, 2, 3)] * 3
    options = {"group_by": GROUPS[spacegroup], **NETWORK}
    crystal = made_up(spacegroup)
    with torch.no_grad():
        true = OnePhonon(crystal, *samplings, engine="direct", **options)(use_data_adp=True)
        found = OnePhonon(crystal, *samplings, engine="mesh", rtol=rtol, **options)(
            use_data_adp=True
        )
    good = ~true.isnan()
    rms = true[good].square().mean().sqrt()
    assert float((found - true)[good].abs().max() / rms) < rtol


@pytest.mark.parametrize("rtol", [0.0, 1e-13, 0.1, float("nan")])
def test_accuracies_that_cannot_be(rtol):
    with pytest.raises(InputError, match="accuracy of the mesh is 1e-12 to 1e-2"):
        intensity("P 1", engine="mesh", rtol=rtol)


def test_window_whose_last_coefficients_vanish(monkeypatch):
    from onephonon.scattering.amplitudes.mesh import slopes

    expected = slopes.window(1e-8)
    assert expected.values.shape == (expected.width + 7, expected.width)
    fit = slopes.chebyshev.chebfit

    def with_zeros(*arguments):
        fitted = fit(*arguments)
        fitted[-1, 3] = 0.0
        return fitted

    monkeypatch.setattr(slopes.chebyshev, "chebfit", with_zeros)
    found = slopes.window.__wrapped__(1e-8)
    # The last coefficient is below 1e-10 of the window's height, times powers of two.
    np.testing.assert_allclose(found.values[-1], expected.values[-1], atol=1e-8)
    assert found.values.shape == expected.values.shape
