#!/usr/bin/env bash
# The tools that scripts/bench_accuracy.py measures beside ftkit, in an environment of their own:
# .venv-peers, or the folder that is given. It takes some 6 GB, most of it torch. The versions are
# those that were measured.
set -euo pipefail
cd "$(dirname "$0")/.."
folder=${1:-.venv-peers}

wanted=$(cksum < scripts/peers.sh)
if [ "$(cat "$folder/peers" 2>/dev/null)" = "$wanted" ]; then
    echo "using $folder as it is"
else
    echo "installing SetFit, fastai and scikit-learn into $folder (torch is large: minutes)"
    [ -d "$folder" ] || "${PYTHON:-python3}" -m venv "$folder"
    "$folder/bin/pip" install --quiet --disable-pip-version-check \
        torch==2.14.1 torchvision==0.29.1 setfit==1.2.0 sentence-transformers==5.7.0 \
        transformers==4.57.6 datasets==5.0.1 accelerate==1.15.0 fastai==2.8.12 timm==1.0.31 \
        scikit-learn==1.9.1 safetensors==0.8.0 pandas==3.1.1 pyarrow==26.0.1 numpy==2.4.6
    echo "$wanted" > "$folder/peers"
fi
