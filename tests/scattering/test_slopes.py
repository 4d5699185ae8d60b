"""Slopes of non-uniform Fourier sums, against the sums themselves."""

import math

import numpy as np
import pytest
import torch

from onephonon.scattering.amplitudes.mesh.slopes import slopes_along, window

#: In eps: windows are chosen for meshes that fade towards their ends, as densities do. These do
#: not, and slopes multiply images by their order.
FULL_BAND = 20


def problem(shape, n_weights, n=50, reach=0.9 * math.pi, dtype=torch.float64):
    generator = torch.Generator().manual_seed(1)
    f = torch.randn(n_weights, *shape, dtype=dtype, generator=generator)
    x = reach * (2 * torch.rand(n, 3, dtype=dtype, generator=generator) - 1)
    g = torch.randn(n_weights, n, dtype=dtype.to_complex(), generator=generator)
    return f, x, g


def by_sums(f, x, g):
    """The definition, differentiated by torch."""
    f, x, g = f.double(), x.double().requires_grad_(), g.to(torch.complex128)
    m = [torch.arange(n, dtype=torch.float64) - n // 2 for n in f.shape[1:]]
    waves = [torch.exp(1j * x[:, i : i + 1] * m[i]) for i in range(3)]
    F = torch.einsum("wabc,pa,pb,pc->wp", f.to(torch.complex128), *waves)
    return torch.autograd.grad((g.conj() * F).real.sum(), x)[0]


def error(found, expected):
    return float((found.double() - expected).abs().max() / expected.abs().max())


@pytest.mark.parametrize("shape", [(8, 7, 12), (21, 30, 17), (12, 9, 16)])
@pytest.mark.parametrize("n_weights", [1, 4])
@pytest.mark.parametrize("eps", [1e-4, 3e-8, 1e-11])
def test_slopes_are_those_of_the_sum(shape, n_weights, eps):
    f, x, g = problem(shape, n_weights)
    assert error(slopes_along(f, x, g, eps), by_sums(f, x, g)) < FULL_BAND * eps


def test_as_good_as_rounding_allows():
    f, x, g = problem((9, 10, 11), 4)
    # exp of the window's shape, about 35, is divided out at the ends of the band: some 1e4 eps.
    assert error(slopes_along(f, x, g, 1e-14), by_sums(f, x, g)) < 1e-11


def test_points_on_planes_and_at_the_origin():
    f, x, g = problem((6, 7, 8), 4, n=40)
    x[:10, 0], x[10:20, 1], x[20:30, 2] = 0.0, 0.0, 0.0
    x[30:] = 0.0
    x[35:, 0] = -1e-18
    assert error(slopes_along(f, x, g, 1e-9), by_sums(f, x, g)) < FULL_BAND * 1e-9


def test_points_that_fill_several_slabs_of_several_threads():
    f, x, g = problem((40, 9, 8), 1, n=3000)
    together = slopes_along(f, x, g, 1e-9)
    assert error(together, by_sums(f, x, g)) < FULL_BAND * 1e-9
    # Whatever the company and the order, a point's own slope.
    other = torch.randperm(len(x), generator=torch.Generator().manual_seed(2))[:700]
    alone = slopes_along(f, x[other], g[:, other], 1e-9)
    assert error(alone, together[other]) < FULL_BAND * 1e-9


def test_points_as_far_out_as_they_may_be():
    f, x, g = problem((10, 10, 10), 1, reach=math.pi / 1.1)
    assert error(slopes_along(f, x, g, 1e-8), by_sums(f, x, g)) < FULL_BAND * 1e-8


def test_single_precision():
    f, x, g = problem((9, 8, 7), 4, dtype=torch.float32)
    found = slopes_along(f, x, g, 1e-6)
    assert found.dtype == torch.float32
    # FULL_BAND eps, and rounding of 1e-7 in a transform of 500 values.
    assert error(found, by_sums(f, x, g)) < 3e-5


def test_nothing_given_is_changed():
    f, x, g = problem((5, 6, 7), 1)
    before = [t.clone() for t in (f, x, g)]
    slopes_along(f, x, g, 1e-8)
    assert all(torch.equal(a, b) for a, b in zip(before, (f, x, g), strict=True))


def test_no_points_have_no_slopes():
    f, x, g = problem((5, 6, 7), 4, n=0)
    assert slopes_along(f, x, g, 1e-8).shape == (0, 3)


def test_the_windows_transform_is_its_integral():
    kernel = window(1e-8)
    half = kernel.width / 2
    z = np.linspace(-half, half, 20001)
    shape = np.i0(kernel.beta * np.sqrt(1 - (z / half) ** 2)) / np.i0(kernel.beta)
    for frequency in (0.0, 0.11, 0.25):
        integral = np.trapezoid(shape * np.cos(2 * math.pi * frequency * z), z)
        # The trapezoidal rule's own error at 20000 steps.
        assert kernel.transform(np.array(frequency)) == pytest.approx(integral, rel=1e-6)
