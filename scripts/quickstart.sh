#!/usr/bin/env bash
# From nothing to a perceptron, three fine-tuned models and one table: no Hub, no GPU, no own data.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/install.sh

install embedded
export ACCELERATE_LOG_LEVEL=ERROR # else it lists its own defaults at every launch
runs=(runs/quickstart/mlp)
echo "training a perceptron by hand-written backpropagation on handwritten digits, into ${runs[0]}"
accelerate launch scripts/finetune.py --recipe mlp-digits --out "${runs[0]}" --resume
for strategy in head lora full; do
    out=runs/quickstart/$strategy
    echo "fine-tuning EfficientNet-Lite0 on handwritten digits: $strategy, into $out"
    accelerate launch scripts/finetune.py --recipe effnet-digits --strategy "$strategy" \
        --out "$out" --resume
    runs+=("$out")
done
ftkit compare "${runs[@]}"
echo "each folder has model/, run.json, plots/ and predictions.parquet; transformers loads the three"
echo "fine-tuned models, and ftkit.load_perceptron the perceptron"
