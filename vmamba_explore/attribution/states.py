"""What the hidden states carry towards a number: state times gradient."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
import xarray as xr
from jaxtyping import Float
from torch import Tensor

from vmamba_explore.analysis.frame_states import frame_ends
from vmamba_explore.attribution.problem import Problem, State
from vmamba_explore.attribution.result import Found
from vmamba_explore.attribution.scan_gradients import (
    ScanGradient,
    as_found,
    chosen_scans,
    frozen_scan,
    over_scans,
    scan_gradients,
)
from vmamba_explore.model.ssm import BOUNDARY, at_least_float32
from vmamba_explore.trace.places import Layers
from vmamba_explore.trace.trace import TokenLabels


def state_x_gradient(
    problem: Problem, *, layers: Layers = None, direction: str | None = None
) -> Found:
    """State times gradient: how much of the number the scans carry on from each token.

    With h_t the state after token t and lambda_t = df/dh_t its whole gradient, in each layer and
    direction, and then summed::

        value_t = sum_{d,n} h_t lambda_t = sum_{s >= t} r_s - sum_{s > t} w_s
        w_s = sum_n B_s df/dB_s     what is written at s for later      (`attention_x_gradient`)
        r_s = sum_n C_s df/dC_s     what is read at s

    with s >= t in the order of the scan: what is read from t on, less what is only written after
    t, so no state is ever computed. It shows what passes token t, not what comes from it: a path
    between writing and reading, not a map of evidence. Only the selection of the state's own scan
    is frozen, which a state cannot change; the arbitrary scale of the states cancels. A scan that
    does not start from zeros (VideoMambaPro) hands on more than was written: there the states are
    computed, a few tokens at a time.

    Args:
        problem: What to explain, a class or a `State`.
        layers: Which, None for all (up to that of a `State`).
        direction: "forward", "backward" or None for both.
    Returns:
        Values on the tokens, and in `details` a `ScanParts`, by layer and direction.
    Raises:
        ValueError: there is no such layer or direction.
    """
    target = problem.target

    def carried(found: ScanGradient) -> Tensor:
        written, read = found.product("B"), found.product("C").double()
        own = found.scan.ssm.hook_h.name
        if isinstance(target, State) and target.hook == own:
            # all that it holds was written, and is read at its token
            read[:, target.token] = written.sum(1)
        backwards = found.scan.ssm.steps(written.shape[-1]).flip(0)
        left = read[:, backwards]
        left[:, 1:] -= written.double()[:, backwards[:-1]]
        return left.cumsum(-1)[:, backwards.argsort()].to(written)

    def by_states(found: ScanGradient) -> Tensor:
        tokens = list(range(found.values["u"].shape[-1]))
        some = (tokens[i : i + BOUNDARY] for i in range(0, len(tokens), BOUNDARY))
        pairs = (_gradients_and_states(found, part, target) for part in some)
        return torch.cat([(gradient * state).sum((1, 2)) for gradient, state in pairs], dim=1)

    name, place = "state x gradient", (layers, direction)
    if problem.model.config.scan_variant == "mamba":
        return as_found(over_scans(problem, ["B", "C"], name, *place, carried))
    return as_found(over_scans(problem, ["u", "delta", "B", "C", "y"], name, *place, by_states))


@dataclass(frozen=True, eq=False)
class StateGradients:
    """The states of one scan after some tokens, and the explained number's gradient for each.

    The scale of `gradients` and `states` is arbitrary (B c and C / c make the same model); that
    of `products` is not.

    Attributes:
        gradients: df/dh, (batch, d_inner, d_state, token).
        states: h, the same shape.
        layer: Block number.
        direction: "forward" or "backward".
        tokens: Natural index of each entry of the axis `token`.
        labels: Places and times of the tokens.
    """

    gradients: Float[Tensor, "batch d_inner d_state token"]
    states: Float[Tensor, "batch d_inner d_state token"]
    layer: int
    direction: str
    tokens: tuple[int, ...]
    labels: TokenLabels

    @property
    def products(self) -> Float[Tensor, "batch d_inner d_state token"]:
        """State times gradient, number by number: in units of what is explained."""
        return self.states * self.gradients

    def array(self, clip: int = 0) -> xr.DataArray:
        """The products of one clip: dims token, channel, state; the coordinate `frame` is the
        token's frame, -1 for the class token."""
        values = self.products[clip].permute(2, 0, 1).float().cpu().numpy()
        tokens, name = list(self.tokens), "state x gradient"
        coords = {
            "token": tokens,
            "frame": ("token", self.labels.grid.frame_of_tokens()[tokens].numpy()),
            "layer": self.layer,
            "direction": self.direction,
        }
        return xr.DataArray(values, coords, ("token", "channel", "state"), name, {"quantity": name})

    def strongest(self, clip: int = 0, count: int = 5) -> list[tuple[State, float]]:
        """The states with the largest |products|, largest first, each with its product.

        Each can be a target itself: `attribute(model, clip, target=state)`.
        """
        products, found = self.products[clip], []
        largest = products.abs().flatten().topk(min(count, products.numel())).indices
        for place in torch.stack(torch.unravel_index(largest, products.shape), 1).tolist():
            channel, state, token = place
            where = State(self.layer, self.direction, self.tokens[token], channel, state)
            found.append((where, float(products[channel, state, token])))
        return found


