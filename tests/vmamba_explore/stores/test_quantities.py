"""What is asked for is understood, or refused in a sentence."""

import pytest

from tests.vmamba_explore.toys import toy
from vmamba_explore.stores.quantities import NAMES, Quantity, quantity, variables

MIDDLE = "layers.1.mixer.ssm_forward.hook_h_boundaries"


def test_a_request_names_quantity_reduction_and_type():
    assert quantity("delta") == Quantity("delta")
    assert quantity("delta:mean") == Quantity("delta", reduction="mean")
    assert quantity("h:float16") == Quantity("h", dtype="float16")
    assert quantity("h:max:float16") == Quantity("h", reduction="max", dtype="float16")


@pytest.mark.parametrize("wrong", ["delta:sum", "delta:mean:max", "delta:float16:float16", "a:"])
def test_a_request_with_another_part_is_refused(wrong):
    with pytest.raises(ValueError, match=r"is not part of a request; expected NAME\[:REDUCTION\]"):
        quantity(wrong)


def test_a_quantity_comes_back_from_json():
    asked = Quantity("h", layers=[1], frames=(0, 2), patches=[[0, 1], (1, 1)], dtype="float16")
    assert asked.patches == ((0, 1), (1, 1)) and hash(asked)
    assert Quantity(**asked.to_dict()) == asked
    assert asked.to_dict()["patches"] == [[0, 1], [1, 1]]


@pytest.mark.parametrize("wrong", [{"layers": ()}, {"frames": (1, 1)}, {"patches": ()}])
def test_an_empty_or_repeated_choice_is_refused(wrong):
    with pytest.raises(ValueError, match="expected at least one, each once"):
        Quantity("h", **wrong)


def test_every_named_quantity_has_dims_that_fit_together_in_one_store():
    sizes = {}
    for one in variables(toy(), [*NAMES, "layers.0.hook_block_input", MIDDLE]):
        for dim, size in zip(one.dims, one.shape, strict=True):
            assert sizes.setdefault(dim, size) == size, (one.name, dim)
    assert sizes == {
        "feature": 32, "frame": 2, "class": 5, "layer": 2, "direction": 2, "row": 2, "col": 2,
        "channel": 64, "state": 4, "boundary": 0, "color": 3,
    }  # fmt: skip


def test_states_say_their_scale_and_boundary_states_after_which_token_they_stand():
    model = toy()
    asked = Quantity("h_boundaries", frames=(1,))
    boundaries, h, delta = variables(model, [asked, "h", "delta"])
    assert "c times the state" in boundaries.attrs()["scale"] == h.attrs()["scale"]
    assert delta.attrs() == {}
    # the class token is in front; the backward scan ends each frame at its first patch
    video = [token for token in range(model.grid.seqlen) if model.grid.position(token)]
    second = [token for token in video if model.grid.position(token)[0] == 1]
    assert boundaries.attrs()["tokens"] == {"forward": [second[-1]], "backward": [second[0]]}


def test_other_labels_get_a_dim_of_their_own():
    some = Quantity("h", layers=(1,), patches=((0, 0),))
    delta, h, u = variables(toy(), ["delta", some, Quantity("u", layers=(1,))])
    assert delta.dims == ("layer", "direction", "frame", "row", "col")
    assert h.dims == ("layer_of_h", "direction", "frame", "patch", "channel", "state")
    assert u.dims[0] == "layer_of_u" and u.labels["layer_of_u"] == (1,)
    (alone,) = variables(toy(), [some])
    assert alone.dims[0] == "layer" and alone.labels["layer"] == (1,)


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ([], "the quantities are none; expected at least one"),
        (["delta", "delta:mean"], "are delta, delta; expected at least one, each once"),
        (["dleta"], "no quantity 'dleta'; expected one of embedding, .*hook_names"),
        (["layers.7.hook_block_input"], "such as layers.[01].hook_block_input"),
        (["embedding:mean"], "has no patches for the mean; its dims are feature"),
        (["frame_features:max"], "has no patches for the max"),
        ([f"{MIDDLE}:mean"], "has no patches for the mean"),
        ([Quantity("logits", layers=(0,))], "has no layers to choose"),
        ([Quantity("layers.0.hook_block_input", layers=(0,))], "has no layers to choose"),
        ([Quantity("h_boundaries", patches=((0, 0),))], "has no patches to choose"),
        ([Quantity("delta", layers=(2,))], "layers has 2; this model has 0 to 1"),
        ([Quantity("delta", frames=(-1,))], "frames has -1; this model has 0 to 1"),
        ([Quantity("delta", patches=((2, 0),))], r"no patch \(2, 0\).*rows 0 to 1"),
    ],
)
def test_what_a_model_does_not_have_is_refused_in_a_sentence(asked, message):
    with pytest.raises(ValueError, match=message):
        variables(toy(), asked)


def test_an_encoder_has_no_logits_to_store():
    with pytest.raises(ValueError, match="extract: this model is an encoder"):
        variables(toy(num_classes=0), ["logits"])
