"""``onephonon visualize``: pictures and animations of maps."""

from . import command  # noqa: F401  (adds the command)
