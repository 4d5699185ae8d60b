"""Structure files (PDB, mmCIF, plain or gzipped) read into a `Crystal`."""

import lazy_loader as lazy

__getattr__, __dir__, __all__ = lazy.attach_stub(__name__, __file__)
