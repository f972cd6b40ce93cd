"""`python -m ftkit.cli`."""

import sys

from ftkit.cli.main import main

sys.exit(main())
