"""A mode as moving atoms, written as structure files."""
