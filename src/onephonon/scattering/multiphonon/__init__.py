"""Diffuse scattering of more than one phonon."""
