import pytest
import torch
from torch import nn

from tests.vmamba_explore.toys import toy
from vmamba_explore.hooks import HookPoint, attached, hook_names, hook_points, name_hooks, plain


class Two(nn.Module):
    def __init__(self):
        super().__init__()
        self.hook_a = HookPoint("batch", "d_model")
        self.inner = nn.Module()
        self.inner.hook_b = HookPoint("batch", "d_model", read_only=True)
        name_hooks(self)

    def forward(self, x):
        x = self.hook_a(x)
        self.inner.hook_b(x)
        return x * 2


def test_names_are_dotted_paths_in_order():
    assert hook_names(Two()) == ["hook_a", "inner.hook_b"]


def test_names_are_chosen_by_patterns_with_any_number_of_wildcards():
    model = toy(depth=3)
    names = hook_names(model, "layers.[02].*.ssm_*.hook_[BC]")
    assert names == [
        f"layers.{layer}.mixer.ssm_{direction}.hook_{hook}"
        for layer in (0, 2)
        for direction in ("forward", "backward")
        for hook in "BC"
    ]
    assert hook_names(model, ["*_backward.*h", "layers.1.*block*"]) == [
        "layers.0.mixer.ssm_backward.hook_h",
        "layers.1.hook_block_input",
        "layers.1.mixer.ssm_backward.hook_h",
        "layers.2.mixer.ssm_backward.hook_h",
    ]
    assert hook_names(model, "layers.[!0]*.hook_?") == [
        name for name in hook_names(model) if name[7] != "0" and name.split("_")[-1] in "xzuBChy"
    ]
    with pytest.raises(KeyError, match="No hook named .layers.*hook_q.. Closest"):
        hook_names(model, ["*.hook_h", "layers.*.ssm_*.hook_q"])


def test_a_function_may_read_or_replace_the_value():
    model, x, seen = Two(), torch.ones(1, 2), []
    with attached(model, [("hook_a", lambda v, p: seen.append((p.name, v.clone())))]):
        assert torch.equal(model(x), x * 2)
    assert seen[0][0] == "hook_a"
    with attached(model, [("hook_a", lambda v, p: v + 1)]):
        assert torch.equal(model(x), (x + 1) * 2)
    assert torch.equal(model(x), x * 2)


def test_no_hook_survives_an_exception():
    model = Two()

    def fail(value, point):
        raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"), attached(model, [("hook_a", fail)]):
        model(torch.ones(1, 2))
    assert not any(point.is_active for point in hook_points(model).values())


def test_a_wrong_name_names_the_nearest_and_attaches_nothing():
    model = Two()
    with (
        pytest.raises(KeyError, match=r"No hook named 'inner.hook_c'. Closest: 'inner.hook_b'"),
        attached(model, [("hook_a", lambda v, p: v), ("inner.hook_c", lambda v, p: v)]),
    ):
        pass
    assert not model.hook_a.is_active


def write(value, point):
    value[0, 0] = 5
    return value


WROTE = r"wrote into the value.*value.clone\(\)"


@pytest.mark.parametrize(
    ("name", "function", "message"),
    [
        (
            "hook_a",
            lambda v, p: v[:, :1],
            r"float32 \(1, 1\), expected torch.float32 \(1, 2\)",
        ),
        ("hook_a", lambda v, p: 0, "returned int, expected a tensor"),
        ("hook_a", lambda v, p: v.double(), "returned torch.float64"),
        ("inner.hook_b", lambda v, p: v + 1, "for reading only"),
        ("hook_a", write, WROTE),
        ("inner.hook_b", write, WROTE),
    ],
)
def test_what_cannot_replace_a_value_is_refused(name, function, message):
    with attached(model := Two(), [(name, function)]), pytest.raises(ValueError, match=message):
        model(torch.ones(1, 2))


def test_a_compiled_model_has_the_hooks_of_the_model_inside():
    model = Two()
    compiled = torch.compile(model, backend="eager")
    assert plain(compiled) is plain(model) is model
    assert hook_points(compiled) == hook_points(model)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (nn.DataParallel(Two()), "inside a DataParallel; pass the model itself, model.module"),
        (nn.Linear(2, 2), r"is a Linear, expected what load_model\(...\) returns"),
        ("motion-nano", "is a str, expected what load_model"),
        (None, "is a NoneType, expected what load_model"),
    ],
)
def test_a_wrapped_model_and_what_is_not_one_are_told_apart(wrong, message, unchecked):
    with pytest.raises(TypeError, match=message):
        hook_points(wrong)
