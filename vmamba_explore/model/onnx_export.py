"""A model as one ONNX file: standard operators, the scans as ONNX's own `Scan`, any batch size."""

from __future__ import annotations

import json
from functools import partial, reduce
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from vmamba_explore.clips.clip import IMAGENET_MEAN, IMAGENET_STD
from vmamba_explore.edits import current
from vmamba_explore.errors import one_line
from vmamba_explore.files import AnyPath, atomic_write, output_path
from vmamba_explore.hooks import HookPoint, plain
from vmamba_explore.model.mixer import BidirectionalMixer, Block
from vmamba_explore.model.ssm import SelectiveSSM
from vmamba_explore.model.videomamba import PatchEmbed, VideoMamba

OPSET, IR_VERSION = 17, 8
"""Of the file; read by ONNX Runtime 1.15, 1.20 and 1.32, the versions that were tried."""
LARGEST = 2**31 - 2**20
"""Most bytes of weights: a file of protocol buffers holds less than 2 GiB."""
KNOWN = (
    VideoMamba, PatchEmbed, Block, BidirectionalMixer, SelectiveSSM, HookPoint,
    nn.Conv1d, nn.Conv3d, nn.LayerNorm, nn.Linear, nn.ModuleList, nn.RMSNorm,
)  # fmt: skip
"""The kinds of modules that `_Graph` writes."""


def export_onnx(model: VideoMamba, path: AnyPath) -> Path:
    """Write a model as an ONNX file that ONNX Runtime and others run without this package.

    Input "clips", float32 (batch, channels, num_frames, height, width), normalized as
    `Clip.tensor()` does; output "logits" (batch, num_classes), or "features" (batch, d_model) of an
    encoder; batch is free. The file uses the operators of opset 17. Its metadata hold the
    configuration, the class names, and the mean and standard deviation by which pixels are
    normalized.

    Args:
        model: The model as it stands: its weights of now, float32.
        path: The file; an earlier one is replaced.
    Returns:
        The path.
    Raises:
        ValueError: the model has weights of another type, is being edited, or has a module that
            has no form here; or its weights are over 2 GiB.
        ImportError: the package onnx is not installed.
        OSError: the file cannot be written.
    """
    model = plain(model)
    target = output_path(path, "export_onnx")
    _check(model)
    try:
        import onnx
    except ImportError:
        raise ImportError(
            'export_onnx needs onnx: pip install "vmamba-explore[onnx]" brings it.'
        ) from None
    with torch.no_grad():
        graph = _Graph(onnx, model)
        content = graph.file()
    onnx.checker.check_model(content, full_check=True)
    atomic_write(target, content)
    return target


def onnx_difference(model: VideoMamba, path: AnyPath, clips: Tensor) -> float:
    """Run an ONNX file in ONNX Runtime; return its output's largest difference from the model's.

    Args:
        model: What was exported.
        path: The file.
        clips: (batch, channels, num_frames, height, width), normalized.
    Raises:
        ImportError: the package onnxruntime is not installed.
    """
    try:
        import onnxruntime
    except ImportError:
        raise ImportError(
            'onnx_difference needs onnxruntime: pip install "vmamba-explore[onnx]" brings it.'
        ) from None
    content = Path(path).read_bytes()
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    (output,) = session.run(None, {"clips": clips.cpu().numpy()})
    with torch.no_grad():
        wanted = plain(model)(clips.to(model.norm_f.weight.device))
    return float((torch.from_numpy(output) - wanted.cpu()).abs().max())


def _check(model: VideoMamba) -> None:
    """Raise ValueError where the file would not be the model as it runs now."""
    if current().blocks:
        raise ValueError(
            "export_onnx: a `with` block is open that records or edits runs, and a file holds the "
            "model without it. Leave the block first."
        )
    for name, module in model.named_modules():
        place = one_line(name) or "the model"
        if type(module) not in KNOWN:
            raise ValueError(
                f"export_onnx: {place} is a {type(module).__name__}, which has no form in the "
                "file; expected a model as load_model returns it."
            )
        if module._forward_hooks or module._forward_pre_hooks:
            raise ValueError(
                f"export_onnx: {place} has a hook of torch's, which a file cannot hold. Remove it "
                "first."
            )
    kinds = {weight.dtype for weight in model.parameters()}
    if kinds != {torch.float32}:
        names = ", ".join(sorted(map(str, kinds)))
        raise ValueError(
            f"export_onnx: the weights are {names}, expected torch.float32. Export model.float()."
        )
    size = sum(4 * weight.numel() for weight in model.parameters())
    if size > LARGEST:
        raise ValueError(
            f"export_onnx: the weights take {size:,} bytes, and an ONNX file holds at most "
            f"{LARGEST:,}."
        )


