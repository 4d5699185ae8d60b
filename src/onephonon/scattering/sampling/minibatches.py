"""Random minibatches of a sample, weighted or stratified, with unbiased estimates of its mean."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from onephonon.core.errors import InputError
from onephonon.core.tensors import first_of_each

from .base import QSample, check_count


@dataclass(frozen=True)
class Minibatch(QSample):
    """Points drawn from a sample; `shape` is the shape of that sample.

    Parameters
    ----------
    index : Tensor, shape (size,), int64
        Indices of the points in the sample; a point may be drawn twice.
    weight : Tensor, shape (size,)
        Weight of each point, 1 on average: ``(weight * values).mean()`` is an unbiased
        estimate of the mean of the values over the sample.
    """

    index: Tensor
    weight: Tensor

    def mean(self, values: Tensor) -> Tensor:
        """Estimate the mean over the sample from values at the drawn points.

        Parameters
        ----------
        values : Tensor, shape (size, ...)
            Differentiable.

        Returns
        -------
        Tensor, shape (...)
            Unbiased: its average over draws is the mean over all points that can be drawn.
        """
        self._check_one_per_q("values", values)
        weight = self.weight.reshape(-1, *[1] * (values.ndim - 1))
        return (weight * values).mean(0)

    def restore_shape(self, values: Tensor) -> Tensor:
        """Write the values at their positions in the sample, NaN elsewhere.

        Parameters
        ----------
        values : Tensor, shape (size, ...)
            Differentiable.

        Returns
        -------
        Tensor, shape (*shape, ...)
        """
        self._check_one_per_q("values", values)
        n = math.prod(self.shape)
        # If a point is drawn twice, the first draw is used: one value, one gradient.
        first = first_of_each(self.index, n)
        drawn = (first < self.n_points).nonzero().squeeze(1)
        whole = values.new_full((n, *values.shape[1:]), math.nan)
        whole = whole.index_copy(0, drawn, values[first[drawn]])
        return whole.reshape(*self.shape, *values.shape[1:])


@dataclass(frozen=True)
class Strata:
    """The points of a sample by stratum, from which minibatches are drawn.

    Parameters
    ----------
    sample : QSample
    order : Tensor, shape (n,), int64
        The points that can be drawn, stratum by stratum.
    cumulative : Tensor, shape (n,), float64
        Cumulative sum of the weights in that order, including each point.
    ends : Tensor, shape (n_strata,), int64
        Cumulative number of points of the strata, including each.
    """

    sample: QSample
    order: Tensor
    cumulative: Tensor
    ends: Tensor

    @classmethod
    def of(
        cls, sample: QSample, weights: Tensor | None = None, strata: Tensor | None = None
    ) -> Strata:
        """Prepare the valid points of a sample.

        Parameters
        ----------
        sample : QSample
        weights : Tensor, shape (N,), optional
            Relative probability of drawing each point; by default all are equal.
            Points of weight zero are not drawn, and the mean is over all others.
        strata : Tensor, shape (N,), int64, optional
            Index of each point's stratum, such as from `bragg_strata`. A minibatch has equal
            numbers of points of all strata; within a stratum, weights are used.

        Raises
        ------
        InputError
            If weights or strata do not match the sample, or a stratum has no points.
        """
        n = sample.n_points
        device = sample.q.device
        if weights is None:
            weights = torch.ones(n, dtype=torch.float64, device=device)
        if strata is None:
            strata = torch.zeros(n, dtype=torch.int64, device=device)
        for name, values_given in (("weights", weights), ("strata", strata)):
            if values_given.shape != (n,):
                raise InputError(
                    f"{name} has shape {tuple(values_given.shape)}; the sample needs shape ({n},)"
                )
        if strata.is_floating_point() or bool((strata < 0).any()):
            raise InputError("strata must be the index 0, 1, 2, ... of each point's stratum")
        weights = weights.detach().to(device, torch.float64)
        if not bool((torch.isfinite(weights) & (weights >= 0)).all()):
            raise InputError("weights contain a negative number or one that is not finite")
        drawable = (sample.valid & (weights > 0)).nonzero().squeeze(1)
        if len(drawable) == 0:
            raise InputError(
                f"none of the sample's {n} points can be drawn: none is valid and has a weight "
                "above zero"
            )
        strata = strata.to(device)
        count = torch.bincount(strata[drawable], minlength=int(strata.max()) + 1)
        if not bool((count > 0).all()):
            raise InputError(
                f"the strata hold {count.tolist()} points that can be drawn; move the edges so "
                "that none is empty"
            )
        order = drawable[torch.argsort(strata[drawable], stable=True)]
        return cls(sample, order, torch.cumsum(weights[order], 0), torch.cumsum(count, 0))

    @property
    def n_strata(self) -> int:
        """Number of strata."""
        return int(self.ends.shape[0])

    def draw(self, size: int, generator: torch.Generator | int) -> Minibatch:
        """Draw a minibatch, with replacement.

        Parameters
        ----------
        size : int
            Number of points, divided equally among the strata; a remainder goes to the first
            strata.
        generator : torch.Generator or int
            Source of randomness, or the seed of one; the same seed draws the same points.

        Returns
        -------
        Minibatch
            Its q are those of the sample, with their gradients.

        Raises
        ------
        InputError
            If there are fewer points than strata.
        """
        size = check_count("size", size, minimum=self.n_strata)
        if isinstance(generator, int):
            generator = torch.Generator().manual_seed(generator)
        device = self.order.device
        stratum = torch.arange(size, device=device) % self.n_strata
        drawn = torch.bincount(stratum, minlength=self.n_strata)

        total = torch.cat([self.cumulative.new_zeros(1), self.cumulative[self.ends - 1]])
        low, mass = total[:-1], total.diff()
        u = torch.rand(size, dtype=torch.float64, generator=generator, device=generator.device)
        target = low[stratum] + u.to(device) * mass[stratum]
        start = torch.cat([self.ends.new_zeros(1), self.ends[:-1]])
        place = torch.searchsorted(self.cumulative, target, right=True)
        # Rounding may move a target beyond the end of its stratum.
        place = torch.minimum(torch.maximum(place, start[stratum]), self.ends[stratum] - 1)

        own = self.cumulative.diff(prepend=self.cumulative.new_zeros(1))[place]
        chance = own / mass[stratum] * drawn[stratum]
        weight = size / (len(self.order) * chance)
        index = self.order[place]
        sample = self.sample
        return Minibatch(
            sample.q[index],
            sample.hkl[index],
            sample.valid[index],
            sample.shape,
            index,
            weight.to(sample.q.dtype),
        )


def minibatch(
    sample: QSample,
    size: int,
    generator: torch.Generator | int,
    *,
    weights: Tensor | None = None,
    strata: Tensor | None = None,
) -> Minibatch:
    """Draw one minibatch of a sample's valid points; for several, create the `Strata` once.

    Parameters
    ----------
    sample : QSample
    size : int
    generator : torch.Generator or int
    weights, strata : Tensor, shape (N,), optional
        See `Strata.of`.

    Returns
    -------
    Minibatch

    Raises
    ------
    InputError
        As `Strata.of` and `Strata.draw` raise it.

    Examples
    --------
    >>> strata = bragg_strata(cell, sample.q, edges=[0.02, 0.05])
    >>> batch = minibatch(sample, 1000, generator=0, strata=strata)
    >>> loss = batch.mean((model_at(batch.q) - data[batch.index]) ** 2)
    """
    return Strata.of(sample, weights, strata).draw(size, generator)
