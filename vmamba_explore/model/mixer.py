"""The bidirectional Mamba mixer and the residual block around it."""

from __future__ import annotations

from torch import Tensor, nn

from vmamba_explore.hooks import HookPoint
from vmamba_explore.model.config import VideoMambaConfig
from vmamba_explore.model.ssm import SelectiveSSM, at_least_float32
from vmamba_kernels import bidirectional_selective_scan, gated_sum, selective_scan


class BidirectionalMixer(nn.Module):
    """Mix the tokens of a clip with a forward and a backward selective scan.

    ::

        [x, z] = in_proj(hidden)
        out    = out_proj((ssm_forward(x) + ssm_backward(x)) * SiLU(z))     halved where "mean"

    Args:
        config: Sizes, directions, and how they are merged.
    Source:
        Zhu et al. 2024 (Vim), arXiv:2401.09417, algorithm 1; Park et al. 2024, arXiv:2407.08476.
    """

    def __init__(self, config: VideoMambaConfig) -> None:
        super().__init__()
        self.scale = 0.5 if config.direction_merge == "mean" else 1.0
        self.in_proj = nn.Linear(config.d_model, 2 * config.d_inner, bias=False)
        self.hook_x = HookPoint("batch", "d_inner", "seqlen")
        self.hook_z = HookPoint("batch", "d_inner", "seqlen")
        self.ssm_forward = SelectiveSSM(config, "forward")
        self.ssm_backward = (
            SelectiveSSM(config, "backward") if "backward" in config.directions else None
        )
        self.out_proj = nn.Linear(config.d_inner, config.d_model, bias=False)
        self.hook_out = HookPoint("batch", "seqlen", "d_model")

    @property
    def directions(self) -> dict[str, SelectiveSSM]:
        """The directions by name, forward first."""
        both = {"forward": self.ssm_forward, "backward": self.ssm_backward}
        return {name: ssm for name, ssm in both.items() if ssm is not None}

    def forward(self, hidden: Tensor) -> Tensor:
        """Map (batch, seqlen, d_model) to the same shape, natural clip order."""
        # channel-first views of token-major memory: no copy
        x, z = self.in_proj(hidden).mT.chunk(2, dim=1)
        x, z = self.hook_x(x), self.hook_z(z)
        y = self._gated(x, z)
        if self.scale != 1.0:
            y = y * self.scale
        return self.hook_out(self.out_proj(y.mT))

    def _gated(self, x: Tensor, z: Tensor) -> Tensor:
        """The sum of both directions' y, times SiLU(z); observed or not, the same bits."""
        forward, backward = self.ssm_forward, self.ssm_backward
        if forward.is_observed or (backward is not None and backward.is_observed):
            y = forward(x)
            return gated_sum(y, None if backward is None else backward(x), z).to(x.dtype)
        u, delta, A, B, C, D, bias, _ = inputs = forward.select(x)
        if backward is None:
            return selective_scan(u, delta, A, B, C, D, z, bias, delta_softplus=True)
        return bidirectional_selective_scan(
            inputs, backward.select(x), z, delta_softplus=True, order=backward.scan_order
        )


class Block(nn.Module):
    """Pre-norm residual block: input + mixer(RMSNorm(input)), the residual kept in float32."""

    def __init__(self, config: VideoMambaConfig) -> None:
        super().__init__()
        self.hook_block_input = HookPoint("batch", "seqlen", "d_model", at_least_float32=True)
        self.norm = nn.RMSNorm(config.d_model, eps=config.norm_eps)
        self.mixer = BidirectionalMixer(config)

    def forward(self, residual: Tensor) -> Tensor:
        """Map (batch, seqlen, d_model) to the same shape."""
        residual = self.hook_block_input(residual)
        hidden = self.norm(residual.to(self.norm.weight.dtype))
        return residual + at_least_float32(self.mixer(hidden))
