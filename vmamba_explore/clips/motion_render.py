"""Draw motion clips: photographs and patterns behind, cut-out objects in front, integers only.

Objects are looked up in textures with two texels to a pixel of the picture, blurred to about the
width of a pixel beforehand, so that one look-up per pixel is smooth enough.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from importlib import resources

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from vmamba_explore.clips.motion_plan import TURN, Draws, Ints, random_words

# In scikit-image's wheel, and CC0 or public domain by its skimage/data/_fetchers.py.
PHOTOGRAPHS = {
    "train": (
        "astronaut.png", "chelsea.png", "hubble_deep_field.jpg", "camera.png", "brick.png",
        "gravel.png", "clock_motion.png",
    ),
    "test": ("coffee.png", "rocket.jpg", "grass.png"),
}  # fmt: skip
RING_COLORS = ((255, 0, 220), (255, 230, 0))  # one half, other half
# Round the color circle, vivid, so that a faded object looks faded; no magenta.
_COLORS = (
    (225, 25, 30), (255, 135, 0), (255, 225, 0), (125, 210, 0),
    (0, 145, 70), (0, 190, 220), (30, 80, 240), (105, 45, 190),
)  # fmt: skip
_SPRITE_KEY = (0, 2)  # the stream of random words behind the sprites
_SMALLEST = 20  # outer diameter of the ring in 64ths of the picture; the largest is twice that
_BODY, _HOLE = 75, 82  # radius of the object and of the ring's hole, in 100ths of the ring's
_FAINTEST = 96  # opacity in 256ths
_VISIBLE = 12  # a change of a layer by more than this, in 255ths, counts

_SIN = np.round(4096 * np.sin(2 * np.pi * np.arange(4096) / 4096)).astype(np.int32)
_COS = np.roll(_SIN, -1024)
_SHRINK = np.round(4096 * 2.0 ** (-np.arange(1024) / 1024)).astype(np.int32)

Frames = NDArray[np.uint8]
Mask = NDArray[np.bool_]


# Backgrounds


@lru_cache(maxsize=64)
def _photograph(name: str, short_side: int) -> Frames:
    """One of scikit-image's photographs, its shorter side scaled to `short_side` pixels."""
    with resources.files("skimage").joinpath("data", name).open("rb") as file:
        image = Image.open(file).convert("RGB")
    ratio = short_side / min(image.size)
    kernel = Image.Resampling.BOX if ratio < 1 else Image.Resampling.BICUBIC
    size = (round(image.width * ratio), round(image.height * ratio))
    return np.asarray(image.resize(size, kernel))


