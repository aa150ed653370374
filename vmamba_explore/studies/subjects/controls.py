"""Classifiers that must fail: what clips would give away without motion, order or memory.

Each is a small convolutional network trained on one kind of evidence. If one of them beats chance,
the labels leak and an accuracy on these clips means nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F
from tqdm.auto import tqdm

from vmamba_explore.clips.clip import normalize
from vmamba_explore.clips.labeled import PlannedClips

# images uint8 (n, k, H, W, 3), the place of each image in its clip (n, k), labels (n,)
Looked = tuple[NDArray[np.uint8], NDArray[np.int64], Tensor]
Evidence = Callable[[NDArray[np.int64]], Looked]  # clip indices -> what the control looks at


class Look(NamedTuple):
    """What a control looks at.

    Args:
        train: Evidence of training clips.
        test: The same of test clips.
        use_index: Whether it is told each image's index in the clip.
        votes: Whether each image votes for itself; see `FrameClassifier`.
    """

    train: Evidence
    test: Evidence
    use_index: bool = False
    votes: bool = False


class FrameClassifier(nn.Module):
    """Look at frames one by one, with the index of each, and add up what they say.

    Order-free by construction: permuting frames, each with its index, changes nothing. What is
    added up are features, which are judged together, or with `votes` the frames' own logits.
    """

    def __init__(
        self,
        num_frames: int,
        num_classes: int,
        use_index: bool,
        votes: bool = False,
        width: int = 32,
    ) -> None:
        super().__init__()
        self.use_index, self.votes = use_index, votes
        self.features = nn.Sequential(
            nn.Conv2d(3, width, 5, stride=2, padding=2),
            nn.ReLU(),
            nn.Conv2d(width, 2 * width, 3, stride=2, padding=1),
            nn.ReLU(),
            nn.Conv2d(2 * width, 2 * width, 3, stride=2, padding=1),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d(2),
            nn.Flatten(),
        )
        self.index = nn.Embedding(num_frames, 8 * width)
        self.head = nn.Sequential(nn.Linear(8 * width, 128), nn.ReLU(), nn.Linear(128, num_classes))

    def forward(self, images: Tensor, places: Tensor) -> Tensor:
        """Map (batch, k, 3, H, W) and places (batch, k) to logits (batch, num_classes)."""
        batch, k = images.shape[:2]
        features = self.features(images.flatten(0, 1)).view(batch, k, -1)
        if self.use_index:
            features = features + self.index(places)
        return self.head(features).mean(1) if self.votes else self.head(features.mean(1))


def train_control(
    look: Look,
    *,
    num_frames: int,
    num_classes: int,
    steps: int,
    batch_size: int,
    num_test: int,
    seed: int,
    desc: str,
) -> tuple[NDArray[np.int64], NDArray[np.int64], Tensor]:
    """Train one control and run it on clips it has not seen.

    Args:
        look: What it may look at.
        num_frames: Frames of a clip.
        num_classes: Classes.
        steps: Optimizer steps.
        batch_size: Clips a step.
        num_test: Test clips.
        seed: Of the weights.
        desc: Label of the progress bar.
    Returns:
        Predicted classes (num_test,), labels (num_test,), logits (num_test, num_classes).
    """
    torch.manual_seed(seed)
    net = FrameClassifier(num_frames, num_classes, look.use_index, look.votes)
    optimizer = torch.optim.AdamW(net.parameters(), 1e-3)
    for step in tqdm(range(steps), desc=desc, unit="step", leave=False):
        indices = np.arange(step * batch_size, (step + 1) * batch_size)
        frames, places, labels = look.train(indices)
        loss = F.cross_entropy(net(_images(frames), torch.from_numpy(places)), labels)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
    scores: list[Tensor] = []
    truth: list[Tensor] = []
    with torch.no_grad():
        for begin in range(0, num_test, 50):
            indices = np.arange(begin, min(begin + 50, num_test))
            frames, places, label = look.test(indices)
            scores.append(net(_images(frames), torch.from_numpy(places)))
            truth.append(label)
    logits = torch.cat(scores)
    return logits.argmax(-1).numpy(), torch.cat(truth).numpy(), logits


def train_controls(
    looks: Mapping[str, Look], *, num_frames: int, num_classes: int, steps: int, num_test: int
) -> Iterator[tuple[str, NDArray[np.int64], NDArray[np.int64], Tensor]]:
    """Train some controls, one after the other; yield the name of each with its answers."""
    for name, look in looks.items():
        yield (
            name,
            *train_control(
                look,
                num_frames=num_frames,
                num_classes=num_classes,
                steps=steps,
                batch_size=32,
                num_test=num_test,
                seed=0,
                desc=f"control: {name}",
            ),
        )


def single_frames(clips: PlannedClips, each: int, indices: NDArray[np.int64]) -> Looked:
    """Single frames, `each` of every clip, each an example of its own."""
    frames, labels = clips.batch(indices)
    places = np.random.default_rng(indices[0]).integers(0, frames.shape[1], (len(indices), each))
    chosen = frames[np.arange(len(indices))[:, None], places].reshape(-1, 1, *frames.shape[2:])
    return chosen, places.reshape(-1, 1), torch.from_numpy(labels).repeat_interleave(each)


def all_frames(clips: PlannedClips, indices: NDArray[np.int64]) -> Looked:
    """All frames of a clip, with their numbers."""
    frames, labels = clips.batch(indices)
    places = np.tile(np.arange(frames.shape[1]), (len(indices), 1))
    return frames, places, torch.from_numpy(labels)


def _images(frames: NDArray[np.uint8]) -> Tensor:
    return normalize(frames).movedim(-4, -3)
