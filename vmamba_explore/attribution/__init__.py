"""Why a model decided: attributions to pixels, tokens and states, and a score for every method.

Public names are imported when they are first used; `__init__.pyi` says where they are.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
