"""Public functions called with one or two wrong arguments: extremes, nothing, NaN, other shapes."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import xarray as xr
from hypothesis import strategies as st
from torch import Tensor
from traitlets import TraitError

import vmamba_explore as vx
from tests.fuzz.checkpoints import SIZES
from tests.fuzz.door import Door
from tests.fuzz.worker import is_ours
from vmamba_explore import analysis, attribution, figures, interventions
from vmamba_explore.model.videomamba import VideoMamba

TOY = {**SIZES, "num_frames": 4, "depth": 2, "num_classes": 3}


@dataclass(frozen=True)
class Bad:
    """A value to put in an argument's place.

    Args:
        what: Names it.
        make: Makes it from the good value.
        fits: Whether it is of the argument's type. A value of another type may be refused by
            whatever meets it first.
    """

    what: str
    make: Callable[[Any], Any]
    fits: bool = True

    def __repr__(self) -> str:
        return self.what


def _always(value: Any, *, fits: bool = True) -> Bad:
    return Bad(f"{value!r:.40}", lambda good: value, fits)


OTHER_TYPES = tuple(_always(value, fits=False) for value in (None, "x", 1.5, (), object, [None]))
NUMBERS: tuple[Bad, ...] = tuple(_always(n) for n in (-1, 0, 1, 2, 7, 999, -(10**6)))
REALS = tuple(_always(x) for x in (0.0, -1.0, 1.0, 2.0, math.nan, math.inf, -math.inf, 1e-300))
WORDS = tuple(_always(w) for w in ("", "nope", "x" * 3000, "two\nlines", "\ud800", "forward", "*"))
LISTS = tuple(_always(x) for x in ((), (-1,), (999,), (0, 0), (0, 1)))
TENSORS = (
    Bad("empty", lambda good: good[:0]),
    Bad("one of it", lambda good: good[:1]),
    Bad("NaN", lambda good: torch.full_like(good, math.nan) if good.is_floating_point() else good),
    Bad("infinite", lambda good: good * math.inf if good.is_floating_point() else good),
    Bad("zeros", torch.zeros_like),
    Bad("another axis", lambda good: good[None]),
    Bad("one axis less", lambda good: good[0] if good.ndim else good),
    Bad("a scalar", lambda good: good.flatten()[:1].sum()),
    Bad("cut at its end", lambda good: good[..., :-1] if good.ndim else good),
    Bad("double", lambda good: good.double()),
    Bad("half", lambda good: good.half()),
    Bad("whole numbers", lambda good: good.nan_to_num().long(), fits=False),
    Bad("requires grad", lambda good: good.clone().float().requires_grad_()),
    Bad("not contiguous", lambda good: good.movedim(0, -1).contiguous().movedim(-1, 0)),
    Bad("an array", lambda good: good.numpy(), fits=False),
    Bad("a list", lambda good: good.tolist(), fits=False),
)
ARRAYS = (
    Bad("empty", lambda good: good[:0]),
    Bad("NaN", lambda good: np.full_like(good, math.nan) if good.dtype.kind == "f" else good),
    Bad("another axis", lambda good: good[None]),
    Bad("one axis less", lambda good: good[0]),
    Bad("a scalar", lambda good: np.asarray(good).ravel()[0]),
    Bad("cut at its end", lambda good: good[..., :-1]),
    Bad("not contiguous", lambda good: good[::-1]),
    Bad("objects", lambda good: good.astype(object), fits=False),
)
LABELED = (
    Bad("without coordinates", lambda good: good.drop_vars(list(good.coords))),
    Bad("empty", lambda good: good[:0]),
    Bad("NaN", lambda good: good * math.nan),
    Bad("infinite", lambda good: good + math.inf),
    Bad("zeros", lambda good: good * 0),
    Bad("one axis less", lambda good: good[0]),
    Bad("another axis", lambda good: good.expand_dims("more")),
    Bad("axes the other way round", lambda good: good.transpose(*good.dims[::-1])),
    Bad("other names", lambda good: good.rename({d: f"{d}_" for d in good.dims})),
    Bad("an array", lambda good: good.values, fits=False),
)
CLASSES: dict[type, tuple[Bad, ...]] = {
    bool: (_always(False),),
    int: NUMBERS,
    float: REALS,
    str: WORDS,
    tuple: LISTS,
    Tensor: TENSORS,
    np.ndarray: ARRAYS,
    xr.DataArray: LABELED,
    torch.nn.Module: (Bad("inside a wrapper", torch.nn.DataParallel),),
}


def bad_for(good: Any) -> tuple[Bad, ...]:
    """Return values for the place of a good one."""
    fitting = next((bad for kind, bad in CLASSES.items() if isinstance(good, kind)), ())
    if isinstance(good, tuple) and not all(isinstance(one, int) for one in good):
        fitting = (_always(()),)
    return (*fitting, *OTHER_TYPES)


@functools.cache
def _model() -> VideoMamba:
    torch.manual_seed(0)
    return VideoMamba(vx.VideoMambaConfig.preset("toy", **TOY)).eval()


@functools.cache
def _clips() -> Tensor:
    return torch.randn((2, 3, 4, 8, 8), generator=torch.Generator().manual_seed(1))


@functools.cache
def _clip() -> vx.Clip:
    frames = np.random.default_rng(0).integers(0, 255, (4, 8, 8, 3)).astype(np.uint8)
    return vx.Clip(frames, np.arange(4) / 8, "clip.mp4", np.arange(4))


@functools.cache
def _trace() -> vx.Trace:
    with torch.no_grad():
        return vx.run_with_trace(_model(), _clips(), ["*", "*.hook_h_boundaries"])[1]


@functools.cache
def _attribution(method: str = "delta") -> vx.Attribution:
    return vx.attribute(_model(), _clips(), 1, method, progress=False)


@functools.cache
def _map() -> xr.DataArray:
    return _trace().sel(quantity="delta", clip=0, layer=0).mean("channel")


def _inside(block: Callable[..., Any]) -> Callable[..., Any]:
    """Return a call that runs the model inside an intervention's block."""

    def call(**given: Any) -> Any:
        with block(**given), torch.no_grad():
            return _model()(_clips())

    return call


