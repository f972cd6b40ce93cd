#!/usr/bin/env bash
# The site of all pages and docstrings, into site/. A broken link or heading fails.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/install.sh

install docs
pages=build/site-pages # README.md links to docs/ and docs/ to CONTRIBUTING.md, so both lie in it
rm -rf "$pages"
mkdir -p "$pages"
cp -r README.md CONTRIBUTING.md CHANGELOG.md docs "$pages"
{
    echo "# Licence"
    echo '```'
    cat LICENSE
    echo '```'
} > "$pages/LICENSE.md"
sed -i 's/(LICENSE)/(LICENSE.md)/' "$pages/README.md"
python - > "$pages/reference.md" <<'PYTHON'
import ftkit

print("# Reference: every public name\n")
for name in sorted(ftkit.__all__):
    print(f"::: {getattr(ftkit, name).__module__}.{name}\n")
PYTHON
NO_MKDOCS_2_WARNING=1 python -m mkdocs build
echo "site/index.html is the front page"
