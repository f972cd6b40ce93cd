"""The same as `ftkit train`, for `accelerate launch scripts/finetune.py --recipe NAME`."""

import sys

from ftkit.cli.main import main
from ftkit.machine.launch import ensure_processes

if __name__ == "__main__":
    ensure_processes(__file__, sys.argv[1:])
    sys.exit(main(["train", *sys.argv[1:]]))
