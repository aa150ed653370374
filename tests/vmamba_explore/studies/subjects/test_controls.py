import numpy as np
import torch

from vmamba_explore.studies.subjects.controls import FrameClassifier, Look, train_control


def test_the_classifier_cannot_tell_the_order_of_frames():
    torch.manual_seed(0)
    images, places = torch.randn(2, 5, 3, 32, 32), torch.arange(5).expand(2, 5)
    order = torch.tensor([3, 1, 4, 0, 2])
    without = FrameClassifier(5, 4, use_index=False)
    shuffled = without(images[:, order], places)
    assert torch.allclose(without(images, places), shuffled, atol=1e-6)
    with_index = FrameClassifier(5, 4, use_index=True)
    one = images[:, :1]
    assert not torch.equal(with_index(one, places[:, :1]), with_index(one, places[:, 1:2]))
    assert torch.equal(without(one, places[:, :1]), without(one, places[:, 1:2]))


def test_a_control_finds_a_leak_where_there_is_one():
    """If brightness gave the label away, the control would say so: it can fail the clips."""

    def leaky(indices):
        rng = np.random.default_rng(indices[0])
        labels = rng.integers(0, 2, len(indices))
        frames = rng.integers(0, 80, (len(indices), 1, 16, 16, 3)) + 120 * labels.reshape(
            -1, 1, 1, 1, 1
        )
        places = np.zeros((len(indices), 1), np.int64)
        return frames.astype(np.uint8), places, torch.from_numpy(labels)

    predicted, labels, logits = train_control(
        Look(leaky, leaky),
        num_frames=1,
        num_classes=2,
        steps=40,
        batch_size=16,
        num_test=100,
        seed=0,
        desc="leak",
    )
    assert logits.shape == (100, 2)
    assert (predicted == labels).mean() > 0.95
