"""The model: configuration, selective SSM, mixer, VideoMamba, checkpoints."""
