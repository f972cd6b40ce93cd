"""The README's commands and snippets, run as they stand there (smoke size where they train)."""

import json
import re
import shlex
import subprocess
from pathlib import Path

import language_checkpoints
import pytest
from conftest import COLOURS, make_image

import ftkit
from ftkit import registry
from ftkit.cli.main import main

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
BASH = [
    line.partition(" #")[0].strip()
    for block in re.findall(r"```bash\n(.*?)```", README, re.S)
    for line in block.splitlines()
]
PYTHON = re.findall(r"```python\n(.*?)```", README, re.S)


@pytest.fixture(scope="module")
def workplace(tmp_path_factory):
    """A folder with the photos of the README in it."""
    root = tmp_path_factory.mktemp("newcomer")
    for colour in COLOURS:
        (root / "photos" / colour).mkdir(parents=True)
        for number in range(8):
            make_image(colour, number).save(root / "photos" / colour / f"{number}.jpg")
    talk = [{"role": "user", "content": "a?"}, {"role": "assistant", "content": "b."}]
    (root / "talks.jsonl").write_text(f"{json.dumps({'messages': talk})}\n" * 12)
    reviews = [f"{word} {n},{word}" for word in ("good", "bad") for n in range(12)]
    (root / "reviews.csv").write_text("\n".join(["text,label", *reviews]))
    language_checkpoints.make("llama", root / "smollm")
    return root


@pytest.mark.timeout(1500)  # some twenty trainings, which a busy machine takes long for
def test_every_command_of_ftkit_runs(workplace, checkpoint, hub, monkeypatch, capsys):
    monkeypatch.chdir(workplace)
    for strategy in ("head", "lora"):  # the runs that the README compares
        out = f"runs/quickstart/{strategy}"
        assert (
            main(["train", "effnet-digits", "--strategy", strategy, "--out", out, "--smoke"]) == 0
        )
    lines = [line.replace("YOU/", "alice/") for line in BASH if line.startswith("ftkit ")]
    commands = [shlex.split(line)[1:] for line in lines]
    assert len(commands) >= 8
    for words in commands:
        again = "--resume" in words
        smoke = ["--smoke"] if words[0] == "train" and "--smoke" not in words and not again else []
        other = ["--backbone", str(checkpoint("vit"))] if "vit-cifar" in words else []
        recipes = words[0] == "compare" and not Path(words[1]).is_dir()
        smoke += ["--smoke", "--strategies", "majority,mlp"] if recipes else []
        other += ["--backbone", "smollm"] if "smollm-lora" in words else []
        if words[0] == "sweep":
            words[words.index("--trials") + 1] = "1"
            other += ["--epochs", "1"]
        used = [*words, *smoke, *other]
        if "--out" not in used and words[0] == "train":
            used += ["--out", f"runs/{len(list((workplace / 'runs').iterdir()))}"]
        assert main(used) == 0, (used, capsys.readouterr().err)


def test_every_script_that_the_readme_names_is_there_and_parses():
    scripts = [line.split()[1] for line in BASH if line.startswith("bash ")]
    assert scripts == ["scripts/quickstart.sh", "scripts/test.sh"]
    for script in scripts:
        assert subprocess.run(["bash", "-n", ROOT / script]).returncode == 0


def test_every_launch_names_a_recipe_and_flags_that_exist(capsys):
    launches = [shlex.split(line) for line in BASH if line.startswith("accelerate launch")]
    assert len(launches) >= 3
    for words in launches:
        flags = words[words.index("scripts/finetune.py") + 1 :]
        assert main(["train", *flags, "--show"]) == 0, capsys.readouterr().err


def test_the_library_snippet_runs(class_folders, checkpoint, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (snippet,) = (code for code in PYTHON if "vit_cifar" in code)
    data, backbone = f"ftkit.Data(path={str(class_folders)!r})", str(checkpoint("vit"))
    small = (
        f'{{"train.epochs": 1, "data": {data}, "task.image": None, '
        f'"backbone.id": {backbone!r}, "backbone.revision": None}}'
    )
    assert '{"train.epochs": 2}' in snippet
    exec(snippet.replace('{"train.epochs": 2}', small), {"ftkit": ftkit})
    assert ftkit.RunResult.read(Path("runs/vit-lora")).strategy["kind"] == "lora"


def test_the_recipe_of_the_readme_is_one(tmp_path):
    (snippet,) = (code for code in PYTHON if "Recipe(" in code)
    (tmp_path / "mine.py").write_text(snippet)
    assert registry.find(str(tmp_path / "mine.py")).name == "resnet-photos"


def test_the_tree_names_every_room_and_every_script_and_no_other():
    tree = README[README.index("## The tree") :]
    ours = tree[tree.index("\nftkit/") : tree.index("\ndocs/")]
    named = set(re.findall(r"^  (\w+)(?:/|\.py) ", ours, re.M))
    rooms = {path.stem for path in (ROOT / "ftkit").iterdir() if any(path.rglob("*.py"))}
    assert named == rooms | {"registry"}
    scripts = {path.stem for path in (ROOT / "scripts").glob("*.py")}
    there = set(re.findall(r"(\w+)\.py", tree[tree.index("\nscripts/") : tree.index("\ntests/")]))
    assert there == scripts


def test_the_table_of_recipes_is_complete():
    for name in registry.names():
        assert f"| `{name}` |" in README