def draw_background(scene: Ints, split: str, size: int) -> Frames:
    """The still background of one clip, (size, size, 3), from its random words."""
    draws = Draws(scene[None])

    def below(limit: int) -> int:
        return int(draws.below(limit)[0])

    if below(4) == 0:
        return _pattern(below, size)
    names = PHOTOGRAPHS[split]
    image = _photograph(names[below(len(names))], size * (5, 7, 10)[below(3)] // 4)
    top, left = (below(TURN) * (side - size) >> 16 for side in image.shape[:2])
    crop = image[top : top + size, left : left + size]
    crop = crop[:: 1 - 2 * below(2), :: 1 - 2 * below(2)]
    return ((crop.astype(np.uint16) * (144 + below(113))) >> 8).astype(np.uint8)


def _pattern(below: Callable[[int], int], size: int) -> Frames:
    """Two muted colors mixed by one to three waves: gradients, stripes, plaids."""
    place = (np.arange(size) * TURN + TURN // 2) // size
    waves = 1 + below(3)
    mix: Ints = np.zeros((size, size), np.int64)
    for _ in range(waves):
        across, along, start = below(9) - 4, below(9) - 4, below(TURN)
        mix += np.abs((along * place[:, None] + across * place + start) % TURN - TURN // 2)
    mix = (mix * 2 // waves)[..., None]  # 0 to TURN
    first, second = (np.array([80 + below(96) for _ in range(3)], np.int64) for _ in range(2))
    return ((first * (TURN - mix) + second * mix) >> 16).astype(np.uint8)


# Objects


@lru_cache(maxsize=512)
def _texture(sprite: int, ring: bool, size: int) -> NDArray[np.uint32]:
    """A sprite as seen upright: (4 size^2,) of packed premultiplied red, green, blue, alpha.

    A star-shaped polygon of nine corners, painted in three colors; around the target a ring of two
    colors, so that it turns visibly too.
    """
    side = 2 * size
    radius = _ring_radius(size) * 64  # drawn twice as fine as the texture, 32 units a texel
    draws = Draws(random_words(_SPRITE_KEY, np.array([sprite])))

    def below(limit: int) -> int:
        return int(draws.below(limit)[0])

    hue, corners = below(8), 9
    colors = [_COLORS[place % 8] for place in (hue, hue + 2 + below(2), hue + 5 + below(2))]
    reach = np.array([55 + below(46) for _ in range(corners)])
    reach[below(corners)] = 100
    angles = np.arange(corners) * 4096 // corners
    length = reach * radius * _BODY // 10000
    xs, ys = length * _COS[angles] >> 12, length * _SIN[angles] >> 12
    place = np.arange(2 * side) * 32 + 16 - side * 32
    x, y = place, place[:, None]
    part = np.zeros((2 * side, 2 * side), np.uint8)  # 0: nothing, then the three colors, the ring
    for corner in range(corners):
        following = (corner + 1) % corners
        (ax, ay), (bx, by) = (xs[corner], ys[corner]), (xs[following], ys[following])
        inside = (ax * y >= ay * x) & (bx * y < by * x)
        inside &= (bx - ax) * (y - ay) >= (by - ay) * (x - ax)
        part[inside] = 1 + corner // 3
    if ring:
        distance = x * x + y * y
        on_ring = (distance <= radius**2) & (distance * 10000 >= (radius * _HOLE) ** 2)
        part[on_ring & (x < 0)] = 4
        part[on_ring & (x >= 0)] = 5
    paint = np.array([(0,) * 4, *((*color, 255) for color in (*colors, *RING_COLORS))], np.int32)
    total = paint.take(part, axis=0)
    for _ in range(2):  # a box of eight, four texels wide, down and then across
        total = np.cumsum(np.pad(total, ((4, 4), (0, 0), (0, 0))), axis=0, dtype=np.int32)
        total = (total[8::2] - total[:-8:2]).swapaxes(0, 1)
    blurred = (total + 32) // 64
    return np.ascontiguousarray(blurred.astype(np.uint8)).view(np.uint32).reshape(-1)


def _ring_radius(size: int) -> int:
    """Outer radius of the ring in a texture, texels; leaves room for the blur."""
    return size - 5


class Layer:
    """One object on its own: a square patch of every frame.

    `where`, (num_frames, patch, patch): places in the flat picture (the patch wraps around it).
    `color`, (num_frames, patch, patch, 4): premultiplied red, green, blue and alpha, uint8.
    """

    def __init__(self, sprite: int, poses: Ints, ring: bool, size: int) -> None:
        patch = -(-2 * _SMALLEST * size // 64) + 2
        x, y, angle, grow, opacity = poses.T.astype(np.int64)
        corner, offset = [], []
        for phase in (x, y):
            center = phase * size >> 8  # 256ths of a pixel
            first = (center >> 8) - patch // 2
            corner.append((first[:, None] + np.arange(patch)) % size)
            offset.append(((first[:, None] + np.arange(patch)) << 8) + 128 - center[:, None])
        self.where = corner[1][:, :, None] * size + corner[0][:, None, :]
        scale = 2 * _ring_radius(size) * 64 * _SHRINK[grow >> 6] // (_SMALLEST * size)
        turned = [(scale * t[angle >> 4] >> 12)[:, None] for t in (_COS, _SIN)]
        # The picture's offset, turned back and scaled, in 256ths of a texel.
        (cos_x, sin_x), (cos_y, sin_y) = (
            [(factor * offset[axis] >> 12).astype(np.int32) for factor in turned] for axis in (0, 1)
        )
        u = (cos_x[:, None, :] + sin_y[:, :, None]) >> 8
        v = (cos_y[:, :, None] - sin_x[:, None, :]) >> 8
        for coordinate in (u, v):
            coordinate += size
            np.clip(coordinate, 0, 2 * size - 1, out=coordinate)
        v *= 2 * size
        v += u
        color = _texture(sprite, ring, size).take(v).view(np.uint8).reshape(*v.shape, 4)
        strength = (_FAINTEST + (opacity * (256 - _FAINTEST) >> 16)).astype(np.uint16)
        self.color = ((color * strength[:, None, None, None]) >> 8).astype(np.uint8)

    def draw(self, canvas: NDArray[np.uint32]) -> None:
        """Lay the object over `canvas`, (num_frames, size^2), packed like a texture."""
        where = self.where + np.arange(len(canvas))[:, None, None] * canvas.shape[1]
        behind = canvas.take(where).view(np.uint8).reshape(self.color.shape)
        alpha = self.color[..., 3:].astype(np.uint16)
        mixed = self.color + ((behind * (256 - alpha - (alpha >> 7))) >> 8).astype(np.uint8)
        canvas.reshape(-1)[where] = mixed.view(np.uint32)[..., 0]

    def full(self, size: int) -> NDArray[np.int16]:
        """The layer over an empty picture, (num_frames, size, size, 4)."""
        canvas = np.zeros((len(self.where), size * size), np.uint32)
        self.draw(canvas)
        return canvas.view(np.uint8).reshape(-1, size, size, 4).astype(np.int16)


def draw_frames(background: Frames, layers: list[Layer], num_frames: int) -> Frames:
    """Compose a clip, (num_frames, size, size, 3): the later layer is in front."""
    size = len(background)
    still = np.full((size, size, 4), 255, np.uint8)
    still[..., :3] = background
    canvas = np.repeat(still.view(np.uint32).reshape(1, -1), num_frames, axis=0)
    for layer in layers:
        layer.draw(canvas)
    frames = np.empty((num_frames, size, size, 3), np.uint8)
    for color in range(3):  # five times as fast as one copy with an innermost axis of three
        frames.reshape(-1, 3)[:, color] = canvas.view(np.uint8).reshape(-1, 4)[:, color]
    return frames


# Truth


def changed(layer: NDArray[np.int16], window: tuple[int, int]) -> Mask:
    """Pixels of a full layer that change to the frame before or after, within the window."""
    first, last = window
    steps = (np.abs(np.diff(layer[first : last + 1], axis=0)) > _VISIBLE).any(axis=-1)
    mask = np.zeros(layer.shape[:3], bool)
    mask[first:last] |= steps
    mask[first + 1 : last + 1] |= steps
    return mask


def covered(layer: NDArray[np.int16]) -> Mask:
    """Pixels of a full layer that hide some of the background."""
    return layer[..., 3] > _VISIBLE
