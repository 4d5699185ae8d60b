"""Orders of the scattering beyond one phonon."""
