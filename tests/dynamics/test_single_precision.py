"""Single precision: as rigid as in double, and as accurate as rounding allows."""

import pytest
import torch

from crystals import made_up
from onephonon import NetworkError, OnePhonon, SpringPlan

SAMPLINGS = ((-1, 1, 5), (-1, 1, 5), (-1, 1, 5))


def large_body():
    """A cube of 216 atoms: its own contacts are many times those to its neighbours."""
    crystal = made_up("P 1 21 1", n_atoms=216, cell=(14.0, 27.0, 14.5, 90.0, 94.0, 90.0))
    steps = torch.arange(6.0, dtype=torch.float64) - 2.5
    noise = torch.rand(216, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    cube = 2.0 * torch.cartesian_prod(steps, steps, steps) + noise
    frac = cube @ crystal.cell.inverse.T + torch.tensor([0.5, 0.25, 0.5]).double()
    return crystal.replace(positions_frac=frac)


def values_and_gradient(crystal, dtype, **options):
    model = OnePhonon(crystal, *SAMPLINGS, dtype=dtype, **options)
    values = model(use_data_adp=True)
    good = ~values.isnan()
    gradient = torch.autograd.grad(values[good].sum(), list(model.parameters()))[0]
    return values[good].detach().double(), gradient.double()


@pytest.mark.parametrize("kind", ["gaussian", "parallel", "hybrid"])
@pytest.mark.parametrize("group_by", ["asu", "chain"])
def test_as_in_double_precision(kind, group_by):
    options = {"springs": SpringPlan(kind=kind), "gnm_cutoff": 8.0, "group_by": group_by}
    found, expected = (
        values_and_gradient(large_body(), dtype, **options)
        for dtype in (torch.float32, torch.float64)
    )
    # Rounding of 6e-8 times the condition number of K, up to some 1e3.
    assert float(((found[0] - expected[0]) / expected[0]).abs().max()) < 1e-3
    assert float((found[1] - expected[1]).abs().max() / expected[1].abs().max()) < 3e-3


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_central_forces(dtype):
    OnePhonon(large_body(), *SAMPLINGS, dtype=dtype, model="anm", gnm_cutoff=8.0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_floppy_networks_are_refused(dtype):
    with pytest.raises(NetworkError, match=r"network is floppy.*smallest cutoff that holds them"):
        OnePhonon(
            made_up("P 1"), *SAMPLINGS, dtype=dtype, model="anm", group_by="atom", gnm_cutoff=6.0
        )