def state_gradient(
    problem: Problem,
    *,
    layer: int = 0,
    direction: str = "forward",
    tokens: int | Iterable[int] | Tensor | None = None,
) -> Found:
    """Every number of one scan's state times its gradient, after chosen tokens.

    lambda_t = df/dh_t comes from one scan of the transposed operator, which reads the gradient
    for the scan's output y against the order of the scan::

        lambda_t = C_t df/dy_t + exp(delta' A) lambda',   ' the token that is read next

    Only the states after the chosen tokens are stored. Frozen: the selection of this scan.

    Args:
        problem: What to explain, a class or a `State`.
        layer: Block number; negative ones count from the last. With a class token in front, the
            forward states of the last layer are never read: all are 0 there.
        direction: "forward" or "backward".
        tokens: Natural indices; None: those after which the scan leaves a token frame.
    Returns:
        The sum of |h lambda| at those tokens, 0 elsewhere (`state_x_gradient` has the signed
        sum). In `details` the `StateGradients`.
    Raises:
        ValueError: there is no such layer, direction or token.
    """
    depth = len(problem.model.layers)
    layer = layer + depth if -depth <= layer < 0 else layer
    chosen = chosen_scans(problem, layer, direction)
    grid = problem.labels.grid
    if tokens is None:
        places = frame_ends(problem.model, direction)[1].sort().values
    else:
        places = grid.checked(tokens, "state_gradient")
    kept = places.tolist()
    if not kept:
        raise ValueError("state_gradient: tokens is empty, expected at least one natural index.")
    both = []
    for part in problem.parts():
        (found,) = scan_gradients(part, chosen, ("u", "delta", "B", "C", "y"))
        both.append(_gradients_and_states(found, kept, problem.target))
    gradients, states = (torch.cat(each) for each in zip(*both, strict=True))
    details = StateGradients(gradients, states, layer, direction, tuple(kept), problem.labels)
    values = details.products.new_zeros(problem.batch, grid.seqlen)
    values[:, kept] = details.products.abs().sum((1, 2))
    return Found(values, details=details)


def _gradients_and_states(
    found: ScanGradient, tokens: list[int], target: Tensor | State
) -> tuple[Tensor, Tensor]:
    frozen, read = frozen_scan(found, target)
    states = frozen.states(at_least_float32(found.values["u"]), tokens)
    return frozen.adjoint_states(read, tokens), states