@functools.cache
def calls() -> dict[str, tuple[Callable[..., Any], dict[str, Any]]]:
    """Return functions and good arguments by name."""
    model, clips, trace = _model(), _clips(), _trace()
    on = {"model": model, "clips": clips}
    scan = {"trace": trace, "layer": 0, "direction": "forward"}
    mask = np.zeros((4, 8, 8), bool)
    mask[1:3, :4, :4] = True
    problem = attribution.make_problem(model, clips, 1)
    pair = {**on, "twins": clips.flip(2), "labels": 0, "twin_labels": 1}
    like = _map().isel(direction=0)
    quiet = {"progress": False}
    removal = {"problem": problem, "ranking": _attribution(), "unit": "tubelets",
               "baselines": "blur", "n_steps": 3}  # fmt: skip
    remains = {name: value for name, value in removal.items() if name != "n_steps"}
    states = torch.rand(4, 3, 5)
    found = {
        "run_with_trace": (vx.run_with_trace, {**on, "names_filter": "*", "budget_gib": 1.0,
                                                "stop_at_layer": 1}),
        "trace_size": (vx.trace_size, {**on, "names_filter": "*.hook_h"}),
        "run_with_hooks": (vx.run_with_hooks, {**on, "hooks": (), "stop_at_layer": 1}),
        "run_with_gradients": (vx.run_with_gradients, {
            **on, "names_filter": "*.hook_write", "target": 1, "minus": 0, "budget_gib": 1.0}),
        "first_nonfinite": (vx.first_nonfinite, {**on, "labels": 1, "loss_scale": 2.0, **quiet}),
        "hook_names": (vx.hook_names, {"model": model, "names_filter": "*"}),
        "replay_layer": (vx.replay_layer, {"trace": trace, "layer": 0, "names_filter": "*"}),
        "state_window": (vx.state_window, {**scan, "start": 0, "stop": 3}),
        "predict": (model.predict, {"clip": clips[0], "k": 2}),
        "sel": (trace.sel, {"quantity": "delta", "clip": 0, "layer": 0, "direction": "forward"}),
        "attribute": (vx.attribute, {**on, "target": 1, "method": "saliency", "minus": 0,
                                     "seed": 0, "budget_gib": 1.0, **quiet}),
        "attribute_delta": (vx.attribute, {**on, "target": 1, "method": "delta", **quiet}),
        "attribute_lrp": (vx.attribute, {**on, "target": 1, "method": "mamba_lrp", **quiet}),
        "normalize": (vx.normalize, {"frames": _clip().frames}),
        "frame_order": (vx.frame_order, {"num_frames": 4, "order": "pairwise"}),
        "mean_interval": (vx.mean_interval, {"scores": np.arange(5.0), "resamples": 9, "seed": 0}),
        "proportion": (vx.proportion, {"right": np.array([True, False, True])}),
        "label_names": (vx.label_names, {"data_set": "ssv2"}),
        "sinusoidal_table": (vx.sinusoidal_table, {"num_tokens": 4, "d_model": 8}),
        "MotionClips": (vx.MotionClips, {"seed": 0, "num_frames": 8, "img_size": 32,
                                         "distractors": "half", "length": 9}),
        "TokenGrid": (vx.TokenGrid, {"frames": 2, "rows": 2, "cols": 2, "cls_position": "front"}),
        "config": (vx.VideoMambaConfig, dict(vx.VideoMambaConfig.preset("toy", **TOY).to_dict())),
        "Clip": (vx.Clip, {"frames": _clip().frames, "seconds": _clip().seconds, "source": "a",
                           "indices": _clip().indices, "repeated": 0}),
        "ClipPlayer": (vx.ClipPlayer, {"clip": _clip(), "overlay": "", "opacity": 0.5}),
        "predict_logits": (vx.predict_logits, {"model": model, "frames": _clip().frames[None],
                                               "batch_size": 2}),
        "attention_matrix": (analysis.attention_matrix, {**scan, "kind": "alpha",
                                                         "reduce": "mean", "budget_gib": 1.0}),
        "attention_rollout": (analysis.attention_rollout, {"trace": trace, "token": (0, 0, 0),
                                                           "kind": "beta", "sampled": 2, **quiet}),
        "channel_statistics": (analysis.channel_statistics, {**scan, "clip": 0}),
        "clip_half_lives": (analysis.clip_half_lives, {"trace": trace, "layer": 0, "clip": 0}),
        "half_lives": (analysis.half_lives, {**scan, "quantile": 0.5, "channels": (0, 1),
                                             "frozen": False, "clip": 0}),
        "hidden_attention": (analysis.hidden_attention, {
            "trace": trace, "token": (0, 0, 0), "side": "reads", "layers": (0,), "kind": "alpha",
            "of": "weights", "reduce": "abs"}),
        "logit_attention": (analysis.logit_attention, {"trace": trace, "target": 1, "minus": 0,
                                                       **quiet}),
        "logit_parts": (analysis.logit_parts, {"trace": trace, "target": 1, "minus": 0, **quiet}),
        "logit_readout": (analysis.logit_readout, {"trace": trace, "target": 1, "minus": 0}),
        "look_back": (analysis.look_back, {**scan, "unit": "tokens", "weights": "written"}),
        "look_back_course": (analysis.look_back_course, {**scan, "unit": "frames", "groups": 1,
                                                         "clip": 0}),
        "retained_share": (analysis.retained_share, {**scan, "tokens": 2, "clip": 0}),
        "retention": (analysis.retention, {**scan, "weights": "written", "channels": (0,),
                                           "clip": 0}),
        "scale_free_states": (analysis.scale_free_states, {**scan, "tokens": torch.arange(3),
                                                           "clip": 0}),
        "state_map": (analysis.state_map, {"trace": trace, "layer": 0, "channel": 1, "state": 2,
                                           "clip": 0}),
        "state_sizes": (analysis.state_sizes, {**scan, "token": 3, "clip": 0}),
        "state_norms": (analysis.state_norms, {"trace": trace, "clip": 0}),
        "state_similarity": (analysis.state_similarity, {"trace": trace, "layer": 0,
                                                         "samples": 8, "clip": 0}),
        "states_by_frame": (analysis.states_by_frame, {"trace": trace, "layer": 0,
                                                       "place": (0, 0), "clip": 0}),
        "prefix_curve": (analysis.prefix_curve, {**on, "target": 1, "minus": 0, **quiet}),
        "suffix_curve": (analysis.suffix_curve, {**on, "target": 1, "minus": 0, **quiet}),
        "held_frame_curve": (analysis.held_frame_curve, {**on, "target": 1, "minus": 0,
                                                         "kind": "prefix"}),
        "logit_difference": (analysis.logit_difference, {"labels": 0, "minus": 1}),
        "selection_swap": (analysis.selection_swap, {**pair, "layers": (0,), "budget_gib": 1.0}),
        "twin_patching": (analysis.twin_patching, {**pair, "layers": (0,), "together": False}),
        "time_invariant": (analysis.time_invariant, {
            **on, "metric": analysis.logit_difference(0, 1), "layers": (0,)}),
        "participation_ratio": (analysis.participation_ratio, {"samples": torch.rand(6, 4)}),
        "debiased_cka": (analysis.debiased_cka, {"x": torch.rand(6, 4), "y": torch.rand(6, 3)}),
        "token_norms": (analysis.token_norms, {"h": states, "C": states[0]}),
        "reading_strength": (analysis.reading_strength, {"C": states[0]}),
        "touched": (analysis.touched, {"mask": mask, "like": like}),
        "in_window": (analysis.in_window, {"window": (0, 1), "like": like, "tubelet_size": 2}),
        "share_inside": (analysis.share_inside, {"values": like,
                                                 "region": analysis.touched(mask, like)}),
        "make_problem": (attribution.make_problem, {**on, "target": 1, "minus": 0, "seed": 0,
                                                    "budget_gib": 1.0}),
        "deletion": (attribution.deletion, {**removal, "order": "morf"}),
        "faithfulness": (attribution.faithfulness, removal),
        "random_control": (attribution.random_control, {"problem": problem, "n_steps": 2,
                                                        "seeds": 2, "unit": "frames"}),
        "infidelity": (attribution.infidelity, {**remains, "removed": 0.2,
                                                "n_perturb_samples": 2}),
        "sensitivity_max": (attribution.sensitivity_max, {
            "problem": problem, "attribution": _attribution("saliency"), "perturb_radius": 0.02,
            "n_perturb_samples": 2}),
        "agreement": (attribution.agreement, {
            "attributions": (_attribution(), _attribution("saliency")), "part": "signed"}),
        "rank_correlation": (attribution.rank_correlation, {"first": torch.rand(2, 5),
                                                            "second": torch.rand(2, 5)}),
        "average_precision": (attribution.average_precision, {
            "values": np.random.default_rng(0).random(6), "right": np.arange(6) > 3}),
        "relevance_flow": (attribution.relevance_flow, {**on, "target": 1, "minus": 0, **quiet}),
        "state_gradient": (attribution.state_gradient, {"problem": problem, "layer": 0,
                                                        "direction": "forward", "tokens": (0,)}),
        "ablate": (_inside(interventions.ablate), {"model": model, "name": "layers.0.mixer.hook_x",
                                                   "value": 0.0, "frames": 0}),
        "cut_edges": (_inside(interventions.cut_edges), {
            "model": model, "layer": 0, "direction": "forward", "sources": (0, 1),
            "targets": (2, 3)}),
        "drop_tokens": (_inside(interventions.drop_tokens), {"model": model, "frames": 0}),
        "freeze_state": (_inside(interventions.freeze_state), {
            "model": model, "frames": 0, "direction": "forward", "layers": (0,)}),
        "mute": (_inside(interventions.mute), {"model": model, "direction": "forward",
                                               "layers": (0,)}),
        "reset_state": (_inside(interventions.reset_state), {
            "model": model, "frame": 1, "direction": "forward", "layers": (0,)}),
        "figure of frames": (figures.frames, {"clip": _clip(), "overlay": like, "name": "a",
                                              "opacity": 0.5, "max_frames": 4}),
        "figure of class_scores": (figures.class_scores, {"logits": torch.rand(3), "top": 2,
                                                          "class_names": ("a", "b", "c")}),
        "figure of attribution_maps": (figures.attribution_maps, {
            "clip": _clip(), "attributions": {"a": _attribution()}, "index": 0, "part": "signed",
            "title": "a"}),
        "figure of delta_maps": (figures.delta_maps, {"delta": _map(), "note": "a"}),
        "figure of boundary_map": (figures.boundary_map, {
            "values": _map().mean(["row", "col"]).expand_dims("layer"), "title": "a",
            "label": "b", "window": (0, 1)}),
    }  # fmt: skip
    return found


