"""`OnePhonon`, the model that users hold: a crystal on springs, bound to q points."""

import lazy_loader as lazy

__getattr__, __dir__, __all__ = lazy.attach_stub(__name__, __file__)
