"""Small tools for tensors."""

import torch

from onephonon.core.tensors import inside_functorch


def test_inside_functorch():
    seen = []

    def noted(x):
        seen.append(inside_functorch())
        return x.sum()

    x = torch.ones(3)
    noted(x)
    noted(x.clone().requires_grad_()).backward()
    torch.func.grad(noted)(x)
    torch.func.vmap(noted)(x[:, None])
    noted(x)
    assert seen == [False, False, True, True, False]