Case = tuple[str, tuple[tuple[str, Bad], ...]]


def cases(folder: Path) -> st.SearchStrategy[Case]:
    """Make a strategy for a function, and one or two arguments with a bad value for each."""

    def chosen(name: str) -> st.SearchStrategy[Case]:
        given = calls()[name][1]
        one = st.sampled_from(sorted(given.keys() - {"progress"})).flatmap(
            lambda argument: st.tuples(st.just(argument), st.sampled_from(bad_for(given[argument])))
        )
        bad = st.lists(one, min_size=1, max_size=2, unique_by=lambda pair: pair[0])
        return st.tuples(st.just(name), bad.map(tuple))

    return st.sampled_from(sorted(calls())).flatmap(chosen)


class Refused(Exception):
    """Stands for any error where a value was not of the argument's type."""


def _call(case: Case, folder: Path) -> object:
    name, changes = case
    function, given = calls()[name]
    bad = {argument: one.make(given[argument]) for argument, one in changes}
    try:
        return function(**{**given, **bad})
    except Exception as error:
        if not all(one.fits for _, one in changes):
            raise Refused(f"another type ({type(error).__name__})") from None
        if isinstance(error, ValueError | TypeError | LookupError | TraitError) and any(
            argument in str(error) for argument in bad
        ):
            raise Refused("named in the message") from None
        raise type(error)(*error.args).with_traceback(error.__traceback__) from None


def _ours(error: BaseException) -> bool:
    kinds = (ValueError, TypeError, LookupError, MemoryError)
    return isinstance(error, kinds) and is_ours(error)


CALLS = Door("calls", cases, _call, (Refused,), ours=_ours, memory_mib=2048, seconds=60)
