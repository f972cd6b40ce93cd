"""The same as `ftkit compare`, for `accelerate launch scripts/compare.py NAME`."""

import sys

from ftkit.cli.main import main
from ftkit.machine.launch import ensure_processes

if __name__ == "__main__":
    ensure_processes(__file__, sys.argv[1:])
    sys.exit(main(["compare", *sys.argv[1:]]))
