"""JupyterLab's configuration for `make lab`, beside the user's own (see .ci/lab.py)."""

load_subconfig("no_token.py")  # noqa: F821
