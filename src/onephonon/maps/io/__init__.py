"""Files of diffuse maps, of q-vectors and of contacts, chosen by their endings."""

import lazy_loader as lazy

__getattr__, __dir__, __all__ = lazy.attach_stub(__name__, __file__)
