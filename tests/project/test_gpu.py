"""The same numbers on a CUDA device, where there is one."""

import pytest
import torch

from onephonon import OnePhonon, SpringPlan

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"),
]

WAYS = {
    "rigid": {},
    "classes": {"springs": SpringPlan(by="interface", kind="hybrid", start=(1.0, 0.3))},
    "condensed": {"group_by": "residue", "solver": "condensed", "gnm_cutoff": 6.0},
    "atoms": {"group_by": "atom", "gnm_cutoff": 6.0},
    "mesh": {"engine": "mesh"},
}


def assert_same(here: torch.Tensor, there: torch.Tensor) -> None:
    # Float64 on both; the order of sums differs. What symmetry makes zero is rounding of the rest.
    rounding = 1e-12 * float(here.nan_to_num().abs().max())
    torch.testing.assert_close(there.cpu(), here, rtol=1e-9, atol=rounding, equal_nan=True)


@pytest.mark.parametrize("way", WAYS)
def test_maps_and_gradients_agree_with_the_cpu(data, way) -> None:
    def run(device: str) -> tuple[torch.Tensor, ...]:
        model = OnePhonon(data / "5zck.pdb", *[(-1, 1, 2)] * 3, device=device, **WAYS[way])
        value = model()
        value.nansum().backward()
        return value.detach(), *(p.grad for p in model.parameters())

    for here, there in zip(run("cpu"), run("cuda"), strict=True):
        assert there.is_cuda
        assert_same(here, there)


def test_gradients_by_q_agree_with_the_cpu(data) -> None:
    generator = torch.Generator().manual_seed(0)
    q = 3 * torch.rand(200, 3, dtype=torch.float64, generator=generator)

    def run(device: str) -> tuple[torch.Tensor, ...]:
        here = q.clone().to(device).requires_grad_()
        value = OnePhonon(data / "5zck.pdb", device=device)(here)
        value.sum().backward()
        return value.detach(), here.grad

    for here, there in zip(run("cpu"), run("cuda"), strict=True):
        assert_same(here, there)


def test_displacements_and_modes_agree_with_the_cpu(data) -> None:
    def run(device: str) -> tuple[torch.Tensor, ...]:
        model = OnePhonon(data / "5wkd.pdb", *[(0, 1, 2)] * 3, device=device)
        with torch.no_grad():
            return model.U, model.covar, model.Winv, model.lattice.thermal_scale

    for here, there in zip(run("cpu"), run("cuda"), strict=True):
        assert there.is_cuda
        assert_same(here, there)
