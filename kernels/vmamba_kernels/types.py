"""The arguments and results of a scan, as tuples."""

from typing import NamedTuple

from torch import Tensor


class ScanInputs(NamedTuple):
    """The tensors of one direction of a scan, as `selective_scan` takes them."""

    u: Tensor
    delta: Tensor
    A: Tensor
    B: Tensor
    C: Tensor
    D: Tensor | None = None
    delta_bias: Tensor | None = None
    initial_state: Tensor | None = None


class ScanOptions(NamedTuple):
    """How one direction is scanned.

    Args:
        order: The token read at each step, int64 (seqlen,); None: natural order, or its reversal.
        delta_softplus: Pass delta + delta_bias through softplus.
        reverse: Without an order, read from the last token to the first.
    """

    order: Tensor | None = None
    delta_softplus: bool = False
    reverse: bool = False

    def directions(self) -> tuple["ScanOptions", "ScanOptions"]:
        """The options of both directions of a mixer, where these are those of the backward one."""
        return ScanOptions(None, self.delta_softplus), self


class ScanResult(NamedTuple):
    """The result of a scan that stores its states."""

    y: Tensor
    states: Tensor


class ScanNorms(NamedTuple):
    """The result of a scan that reduces its states as it computes them.

    Args:
        y: As `selective_scan` gives it.
        over_states: Norm over states, sqrt(sum_n h^2), (batch, d_inner, seqlen).
        over_channels: Norm over channels, sqrt(sum_d h^2), (batch, d_state, seqlen).
        readout: What is read, sum_n C h, (batch, d_inner, seqlen): y without skip and gate.
    """

    y: Tensor
    over_states: Tensor
    over_channels: Tensor
    readout: Tensor


class BidirectionalResult(NamedTuple):
    """The result of a bidirectional scan that stores its states.

    Args:
        y: (forward.y + backward.y) * silu(z), the same bits as without states.
        forward: y before the gate, and the stored states, of the forward direction.
        backward: The same of the backward direction.
    """

    y: Tensor
    forward: ScanResult
    backward: ScanResult
