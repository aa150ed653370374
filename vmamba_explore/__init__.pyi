from . import analysis, attribution, figures, interventions, kernels, resources
from .analysis.controls import Controls, controls
from .analysis.nonfinite import first_nonfinite
from .analysis.scan_operator import ScanOperator
from .app.explore import explore
from .app.explorer_app import ExplorerApp
from .app.extract import extract, store_size
from .app.feature_page import feature_page
from .app.long_video import explorer_at, watch
from .app.report import report
from .app.stored import nearest, open_row
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
from .model.doctor import Checkup, check_checkpoint
from .model.inflate import from_image_checkpoint
from .model.labels import label_names
from .model.onnx_export import export_onnx
from .model.position import sinusoidal_table
from .model.published import published_name
from .model.tensor_files import CheckpointError
from .model.videomamba import VideoMamba
from .model.zoo import PublishedModel, published_models
from .stores.neighbors import Neighbor, Neighbors
from .stores.opened import open_states
from .stores.probing import probe
from .stores.quantities import Quantity
from .stores.sizes import StoreSize
from .stores.summary import statistics
from .tokens import TokenGrid
from .trace.gradients import run_with_gradients
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
from .view.neighbors_page import neighbors_page

__version__: str

__all__ = [
    "BUNDLED",
    "CLASS_NAMES",
    "Attribution",
    "BundledModel",
    "CameraClip",
    "CameraClips",
    "CheckpointError",
    "Checkup",
    "Clip",
    "ClipError",
    "ClipPlayer",
    "Controls",
    "Explorer",
    "ExplorerApp",
    "Interval",
    "MotionClip",
    "MotionClips",
    "Neighbor",
    "Neighbors",
    "PublishedModel",
    "Quantity",
    "RecallClip",
    "RecallClips",
    "ScanOperator",
    "StoreSize",
    "TokenGrid",
    "Trace",
    "TraceBudgetError",
    "VideoMamba",
    "VideoMambaConfig",
    "analysis",
    "attribute",
    "attribution",
    "check_checkpoint",
    "controls",
    "evaluate_videos",
    "explore",
    "explorer_at",
    "export_onnx",
    "extract",
    "feature_page",
    "figures",
    "first_nonfinite",
    "frame_order",
    "from_image_checkpoint",
    "hook_names",
    "interventions",
    "kernels",
    "label_names",
    "load_clip",
    "load_model",
    "mean_interval",
    "nearest",
    "neighbors_page",
    "normalize",
    "open_row",
    "open_states",
    "predict_logits",
    "probe",
    "proportion",
    "published_models",
    "published_name",
    "replay_layer",
    "report",
    "resources",
    "run_with_gradients",
    "run_with_hooks",
    "run_with_trace",
    "sinusoidal_table",
    "state_window",
    "statistics",
    "store_size",
    "timeline_page",
    "trace_size",
    "train",
    "watch",
]
