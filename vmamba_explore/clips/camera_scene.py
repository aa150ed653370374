"""What a virtual camera films: photographs near and far, a road between walls, moving objects.

Places on the screen are as in `camera_optics`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path as File

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from vmamba_explore.clips.camera_optics import (
    Moments,
    carry,
    look_up,
    moments,
    screen,
    tensor,
    window_of,
)
from vmamba_explore.clips.camera_path import UNITS, Level, Pose, profile
from vmamba_explore.clips.photographs import pick

SPRITE = 48  # side of an object's picture
FARTHEST = 25.0  # where the ground ends, in heights of the camera


@dataclass(frozen=True)
class Plane:
    """A photograph that stands upright before the camera.

    Args:
        picture: Its pixels, (height, width, 3 or 4), the fourth is how opaque it is, 0 to 1.
        center: Pixel that the camera looks at in the beginning.
        span: Pixels across the screen.
        nearness: See `Moments.world`.
        zoom: The same.
    """

    picture: np.ndarray
    center: np.ndarray
    span: float
    nearness: float = 1.0
    zoom: float = 1.0

    def draw(self, when: Moments, places: Tensor) -> Tensor:
        """Show the plane, (n, channels, side, side)."""
        where = carry(when.world(self.nearness, self.zoom) * self.span, places, places)
        return look_up(*window_of(self.picture, where + torch.tensor(self.center).float()))


def far_plane(
    rng: np.random.Generator, photographs: Sequence[File], side: int, zoom: float = 1.0
) -> Plane:
    """A photograph that fills the picture; now and then its upper part is an even sky."""
    view = math.exp(rng.uniform(math.log(0.22), math.log(0.8)))
    picture = surface(rng, photographs, side / view)
    span = float(min(side * rng.uniform(0.75, 1.3), *picture.shape[:2]))
    height, width = picture.shape[:2]
    center = np.array([width * rng.uniform(0.3, 0.7), height * rng.uniform(0.3, 0.7)])
    if rng.uniform() < 0.15:
        edge = center[1] + span * rng.uniform(-0.3, 0.4)
        ripple = rng.uniform(0, 0.08) * span
        wave = np.sin(np.arange(width) / width * rng.uniform(3, 30) + rng.uniform(0, 6))
        sky = np.clip((edge + ripple * wave - np.arange(height)[:, None]) / 3, 0, 1)[..., None]
        color = rng.uniform(80, 255, 3) * (1 + 0.2 * np.arange(height)[:, None, None] / height)
        picture = picture * (1 - sky * 0.97) + color * sky * 0.97
    return Plane(picture, center, span, 1.0, zoom)


def surface(rng: np.random.Generator, photographs: Sequence[File], short_side: float) -> np.ndarray:
    """A photograph, or now and then a pattern of waves and clouds in two colors."""
    if rng.uniform() > 0.12:
        return pick(rng, photographs, short_side)
    side = int(np.clip(short_side, 140, 420))
    roughness = rng.uniform(0.7, 1.8)
    across = np.fft.fftfreq(side)[:, None], np.fft.rfftfreq(side)[None]
    power = np.hypot(*across)
    power[0, 0] = 1
    noise = np.fft.irfft2(np.fft.rfft2(rng.normal(size=(side, side))) / power**roughness)
    mix = 0.5 + noise / (4 * noise.std())
    if rng.uniform() < 0.5:
        mix = (mix > rng.uniform(0.3, 0.7)) * rng.uniform(0.5, 1) + 0.2 * mix
    one, other = rng.uniform(0, 255, (2, 3))
    return np.clip(one + (other - one) * np.clip(mix, 0, 1)[..., None], 0, 255)


def near_plane(
    rng: np.random.Generator, photographs: Sequence[File], side: int, moves_forward: bool
) -> Plane:
    """Part of a photograph before the far plane: a wall, a bank, posts, bushes."""
    picture = pick(rng, photographs, side / math.exp(rng.uniform(math.log(0.25), math.log(0.8))))
    if rng.uniform() < 0.3:
        picture = picture * 0.2 + rng.uniform(0, 255, 3) * 0.8
    height, width = picture.shape[:2]
    y, x = np.mgrid[:height, :width].astype(np.float32)
    shape = rng.uniform()
    if shape < 0.5:
        ripple = 0.06 * np.sin(x / width * rng.uniform(3, 25) + rng.uniform(0, 6))
        edge = height * (rng.uniform(0.55, 0.8) + ripple)
        opaque = np.clip(y - edge, 0, 1)
        if shape < 0.15:
            opaque = np.clip(x - width * rng.uniform(0.55, 0.8), 0, 1)
            opaque = opaque[:, ::-1] if rng.uniform() < 0.5 else opaque
    else:
        opaque = np.zeros((height, width), np.float32)
        for _ in range(rng.integers(1, 6)):
            reach = side * rng.uniform(0.03, 0.2), side * rng.uniform(0.08, 0.6)
            middle = rng.uniform(0, width), rng.uniform(0, height)
            inside = 1 - np.hypot((x - middle[0]) / reach[0], (y - middle[1]) / reach[1])
            opaque = np.maximum(opaque, np.clip(inside * min(reach), 0, 1))
    nearness = rng.uniform(1.1, 1.8 if moves_forward else 2.0)
    seen = np.dstack([picture * opaque[..., None], opaque])
    center = np.array([width * rng.uniform(0.35, 0.65), height * rng.uniform(0.35, 0.65)])
    zoom = nearness if moves_forward else 1.0
    return Plane(seen, center, side * rng.uniform(0.8, 1.2), nearness, zoom)


def over(canvas: Tensor, layer: Tensor) -> Tensor:
    """Lay pictures (n, 4, ...), premultiplied by their opacity, over others (n, 3, ...)."""
    return canvas * (1 - layer[:, 3:]) + layer[:, :3]


@dataclass(frozen=True)
class Part:
    """A part of a moving object.

    Args:
        sprite: Its picture, premultiplied, (4, side, side).
        places: Center right and down, width and height, angle: (num_frames, 5).
    """

    sprite: Tensor
    places: np.ndarray

    def draw(self, when: Moments, canvas: Tensor) -> None:
        """Draw the part onto pictures (n, 3, side, side), where it is."""
        side = canvas.shape[-1]
        x, y, wide, high, angle = when.at(self.places).T
        reach = 0.5 * np.hypot(wide, high) + 1 / side
        left, right = ((x - reach).min() + 0.5) * side, ((x + reach).max() + 0.5) * side
        top, bottom = ((y - reach).min() + 0.5) * side, ((y + reach).max() + 0.5) * side
        x0, x1 = int(max(left, 0)), math.ceil(min(right, side))
        y0, y1 = int(max(top, 0)), math.ceil(min(bottom, side))
        if x1 <= x0 or y1 <= y0:
            return
        c, s = np.cos(angle), np.sin(angle)
        size = self.sprite.shape[-1]
        kx, ky = size / np.maximum(wide, 1e-3), size / np.maximum(high, 1e-3)
        rows = [
            np.stack([c * kx, s * kx, -(c * x + s * y) * kx + size / 2], 1),
            np.stack([-s * ky, c * ky, (s * x - c * y) * ky + size / 2], 1),
        ]
        matrices, places = torch.from_numpy(np.stack(rows, 1)).float(), screen(side)
        where = carry(matrices, places[x0:x1], places[y0:y1])
        view = canvas[:, :, y0:y1, x0:x1]
        view.copy_(over(view, look_up(self.sprite, where, "zeros")))


def outline(rng: np.random.Generator, size: int = SPRITE) -> np.ndarray:
    """A blob, or a few joined ellipses: how opaque an object is, (size, size)."""
    place = np.linspace(-1, 1, size, dtype=np.float32)
    x, y = np.meshgrid(place, place)
    if rng.uniform() < 0.5:
        angle, radius = np.arctan2(y, x), np.hypot(x, y * rng.uniform(0.8, 1.2))
        edge = 0.65 + sum(
            rng.uniform(-0.18, 0.18) / k * np.cos(k * angle + rng.uniform(0, 6.3))
            for k in (1, 2, 3, 4)
        )
        inside = edge - radius
    else:
        inside = np.full((size, size), -1.0, np.float32)
        for _ in range(rng.integers(2, 5)):
            (mx, my), (rx, ry) = rng.uniform(-0.45, 0.45, 2), rng.uniform(0.2, 0.5, 2)
            inside = np.maximum(inside, 1 - np.hypot((x - mx) / rx, (y - my) / ry))
    return np.clip(inside * size / rng.uniform(3, 6), 0, 1)


def sprite(rng: np.random.Generator, photographs: Sequence[File], opaque: np.ndarray) -> Tensor:
    """A piece of a photograph, or a plain color, in the shape of an object."""
    size = len(opaque)
    picture = pick(rng, photographs, 140 / rng.uniform(0.3, 0.9))
    wide = min(size * int(rng.integers(1, 4)), *picture.shape[:2])
    top = rng.integers(picture.shape[0] - wide + 1)
    left = rng.integers(picture.shape[1] - wide + 1)
    piece = tensor(picture[top : top + wide, left : left + wide])
    piece = F.interpolate(piece[None], (size, size), mode="area")[0]
    if rng.uniform() < 0.35:
        piece = piece * 0.25 + torch.from_numpy(rng.uniform(0, 255, (3, 1, 1))).float() * 0.75
    alpha = torch.from_numpy(opaque.astype(np.float32))[None]
    return torch.cat([piece * alpha, alpha])


def objects(
    rng: np.random.Generator, photographs: Sequence[File], pose: Pose, busy: bool
) -> list[Part]:
    """Draw none to three objects of one to three parts each, which live their own lives.

    Args:
        rng: Where the randomness comes from.
        photographs: What they are made of.
        pose: The camera.
        busy: More of them, larger, and faster.
    """
    num_frames = len(pose)
    time = np.arange(num_frames)[:, None]

    def sway(amplitude: float) -> np.ndarray:
        rate, start = rng.uniform(0.2, 1.5, 2), rng.uniform(0, 6, 2)
        return rng.uniform(-1, 1, 2) * amplitude * np.sin(time * rate + start)

    parts = []
    for _ in range(rng.choice([0, 1, 1, 1, 2, 2, 3, 3] if busy else [0, 0, 1, 1, 1, 2, 2, 3])):
        side = math.exp(rng.uniform(math.log(0.2), math.log(1.5 if busy else 0.9)))
        follows = rng.choice([0.0, 1.0, 1.0, 1.3])  # 0 stays in the picture, like a talking head
        reach = rng.choice([0, 0.15, 0.6, 1.3]) if busy else rng.choice([0, 0.15, 0.6])
        own = profile(rng, num_frames)[:, None] * rng.uniform(-1, 1, 2) * reach
        own = own + sway(rng.choice([0.03, 0.1, 0.3]) if busy else 0.05)
        seen = pose * follows
        zoom = np.exp(seen[:, 2:3])
        c, s = np.cos(-seen[:, 3]), np.sin(-seen[:, 3])
        growth = profile(rng, num_frames) * rng.uniform(-1, 1) * rng.choice([0, 0.1, 0.4])
        turn = profile(rng, num_frames) * rng.uniform(-1, 1) * rng.choice([0, 0.1, 0.6])
        spot = rng.uniform(-0.1, 0.1, 2) if rng.uniform() < 0.3 else rng.uniform(-0.45, 0.45, 2)
        for _ in range(rng.integers(1, 4)):
            place = spot + rng.uniform(-0.4, 0.4, 2) * side + own - own.mean(0)
            place = place + sway(rng.uniform(0, 0.14) * side) - seen[:, :2]
            x, y = place.T
            xy = np.stack([c * x - s * y, s * x + c * y], 1) * zoom
            pulse = 1 + rng.uniform(0, 0.1) * np.sin(time * rng.uniform(0.2, 1.2))
            size = side * rng.uniform(0.5, 1) * zoom * np.exp(growth)[:, None] * pulse
            angle = turn + rng.uniform(0, 6.3) - seen[:, 3]
            places = np.concatenate([xy, size, size, angle[:, None]], 1)
            parts.append(Part(sprite(rng, photographs, outline(rng)), places))
    return parts


@dataclass(frozen=True)
class Road:
    """Ground between two walls, and posts beside it, under a still sky: what a dash cam sees.

    Args:
        ground: Texture of the ground, (3, height, width).
        walls: Textures of the left and of the right wall; None where the view is open.
        horizon: Its place on the screen, below the center.
        height: Of the camera over the ground, as seen at a distance of 1.
        sides: Distance of the walls to the left and to the right.
        tops: Height of the walls over the horizon.
        density: Pixels of a texture in a unit of distance.
        offset: Where the textures begin.
        posts: Beside the road.
        forward: How far the camera has come at each frame, (num_frames,).
    """

    ground: Tensor
    walls: tuple[Tensor | None, Tensor | None]
    horizon: float
    height: float
    sides: tuple[float, float]
    tops: tuple[float, float]
    density: float
    offset: float
    posts: list[tuple[Tensor, float, float, float, float]]
    forward: np.ndarray

    def depth(self, rays: Tensor) -> tuple[Tensor, Tensor]:
        """Inverse distance and kind of what each ray (..., 2) hits: 0 far, 1 ground, 2, 3 walls."""
        x, y = rays[..., 0], rays[..., 1] - self.horizon
        near = (y / self.height).clamp_min(1 / FARTHEST)
        kind = (y > self.height / FARTHEST).long()
        for number, (side, top, sign) in enumerate(
            zip(self.sides, self.tops, (-1, 1), strict=True)
        ):
            if self.walls[number] is None:
                continue
            wall = sign * x / side
            hit = (wall > near) & (y > -top * wall)
            near = torch.where(hit, wall, near)
            kind = torch.where(hit, torch.full_like(kind, 2 + number), kind)
        return near, kind

    def draw(self, when: Moments, places: Tensor, canvas: Tensor) -> Tensor:
        """Draw the road over pictures of what is far, (n, 3, side, side)."""
        turned = carry(when.world(1.0, 0.0), places, places)
        near, kind = self.depth(turned)
        distance = 1 / near
        come = torch.from_numpy(when.at(self.forward)).float()[:, None, None]
        along = (distance + come) * self.density + self.offset
        fade = ((near - 1 / FARTHEST) * FARTHEST / 3).clamp(0, 1)[:, None]
        for number, texture in enumerate((self.ground, *self.walls), 1):
            here = kind == number
            if texture is None or not here.any():
                continue
            rays = turned[..., 0] if number == 1 else turned[..., 1] - self.horizon
            across = rays * distance * self.density + texture.shape[2] / 2
            spots = torch.stack([across, along], -1)
            seen = self._read(texture, spots, here)
            canvas = torch.where(here[:, None], canvas * (1 - fade) + seen * fade, canvas)
        for part in self._parts(when.start):
            part.draw(when, canvas)
        return canvas

    @staticmethod
    def _read(texture: Tensor, spots: Tensor, here: Tensor) -> Tensor:
        rows = here.any(-1).any(0).nonzero()[:, 0]
        first, last = int(rows[0]), int(rows[-1]) + 1
        result = torch.zeros(len(spots), 3, *spots.shape[1:3])
        result[:, :, first:last] = look_up(texture, spots[:, first:last].contiguous())
        return result

    def _parts(self, pose: Pose) -> list[Part]:
        """Posts as upright pieces, the farthest first."""
        inverse = Moments(np.arange(len(pose)), pose, pose).world(1.0, 0.0).double().numpy()
        parts = []
        for picture, x, distance, wide, high in sorted(self.posts, key=lambda post: -post[2]):
            away = np.maximum(distance - self.forward, 0.25)
            spot = np.stack([x / away, self.horizon + (self.height - high / 2) / away], 1)
            place = np.linalg.solve(inverse[:, :, :2], (spot - inverse[:, :, 2])[..., None])[..., 0]
            gone = (distance - self.forward <= 0.25)[:, None]
            place = np.where(gone, place + np.sign(x) * 9, place)
            size = np.stack([wide / away, high / away], 1)
            parts.append(Part(picture, np.concatenate([place, size, -pose[:, 3:]], 1)))
        return parts


def draw_road(
    rng: np.random.Generator, photographs: Sequence[File], pose: Pose, far_zoom: float
) -> Road:
    """Draw a road along which a zoom of the pose is a drive: as much, measured over the picture."""

    def texture(contrast: float) -> Tensor:
        picture = tensor(pick(rng, photographs, 280.0))
        tone = torch.from_numpy(rng.uniform(50, 190) * rng.uniform(0.85, 1.15, (3, 1, 1))).float()
        return picture * contrast + tone * (1 - contrast)

    ground = texture(rng.uniform(0.05, 0.6))
    if rng.uniform() < 0.6:
        width = ground.shape[2]
        for place in rng.choice([0.25, 0.35, 0.5, 0.65, 0.75], 2, replace=False):
            column = int(width * place)
            length = ground.shape[1] if rng.uniform() < 0.5 else ground.shape[1] // 2
            ground[:, :length, column : column + 3] = rng.uniform(180, 250)
    height, density = rng.uniform(0.2, 0.6), rng.uniform(50, 130)
    left, right = (texture(rng.uniform(0.2, 1)) if rng.uniform() < 0.55 else None for _ in range(2))
    posts = []
    for _ in range(rng.integers(0, 9)):
        high = rng.uniform(0.4, 2.2) * height * 2
        shape = np.ones((SPRITE, SPRITE), np.float32) if rng.uniform() < 0.5 else outline(rng)
        wide = high * (rng.uniform(0.05, 0.2) if shape.all() else rng.uniform(0.4, 1))
        x = rng.choice([-1, 1]) * rng.uniform(0.35, 1.4)
        posts.append((sprite(rng, photographs, shape), x, rng.uniform(0.8, 6), wide, high))
    road = Road(
        ground,
        (left, right),
        horizon=rng.uniform(-0.2, 0.12),
        height=height,
        sides=(rng.uniform(0.3, 1.2), rng.uniform(0.3, 1.2)),
        tops=(rng.uniform(0.1, 1), rng.uniform(0.1, 1)),
        density=density,
        offset=rng.uniform(0, 500),
        posts=posts,
        forward=np.zeros(len(pose)),
    )
    places = torch.stack(torch.meshgrid(screen(32), screen(32), indexing="xy"), -1)
    near, kind = road.depth(places)
    weight = (places**2).sum(-1)
    is_far = (kind == 0).float()
    far = float((weight * is_far).sum() / weight.sum()) * far_zoom
    gain = float((weight * near * (1 - is_far)).sum() / weight.sum())
    forward = pose[:, 2] * (1 - far) / max(gain, 0.15)
    posts = [(a, x, distance + max(forward.max(), 0), w, h) for a, x, distance, w, h in posts]
    return Road(**{**vars(road), "forward": forward, "posts": posts})


def film(
    rng: np.random.Generator,
    photographs: Sequence[File],
    kind: int,
    pose: Pose,
    side: int,
    level: Level = "usual",
) -> tuple[Tensor, Tensor]:
    """Film a scene along a path.

    Args:
        rng: Where the randomness comes from.
        photographs: What scenes are made of.
        kind: Index into `KINDS`; zooms may be drives along a road.
        pose: The camera, (num_frames, 4).
        side: Of the pictures, pixels.
        level: "hard" has more roads and larger objects, "easy" a photograph only.
    Returns:
        RGB, 0 to 255, (num_frames, 3, side, side), and where objects move of their own,
        (num_frames, side, side).
    """
    if level == "easy":
        still = far_plane(rng, photographs, side)
        pictures = still.draw(moments(pose, 1, 0.0), screen(side)).contiguous()
        return pictures, torch.zeros(len(pose), side, side, dtype=torch.bool)
    is_zoom, hard = kind in (5, 6), level == "hard"
    moves_forward = is_zoom and rng.uniform() < 0.6
    road = rng.uniform() < (0.6 if moves_forward else 0.0 if is_zoom else 0.25 if hard else 0.08)
    far_zoom = rng.uniform(0.03, 0.5) if road else 1.0
    back = far_plane(rng, photographs, side, far_zoom)
    way = draw_road(rng, photographs, pose, far_zoom) if road else None
    front = None
    if not road and rng.uniform() < 0.35:
        front = near_plane(rng, photographs, side, moves_forward)
    busy = hard or kind in (0, 9) or rng.uniform() < 0.3
    things = objects(rng, photographs, pose, busy)
    shutter = rng.uniform(0.1, 0.8) if rng.uniform() < 0.6 else 0.0
    speed = float(np.abs(np.diff(pose, axis=0) * UNITS).max()) * side * shutter
    substeps = 1 if speed < 0.8 else min(4, 1 + int(speed))
    when, places = moments(pose, substeps, shutter), screen(side)
    canvas = back.draw(when, places).contiguous()
    if way is not None:
        canvas = way.draw(when, places, canvas)
    if front is not None:
        canvas = over(canvas, front.draw(when, places))
    without = canvas.clone()
    for thing in things:
        thing.draw(when, canvas)
    objects_seen = (canvas - without).abs().amax(1) > 0.5
    if road and rng.uniform() < 0.35:  # the hood of the car
        bulge = places**2 * rng.uniform(-0.1, 0.4)
        hood = ((places[:, None] - rng.uniform(0.28, 0.42) - bulge) * side).clamp(0, 1)
        canvas = canvas * (1 - hood) + hood * rng.uniform(5, 120)
    pictures = canvas.view(len(pose), substeps, 3, side, side).mean(1)
    return pictures, objects_seen.view(len(pose), substeps, side, side).any(1)
