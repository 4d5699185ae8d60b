"""Groups of options that several commands share, one per module."""
