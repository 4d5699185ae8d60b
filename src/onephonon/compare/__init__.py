"""Agreement of calculated with measured diffuse maps.

Functions that compute a model need torch and are imported on first access.
"""

import lazy_loader as lazy

__getattr__, __dir__, __all__ = lazy.attach_stub(__name__, __file__)
