"""``onephonon modes``: vibrations of a crystal as tables, pictures and animations."""

from . import command  # noqa: F401  (adds the command)
