#!/usr/bin/env bash
# Everything that must hold before a commit: style, types, tests. Arguments go to pytest.
# With --quick: what a change may have broken, for a minute at most (see tests/quick_tests.py).
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/install.sh

install dev,embedded
# two at once: a thread for each leaves the other its core
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-1}
if [ "${1:-}" = --quick ]; then
    shift
    exec python tests/quick_tests.py "$@"
fi
audit=$(mktemp)
bash scripts/audit.sh > "$audit" &  # it waits for answers from elsewhere
auditing=$!
trap 'kill $auditing 2> /dev/null || true; rm -f "$audit"' EXIT
echo "checking style and types"
ruff check .
ruff format --check --quiet .
mypy
echo "running the tests"
status=0
python -m pytest --numprocesses 2 --dist loadfile --no-loadscope-reorder "$@" || status=$?
wait $auditing
cat "$audit"
exit "$status"
