#!/usr/bin/env bash
# The core of the suite on the lowest versions that pyproject.toml allows, in an environment of its
# own, .venv-lowest, which takes some 8 GB. It is made once, and again when pyproject.toml changes.
set -euo pipefail
cd "$(dirname "$0")/.."
python=$PWD/.venv-lowest/bin/python

wanted=$(cksum < pyproject.toml)
if [ "$(cat .venv-lowest/ftkit 2>/dev/null)" = "$wanted" ]; then
    echo "using .venv-lowest as it is"
else
    echo "installing the lowest versions into .venv-lowest (torch is large: minutes)"
    rm -rf .venv-lowest
    "${PYTHON:-python3}" -m venv .venv-lowest
    .venv-lowest/bin/pip install --quiet --disable-pip-version-check uv
    export UV_HTTP_TIMEOUT=${UV_HTTP_TIMEOUT:-180}
    .venv-lowest/bin/uv pip install --quiet --python "$python" --resolution lowest-direct \
        -e ".[dev,embedded,sweep,translation]"
    echo "$wanted" > .venv-lowest/ftkit
fi
.venv-lowest/bin/uv pip list --python "$python" 2>/dev/null |
    grep -E '^(accelerate|datasets|peft|timm|torch|torchvision|transformers) '

export OMP_NUM_THREADS=${OMP_NUM_THREADS:-1} PATH=$PWD/.venv-lowest/bin:$PATH
runs=$(mktemp -d)
trap 'rm -rf "$runs"' EXIT
# each kind of training on embedded weights, by the command: full, head and LoRA, and predictions
ftkit compare effnet-digits --smoke --strategies mlp,head,lora,full --out "$runs/images"
ftkit train minilm-langid --strategy head --smoke --out "$runs/texts"
ftkit predict "$runs/texts" "good morning"

core=(upstream recipe strategy_contract task_contract checkpoint perceptron_estimators data_files
    data_images metrics metrics_translation metrics_words losses pretrained compare report tracking)
python -m pytest --numprocesses 2 --dist loadfile -p no:cacheprovider \
    $(printf "tests/test_%s.py " "${core[@]}") "$@"
