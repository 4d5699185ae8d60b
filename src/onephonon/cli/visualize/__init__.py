"""``onephonon visualize``: pictures and films of maps."""

from . import command  # noqa: F401  (adds the command)
