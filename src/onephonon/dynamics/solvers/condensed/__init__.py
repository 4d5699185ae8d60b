"""Solving with K(k) for many bodies: static condensation to the boundary of the cell."""
