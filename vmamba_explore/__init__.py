"""See what a video state-space model is doing: VideoMamba, its hidden states, and their views.

A first look::

    from vmamba_explore import load_clip, load_model, run_with_trace

    model = load_model("motion-nano")
    clip = load_clip("clip.mp4", num_frames=16, img_size=64)
    logits, trace = run_with_trace(model, clip)
    trace.sel(layer=3, direction="backward", quantity="delta")

Import from here and from the namespaces `analysis`, `attribution`, `interventions`, `figures` and
`kernels`; what they list in `__all__` is public, everything else may change without notice. Names
are imported when they are first used; `__init__.pyi` says where they are.
"""

import lazy_loader

__version__ = "0.2.0"

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
