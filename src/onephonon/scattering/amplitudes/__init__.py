"""Scattering amplitudes G(q) of bodies: one interface, direct sums and meshes."""
