import numpy as np
import pytest
import torch

from vmamba_explore.clips.clip import Clip
from vmamba_explore.hooks import hook_names, hook_point
from vmamba_explore.model.config import VideoMambaConfig
from vmamba_explore.model.videomamba import VideoMamba
from vmamba_explore.trace.record import (
    TraceBudgetError,
    run_with_hooks,
    run_with_trace,
    trace_size,
)

KINDS = [
    {},
    {"backward_order": "spatial"},
    {"backward_order": None},
    {"cls_position": None, "direction_merge": "mean"},
    {"cls_position": "middle"},
]


def toy(**changes):
    torch.manual_seed(0)
    return VideoMamba(VideoMambaConfig.preset("toy", **changes)).eval()


def clips(batch=2):
    return torch.randn(batch, 3, 4, 32, 32, generator=torch.Generator().manual_seed(7))


@pytest.mark.parametrize("changes", KINDS)
def test_recording_everything_changes_no_logit_bitwise(changes):
    model = toy(**changes)
    with torch.no_grad():
        logits, trace = run_with_trace(model, clips(), names_filter=lambda name: True)
        assert torch.equal(logits, model(clips()))
    assert trace.names == hook_names(model)


@pytest.mark.parametrize("changes", KINDS)
def test_patching_a_run_with_its_own_values_changes_no_logit_bitwise(changes):
    model = toy(**changes)
    with torch.no_grad():
        logits, trace = run_with_trace(model, clips())
        hooks = [(name, lambda value, point: trace[point.name].clone()) for name in trace.names]
        assert torch.equal(run_with_hooks(model, clips(), hooks), logits)


def test_an_edit_at_any_editable_hook_changes_the_logits():
    model = toy()
    with torch.no_grad():
        plain = model(clips())
        for name in hook_names(model):
            if hook_point(model, name).read_only:
                continue
            edited = run_with_hooks(model, clips(), [(name, lambda v, p: v * 1.5 + 0.1)])
            assert not torch.equal(edited, plain), name


@pytest.mark.parametrize("changes", KINDS)
def test_the_dry_run_equals_what_is_recorded(changes):
    model = toy(**changes)
    with torch.no_grad():
        _, trace = run_with_trace(model, clips(3), names_filter=lambda name: True)
    size = trace_size(model, clips(3), names_filter=lambda name: True)
    assert size.total == trace.nbytes
    assert {n: v.numel() * 4 for n, v in trace.items()} == size.bytes_by_name


def test_all_states_of_kaist_small_are_sized_without_building_weights():
    config = VideoMambaConfig.preset("kaist_small")
    with torch.device("meta"):
        model = VideoMamba(config)
    size = trace_size(model, torch.empty(1, 3, 16, 224, 224, device="meta"), "*.hook_h")
    assert size.total == config.state_bytes()
    assert "hook_h at 48 places 3.45" in str(size)


def test_over_budget_is_refused_before_anything_runs():
    model = toy()
    ran = []
    model.patch_embed.register_forward_hook(lambda *_: ran.append(True))
    with pytest.raises(TraceBudgetError, match=r"hook_h.*the budget is 0.00 GiB.*budget_gib=1"):
        run_with_trace(model, clips(), "*.hook_h", budget_gib=1e-6)
    assert not ran


def test_filters_are_names_patterns_lists_functions_and_none():
    model = toy()
    name = "layers.1.mixer.ssm_backward.hook_delta"
    for names_filter in (name, [name], lambda n: n == name, "layers.1.*backward.hook_delta"):
        assert run_with_trace(model, clips(), names_filter)[1].names == [name]
    everything = run_with_trace(model, clips())[1].names
    assert set(hook_names(model)) - set(everything) == {
        f"layers.{n}.mixer.ssm_{d}.hook_A_bar" for n in (0, 1) for d in ("forward", "backward")
    }


@pytest.mark.parametrize("names_filter", ["layers.3.mixer.hook_h", ["*.hook_y", "*.hook_dt"]])
def test_a_filter_that_matches_nothing_is_an_error_with_the_nearest_name(names_filter):
    with pytest.raises(KeyError, match="No hook named.*Closest: 'layers"):
        run_with_trace(toy(), clips(), names_filter)
    with pytest.raises(KeyError, match="hook_names"):
        run_with_trace(toy(), clips(), lambda name: False)


def test_no_hook_survives_a_failing_run():
    model = toy()
    with pytest.raises(ValueError, match="num_frames"):
        run_with_trace(model, torch.zeros(1, 3, 8, 32, 32))
    assert not any(hook_point(model, name).is_active for name in hook_names(model))


def test_gradients_are_kept_where_they_are_on_and_not_where_they_are_off():
    model = toy()
    logits, trace = run_with_trace(model, clips(), "layers.0.*hook_delta")
    delta = trace["layers.0.mixer.ssm_forward.hook_delta"]
    (grad,) = torch.autograd.grad(logits[:, 0].sum(), delta)
    assert grad.abs().max() > 0
    with torch.no_grad():
        _, trace = run_with_trace(model, clips(), "layers.0.*hook_delta")
    assert not trace["layers.0.mixer.ssm_forward.hook_delta"].requires_grad


def test_clips_may_be_a_tensor_a_clip_or_a_list():
    model = toy()
    frames = np.random.default_rng(0).integers(0, 255, (4, 32, 32, 3), dtype=np.uint8)
    clip = Clip(frames, np.arange(4) / 8, "x.mp4", np.arange(4))
    with torch.no_grad():
        from_clip, trace = run_with_trace(model, clip, "*.hook_out")
        from_list, _ = run_with_trace(model, [clip, clip], "*.hook_out")
        from_tensor = model(clip.tensor().unsqueeze(0))
        edited = run_with_hooks(model, clip, [("*.hook_out", lambda v, p: v * 0)])
    assert torch.equal(from_clip, from_tensor)
    assert from_list.shape == (2, 5)
    assert edited.shape == (1, 5) and not torch.equal(edited, from_clip)
    assert trace.sel(quantity="out").seconds.values.tolist() == [0.0, 0.25]
