"""The report of a fit: an HTML page, and all numbers as files."""

import lazy_loader as lazy

__getattr__, __dir__, __all__ = lazy.attach_stub(__name__, __file__)
