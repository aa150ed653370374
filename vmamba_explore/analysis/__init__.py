"""What the states mean: results computed from a trace or a model. Nothing here draws.

Public names are imported when they are first used; `__init__.pyi` says where they are.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
