#!/usr/bin/env bash
# Known security faults of the installed packages, by pip-audit. Tells, and does not fail: a fault
# that was found yesterday in somebody's package is no reason to refuse a change of ours.
set -uo pipefail
cd "$(dirname "$0")/.."

report=$(timeout 120 pip-audit --local --progress-spinner off --format json 2>/dev/null)
python - "$report" <<'PYTHON'
import json, sys

try:
    packages = json.loads(sys.argv[1])["dependencies"]
except (json.JSONDecodeError, KeyError):
    packages = []
audited = [package for package in packages if "skip_reason" not in package]
faults = [f"{p['name']} {p['version']}: {v['id']}" for p in audited for v in p["vulns"]]
if not audited:
    print("audit skipped: the data on known faults cannot be reached from here")
else:
    print(f"audit: {len(audited)} of {len(packages)} packages looked up, {len(faults)} known faults")
    print("\n".join(faults))
PYTHON
