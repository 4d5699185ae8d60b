from .overrides import MapGuessWarning, MapReadingWarning
from .populations import read_populations
from .qlist import QListWarning, read_q_vectors
from .registry import check_map_ending, format_name, not_kept, read_map, write_map

__all__ = [
    "MapGuessWarning",
    "MapReadingWarning",
    "QListWarning",
    "check_map_ending",
    "format_name",
    "not_kept",
    "read_map",
    "read_populations",
    "read_q_vectors",
    "write_map",
]
