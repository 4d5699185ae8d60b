"""How far results are from references."""

import torch


def largest_error(got, reference):
    """Largest difference over the largest value; NaN must be at the same places."""
    got, reference = got.detach(), reference.detach()
    assert torch.equal(got.isnan(), reference.isnan())
    good = ~reference.isnan()
    assert good.any()
    return float((got - reference)[good].abs().max() / reference[good].abs().max())
