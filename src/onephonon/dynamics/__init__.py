"""Lattice dynamics: stiffness matrices, their solvers, normal modes, covariance and spectra."""

import lazy_loader as lazy

__getattr__, __dir__, __all__ = lazy.attach_stub(__name__, __file__)
