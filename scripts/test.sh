#!/usr/bin/env bash
# Everything that must hold before a commit: style, types, tests. Arguments go to pytest.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/install.sh

install dev,embedded
echo "checking style and types"
ruff check .
ruff format --check --quiet .
mypy
bash scripts/audit.sh
echo "running the tests"
# two at once: a thread for each leaves the other its core
OMP_NUM_THREADS=${OMP_NUM_THREADS:-1} python -m pytest --numprocesses 2 --dist loadfile "$@"
