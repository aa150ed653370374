"""The command `vmamba-explore`."""

from vmamba_explore.cli.commands import main

__all__ = ["main"]
