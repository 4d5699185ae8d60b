"""Options that several commands share: one group, one module."""
