"""``onephonon displacements``: joint displacements of neighbours as tables and a picture."""

from . import command  # noqa: F401  (adds the command)
