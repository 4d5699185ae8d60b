"""Animations of modes, written as structure files."""
