"""Amplitudes as Fourier transforms of the bodies' densities on a mesh."""
