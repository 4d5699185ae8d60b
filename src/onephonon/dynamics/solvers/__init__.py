"""Solving with K(k): one interface, dense and condensed."""
