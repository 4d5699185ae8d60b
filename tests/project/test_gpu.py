"""The same numbers on a CUDA device, where there is one."""

import pytest
import torch

from onephonon import OnePhonon, SpringPlan

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"),
]


def test_intensity_and_gradient_agree_with_the_cpu(data) -> None:
    def run(device: str) -> tuple[torch.Tensor, torch.Tensor]:
        model = OnePhonon(
            data / "5zck.pdb",
            *[(-1, 1, 2)] * 3,
            springs=SpringPlan(by="interface", kind="hybrid", start=(1.0, 0.3)),
            device=device,
        )
        value = model()
        value.nansum().backward()
        return value.detach().cpu(), model.springs.free.grad.cpu()

    # Float64 on both; the order of sums differs.
    for here, there in zip(run("cpu"), run("cuda"), strict=True):
        torch.testing.assert_close(here, there, rtol=1e-9, atol=0, equal_nan=True)
