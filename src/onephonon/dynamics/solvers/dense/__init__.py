"""Solving with K(k) by a dense factorization at each wavevector."""
