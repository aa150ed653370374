"""What each token wrote into a feature of the states: an exact sum."""

from __future__ import annotations

from functools import partial

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from vmamba_explore.analysis.features.sae import SparseFeatures
from vmamba_explore.analysis.frame_states import frame_ends
from vmamba_explore.edits import editing
from vmamba_explore.model.ssm import at_least_float32
from vmamba_explore.model.videomamba import VideoMamba
from vmamba_explore.trace.places import scans


class Written:
    """Keeps, of the runs inside its block, what the tokens write into the states at a site.

    A state is the sum of what the tokens before wrote, each decayed since then, and a feature's
    code before its threshold is linear in the state. So it is a sum over tokens, once the step
    sizes are taken as they were.

    Args:
        model: The model.
        features: Features of states.
    """

    def __init__(self, model: VideoMamba, features: SparseFeatures) -> None:
        site = features.site
        (scan,) = scans(model, site.layer, site.direction)
        self.model, self.features, self.ssm = model, features, scan.ssm
        steps, self.ends = frame_ends(model, str(site.direction))
        self.steps = steps.tolist()
        self._kept: dict[str, Tensor] = {}
        hooks = {"u": scan.ssm.hook_u, "delta": scan.ssm.hook_delta, "B": scan.ssm.hook_B}
        self.block = editing(
            *((point.functions, partial(self._keep, name)) for name, point in hooks.items())
        )

    def _keep(self, name: str, value: Tensor, _: object) -> None:
        self._kept[name] = at_least_float32(value)

    def parts(
        self, clip: int, which: Int64[Tensor, " feature"], frames: Int64[Tensor, " feature"]
    ) -> Float[Tensor, "feature frame row col"]:
        """Return how much each patch brings to features' codes at the end of some token frame.

        Args:
            clip: Which clip of the run.
            which: Numbers of the features.
            frames: For each, the token frame after which its state is read.
        Returns:
            In units of the code; 0 at tokens that the scan reads later. All tokens, class tokens
            included, and the feature's offset add up to the code before its threshold.
        """
        whole = self.by_token(clip, which, frames)
        return self.model.grid.split(whole, dim=1)[0]

    def by_token(
        self, clip: int, which: Int64[Tensor, " feature"], frames: Int64[Tensor, " feature"]
    ) -> Float[Tensor, "feature seqlen"]:
        """Return the same for every token in natural order; see `parts`."""
        ssm, features = self.ssm, self.features
        u, delta, B = (self._kept[name][clip] for name in ("u", "delta", "B"))
        order = ssm.steps(u.shape[-1])
        u, delta, B = u[:, order], delta[:, order], B[:, order]
        elapsed = delta.double().cumsum(-1)
        write = (delta * u)[:, None] * B  # (d_inner, d_state, step)
        if ssm.starts_from_first:
            write[..., 0] += torch.exp(delta[:, None, 0] * ssm.A) * u[:, None, 0]
        weights = (features.encoder * features.measure[:, None]).T.view(-1, *write.shape[:2]).to(u)
        found = torch.zeros(len(which), u.shape[-1], device=u.device)
        for frame in frames.unique().tolist():
            step = self.steps[int(frame)]
            mine = (frames == frame).nonzero()[:, 0]
            since = (elapsed[:, [step]] - elapsed[:, : step + 1]).to(u.dtype)
            decayed = write[..., : step + 1] * torch.exp(since[:, None] * ssm.A[..., None])
            found[mine, : step + 1] = torch.einsum("fdn,dnt->ft", weights[which[mine]], decayed)
        natural = torch.empty_like(found)
        natural[:, order] = found
        return natural