class _Graph:
    """The nodes and weights of an ONNX graph; tokens stand first: (seqlen, batch, channel).

    Args:
        onnx: The package.
        model: What to write.
    """

    def __init__(self, onnx: Any, model: VideoMamba) -> None:
        self.onnx, self.model, self.config = onnx, model, model.config
        self.nodes: list[Any] = []
        self.weights: list[Any] = []
        self.scope = "tokens"
        self.batch = self.node("Slice", self.node("Shape", "clips"), self.whole(0), self.whole(1))
        state = self.whole(self.config.d_inner, self.config.d_state)
        self.state_shape = self.node("Concat", self.batch, state, axis=0)
        self.no_state = self.node("ConstantOfShape", self.state_shape)
        tokens = self.tokens()
        for number, block in enumerate(model.layers):
            self.scope = f"layers.{number}"
            tokens = self.block(tokens, block)
        self.scope = "read_out"
        self.read_out(tokens)

    def file(self) -> bytes:
        """The content of the file."""
        helper, config = self.onnx.helper, self.config
        clips = (config.in_channels, config.num_frames, config.img_size, config.img_size)
        head = self.model.head  # maybe another one than the configuration says
        outputs = config.d_model if head is None else head.out_features
        graph = helper.make_graph(
            self.nodes,
            "VideoMamba",
            [self.value("clips", "batch", *clips)],
            [self.value(output_name(self.model), "batch", outputs)],
            self.weights,
        )
        made = helper.make_model(
            graph,
            opset_imports=[helper.make_opsetid("", OPSET)],
            ir_version=IR_VERSION,
            producer_name="vmamba_explore",
        )
        about = {
            "config": config.to_dict(),
            "class_names": self.model.class_names,
            "mean": IMAGENET_MEAN,
            "std": IMAGENET_STD,
        }
        helper.set_model_props(made, {name: json.dumps(value) for name, value in about.items()})
        content: bytes = made.SerializeToString()
        return content

    def value(self, name: str, *shape: str | int) -> Any:
        """What is declared of an input or output; one of a scan's body has no shape."""
        return self.onnx.helper.make_tensor_value_info(
            name, self.onnx.TensorProto.FLOAT, shape or None
        )

    def name(self, kind: str) -> str:
        """A new name."""
        return f"{self.scope}.{kind}_{len(self.nodes) + len(self.weights)}"

    def weight(self, value: Tensor | float) -> str:
        """Add numbers, float32, or int64 where they are whole; their name."""
        if not isinstance(value, Tensor):
            value = torch.tensor(value)
        name = self.name("weight")
        array = np.array(value.detach().cpu().numpy(), order="C")
        self.weights.append(self.onnx.numpy_helper.from_array(array, name))
        return name

    def whole(self, *numbers: int) -> str:
        """Add whole numbers, as shapes and axes are given."""
        return self.weight(torch.tensor(numbers, dtype=torch.int64))

    def node(self, kind: str, *inputs: str, count: int = 1, **attributes: Any) -> Any:
        """Add a node; the name of its output, or a list of as many names as `count`."""
        name = self.name(kind)
        outputs = [name] if count == 1 else [f"{name}.{number}" for number in range(count)]
        self.nodes.append(self.onnx.helper.make_node(kind, inputs, outputs, name, **attributes))
        return name if count == 1 else outputs

    def linear(self, values: str, layer: nn.Linear) -> str:
        """A linear layer along the last axis."""
        product = self.node("MatMul", values, self.weight(layer.weight.T))
        return product if layer.bias is None else self.add(product, self.weight(layer.bias))

    def add(self, *values: str) -> str:
        """The sum of a few values."""
        return reduce(partial(self.node, "Add"), values)

    def times(self, *values: str) -> str:
        """The product of a few values, element by element."""
        return reduce(partial(self.node, "Mul"), values)

    def mean(self, values: str) -> str:
        """The mean over tokens."""
        return str(self.node("ReduceMean", values, axes=[0], keepdims=0))

    def gather(self, values: str, tokens: Tensor) -> str:
        """Some of the tokens, or all in another order."""
        return str(self.node("Gather", values, self.weight(tokens), axis=0))

    def silu(self, values: str) -> str:
        """The SiLU of each value."""
        return self.times(values, self.node("Sigmoid", values))

    def rms_norm(self, values: str, norm: nn.RMSNorm) -> str:
        """An RMSNorm along the last axis."""
        mean = self.node("ReduceMean", self.times(values, values), axes=[-1])
        root = self.node("Sqrt", self.add(mean, self.weight(norm.eps or torch.finfo().eps)))
        return self.times(self.node("Div", values, root), self.weight(norm.weight))

    def tokens(self) -> str:
        """Tubelets with their positions, and class tokens: `VideoMamba.tokens`."""
        model, proj = self.model, self.model.patch_embed.proj
        cut = self.node(
            "Conv", "clips", self.weight(proj.weight), self.weight(_bias(proj)),
            strides=list(proj.stride),
        )  # fmt: skip
        tokens = self.node("Reshape", cut, self.whole(0, 0, -1))
        tokens = self.node("Transpose", tokens, perm=[2, 0, 1])
        position, cls_position = model.positions()
        if position is not None:
            tokens = self.add(tokens, self.weight(position.transpose(0, 1)))
        if model.cls_token is None:
            return str(tokens)
        cls: Tensor = model.cls_token if cls_position is None else model.cls_token + cls_position
        places = torch.tensor(model.grid.cls_indices)
        shape = self.node("Concat", self.whole(len(places)), self.batch, self.whole(1), axis=0)
        tokens = self.node(
            "Concat", tokens, self.node("Expand", self.weight(cls.transpose(0, 1)), shape), axis=0
        )
        return self.gather(tokens, torch.cat([model.grid.video_tokens, places]).argsort())

    def block(self, tokens: str, block: Any) -> str:
        """`Block`: the residual stream plus the mixer's output."""
        mixer = block.mixer
        halves = self.linear(self.rms_norm(tokens, block.norm), mixer.in_proj)
        x, z = self.node("Split", halves, count=2, axis=-1)
        sums = [self.direction(x, ssm) for ssm in mixer.directions.values()]
        y = self.times(self.add(*sums) if len(sums) > 1 else sums[0], self.silu(z))
        if mixer.scale != 1:
            y = self.times(y, self.weight(mixer.scale))
        return self.add(tokens, self.linear(y, mixer.out_proj))

    def direction(self, x: str, ssm: SelectiveSSM) -> str:
        """`SelectiveSSM`: y before the gate, natural order; what is read in another is gathered."""
        config, steps = self.config, ssm.steps(self.model.grid.seqlen)
        gathered = bool((steps.diff() != 1).any())
        if gathered:
            x = self.gather(x, steps)
        u = self.node(
            "Conv", self.node("Transpose", x, perm=[1, 2, 0]), self.weight(ssm.conv1d.weight),
            self.weight(_bias(ssm.conv1d)), group=config.d_inner, pads=[config.d_conv - 1, 0],
        )  # fmt: skip
        u = self.silu(self.node("Transpose", u, perm=[2, 0, 1]))
        selected, parts = self.linear(u, ssm.x_proj), self.whole(*ssm.split_sizes)
        dt, B, C = self.node("Split", selected, parts, count=3, axis=-1)
        delta = self.node("Softplus", self.linear(dt, ssm.dt_proj))
        y = self.scan(u, delta, B, C, ssm)
        if ssm.leaves_out_own:
            own = self.times(delta, self.node("ReduceSum", self.times(B, C), self.whole(-1)), u)
            y = self.times(
                self.node("Sub", y, own), self.weight((steps != steps[0]).float()[:, None, None])
            )
        y = self.add(y, self.times(u, self.weight(ssm.D)))
        return self.gather(y, steps.argsort()) if gathered else y

    def scan(self, u: str, delta: str, B: str, C: str, ssm: SelectiveSSM) -> str:
        """The recurrence, token after token; y without the skip.

        A scan in blocks or by doubling takes more memory, and two to twenty times as long in ONNX
        Runtime.
        """
        make = self.onnx.helper.make_node
        nodes = [
            make("Mul", ["delta", self.weight(ssm.A)], ["decay"]),
            make("Exp", ["decay"], ["A_bar"]),
            make("Mul", ["A_bar", "h_before"], ["kept"]),
            make("Mul", ["delta_u", "B"], ["written"]),
            make("Add", ["kept", "written"], ["h"]),
            make("MatMul", ["h", "C"], ["y"]),
        ]
        body = self.onnx.helper.make_graph(
            nodes,
            self.name("recurrence"),
            [self.value(name) for name in ("h_before", "delta", "delta_u", "B", "C")],
            [self.value("h"), self.value("y")],
        )
        each = [
            self.node("Unsqueeze", values, self.whole(axis))
            for values, axis in ((delta, -1), (self.times(delta, u), -1), (B, -2), (C, -1))
        ]
        start = self.no_state
        if ssm.starts_from_first:
            first = self.node("Unsqueeze", self.gather(u, torch.tensor(0)), self.whole(-1))
            start = self.node("Expand", first, self.state_shape)
        _, y = self.node("Scan", start, *each, count=2, body=body, num_scan_inputs=4)
        return str(self.node("Squeeze", y, self.whole(-1)))

    def read_out(self, tokens: str) -> None:
        """The logits, or the features of an encoder: `VideoMamba.read_out`."""
        model, grid = self.model, self.model.grid
        cls = torch.tensor(grid.cls_indices)
        if model.pool_norm is not None:
            normed = self.rms_norm(tokens, model.norm_f)
            video = self.mean(self.gather(normed, grid.video_tokens))
            output = self.node(
                "LayerNormalization",
                self.add(self.mean(self.gather(normed, cls)), video),
                self.weight(model.pool_norm.weight),
                self.weight(model.pool_norm.bias),
                epsilon=model.pool_norm.eps,
            )
        else:
            read = tokens if model.cls_token is None else self.gather(tokens, cls)
            output = self.mean(self.rms_norm(read, model.norm_f))
        if model.head is not None:
            output = self.linear(output, model.head)
        self.nodes.append(self.onnx.helper.make_node("Identity", [output], [output_name(model)]))


def output_name(model: VideoMamba) -> str:
    """What the output of a model's file is called: "logits", or "features" of an encoder."""
    return "features" if model.is_encoder else "logits"


def _bias(layer: nn.Conv1d | nn.Conv3d) -> Tensor:
    return layer.weight.new_zeros(len(layer.weight)) if layer.bias is None else layer.bias
