"""The cards of tasks on texts: what they say, and that their snippets run."""

import json
import re
from pathlib import Path

import pytest
from conftest import leave_unverified

from ftkit import (
    Backbone,
    Data,
    Full,
    Lora,
    Recipe,
    TextClassification,
    TextRegression,
    TextTagging,
    TokenClassification,
    Train,
    finetune,
)

ROWS = [
    {
        "text": ["apple and pear", "iron and gold"][n % 2],
        "other": "more",
        "kind": ["fruit", "metal"][n % 2],
        "number": float(n % 2),
        "kinds": [["fruit"], ["fruit", "metal"]][n % 2],
        "tokens": [["apple", "and"], ["iron", "and"]][n % 2],
        "tags": [["B-FRUIT", "O"], ["B-METAL", "O"]][n % 2],
    }
    for n in range(30)
]
TASKS = {
    "pair": TextClassification(text="text", pair="other", label="kind"),
    "numbers": TextRegression(text="text", label="number"),
    "tags": TextTagging(text="text", label="kinds"),
    "words": TokenClassification(tokens="tokens", label="tags"),
}


@pytest.mark.parametrize("strategy", [Full(), Lora(rank=2, merge=False)], ids=["model", "adapter"])
@pytest.mark.parametrize("task", TASKS)
def test_the_snippet_of_a_card_runs(task, strategy, checkpoint, tmp_path, monkeypatch, capsys):
    leave_unverified(monkeypatch)
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    recipe = Recipe(
        name="bert-card",
        data=Data(path=str(tmp_path / "rows.jsonl")),
        backbone=Backbone(id=str(checkpoint("bert"))),
        task=TASKS[task],
        strategy=strategy,
        train=Train(max_steps=2, batch_size=8),
    )
    result = finetune(recipe, tmp_path / "run")
    card = (tmp_path / "run" / "model" / "README.md").read_text()
    for name, figure in result.metrics.items():
        assert f"| {name.replace('_', ' ')} | {figure.value:.4f} |" in card
    (picture,) = re.findall(r"!\[[^]]*\]\(\.\./plots/(\w+\.png)\)", card)[:1]
    assert (tmp_path / "run" / "plots" / picture).is_file()
    tag = "token-classification" if task == "words" else "text-classification"
    assert f"pipeline_tag: {tag}" in card
    (snippet,) = re.findall(r"```python\n(.*?)```", card, re.S)
    found: dict = {}
    backbone = Path(recipe.backbone.id)  # a card does not tell where it lies on this machine
    snippet = snippet.replace(f"./{backbone.name}", str(backbone))
    exec(snippet.replace("PATH_OR_REPO", str(tmp_path / "run" / "model")), found)
    if strategy.kind == "full":
        assert capsys.readouterr().out.strip() or task == "words"
    else:
        assert found["model"].config.num_labels == (
            1 if task == "numbers" else 2 + (task == "words")
        )
