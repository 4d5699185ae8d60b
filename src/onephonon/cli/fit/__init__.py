"""``onephonon fit``: springs from a measured map."""

from . import command  # noqa: F401  (adds the command)
