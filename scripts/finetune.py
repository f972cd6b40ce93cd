"""The same as `ftkit train`, for `accelerate launch scripts/finetune.py --recipe NAME`."""

import sys

from ftkit.cli import main

if __name__ == "__main__":
    sys.exit(main(["train", *sys.argv[1:]]))
