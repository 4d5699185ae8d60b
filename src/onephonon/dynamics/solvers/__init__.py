"""Solvers for ``K(k)^-1``: one interface, dense and condensed."""

import lazy_loader as lazy

__getattr__, __dir__, __all__ = lazy.attach_stub(__name__, __file__)
