"""Numbers among the arguments of a user."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
import torch

from onephonon.core.arguments import as_real, as_whole


@pytest.mark.parametrize(
    ("given", "real", "whole"),
    [
        (3, 3.0, 3),
        (2.5, 2.5, None),
        (np.float32(0.5), 0.5, None),
        (np.int64(7), 7.0, 7),
        (np.array(7), 7.0, 7),
        (torch.tensor(7), 7.0, 7),
        (torch.tensor(0.5, requires_grad=True), 0.5, None),
        (Fraction(1, 4), 0.25, None),
        (math.inf, math.inf, None),
        (10**400, math.nan, 10**400),
        (True, math.nan, None),
        (np.True_, math.nan, None),
        (torch.tensor(True), math.nan, None),
        ("3", math.nan, None),
        (None, math.nan, None),
        ([3], math.nan, None),
        (np.array([3]), math.nan, None),
        (torch.tensor([3.0]), math.nan, None),
        (1j, math.nan, None),
    ],
)
def test_what_is_a_number(given: object, real: float, whole: int | None) -> None:
    found = as_real(given)
    assert found == real or (math.isnan(found) and math.isnan(real))
    assert type(found) is float
    assert as_whole(given) == whole
