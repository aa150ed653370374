"""`python -m vmamba_explore.cli`, for torchrun."""

import sys

from vmamba_explore.cli import main

sys.exit(main())
