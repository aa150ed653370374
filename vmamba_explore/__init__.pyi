from . import analysis, attribution, figures, interventions, kernels, resources
from .analysis.controls import Controls, controls
from .analysis.scan_operator import ScanOperator
from .app.explore import explore
from .app.explorer_app import ExplorerApp
from .app.long_video import explorer_at, watch
from .app.report import report
from .app.timeline_page import timeline_page
from .attribution.methods import attribute
from .attribution.result import Attribution
from .clips.camera import CameraClip, CameraClips
from .clips.clip import Clip, ClipError, normalize
from .clips.decode import load_clip
from .clips.motion import CLASS_NAMES, MotionClip, MotionClips
from .clips.recall import RecallClip, RecallClips
from .clips.sampling import frame_order
from .hooks import hook_names
from .intervals import Interval, mean_interval, proportion
from .model.bundled import BUNDLED, BundledModel
from .model.checkpoints import load_model
from .model.config import VideoMambaConfig
from .model.inflate import from_image_checkpoint
from .model.labels import label_names
from .model.position import sinusoidal_table
from .model.published import published_name
from .model.tensor_files import CheckpointError
from .model.videomamba import VideoMamba
from .tokens import TokenGrid
from .trace.record import (
    TraceBudgetError,
    replay_layer,
    run_with_hooks,
    run_with_trace,
    trace_size,
)
from .trace.trace import Trace
from .trace.window import state_window
from .training.evaluate_videos import evaluate_videos, predict_logits
from .training.runs import train
from .view.explorer import ClipPlayer, Explorer

__version__: str

__all__ = [
    "BUNDLED",
    "CLASS_NAMES",
    "Attribution",
    "BundledModel",
    "CameraClip",
    "CameraClips",
    "CheckpointError",
    "Clip",
    "ClipError",
    "ClipPlayer",
    "Controls",
    "Explorer",
    "ExplorerApp",
    "Interval",
    "MotionClip",
    "MotionClips",
    "RecallClip",
    "RecallClips",
    "ScanOperator",
    "TokenGrid",
    "Trace",
    "TraceBudgetError",
    "VideoMamba",
    "VideoMambaConfig",
    "analysis",
    "attribute",
    "attribution",
    "controls",
    "evaluate_videos",
    "explore",
    "explorer_at",
    "figures",
    "frame_order",
    "from_image_checkpoint",
    "hook_names",
    "interventions",
    "kernels",
    "label_names",
    "load_clip",
    "load_model",
    "mean_interval",
    "normalize",
    "predict_logits",
    "proportion",
    "published_name",
    "replay_layer",
    "report",
    "resources",
    "run_with_hooks",
    "run_with_trace",
    "sinusoidal_table",
    "state_window",
    "timeline_page",
    "trace_size",
    "train",
    "watch",
]
