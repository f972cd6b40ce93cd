"""The commands and snippets of README and docs/, run as they stand; they train briefly."""

import glob
import json
import re
import shlex
import subprocess
from pathlib import Path

import checkpoints
import language_checkpoints
import pytest
from conftest import COLOURS, leave_unverified, make_image

import ftkit
from ftkit import registry
from ftkit.cli.main import main

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
FIRST = ("README.md", "docs/text.md", "docs/data.md", "docs/strategies.md", "docs/recipes.md")
"""The pages whose runs other pages use."""
PAGES = [ROOT / page for page in FIRST]
PAGES += [page for page in sorted((ROOT / "docs").rglob("*.md")) if page not in PAGES]
PAGES += [ROOT / "CONTRIBUTING.md"]

ELSEWHERE = {
    "bash scripts/quickstart.sh": "trains for minutes; its commands are those of other lines",
    "bash scripts/test.sh": "runs these tests",
    ". .venv/bin/activate": "changes a shell",
    "python -m pytest tests/test_task_contract.py": "runs these tests",
    "python -m pytest tests/test_losses.py -k weights": "runs these tests",
    "ruff check . && ruff format --check . && mypy": "scripts/test.sh does it",
    "ftkit export runs/digits --int8 --out digits-int8": (
        "tests/test_int8.py::test_files_of_eight_bits_say_so_and_answer"
    ),
    "ftkit train mlp-digits --track tensorboard": (
        "tests/test_tracking.py::test_a_perceptron_has_settings_curves_figures_and_pictures"
    ),
    "ftkit compare mlp-digits --track mlflow": (
        "tests/test_tracking.py::test_trainings_of_a_comparison_are_children_of_one_parent"
    ),
    "ftkit sweep mlp-digits --trials 20 --set 'strategy.learning_rate=1e-4..1e-2[log]' "
    "--track tensorboard,mlflow": (
        "tests/test_tracking.py::test_trials_of_a_sweep_are_children_of_one_parent"
    ),
    "bash scripts/peers.sh": "installs other tools; tests/test_bench_accuracy.py has the rest",
    "python scripts/bench_accuracy.py --data ../shared/data/sst2 ../shared/data/ag_news": (
        "trains for hours; tests/test_bench_accuracy.py has what surrounds that"
    ),
    "python scripts/bench_accuracy.py --data ../shared/data/cifar10": "the same",
    "python scripts/bench_accuracy.py --report": (
        "tests/test_bench_accuracy.py::test_the_report_replaces_what_stands_between_its_marks"
    ),
    "ftkit export runs/photos --page --out runs/photos-page": (
        "needs npm; tests/test_page.py has what the page answers"
    ),
    "python -m http.server --directory runs/photos-page": "serves until it is stopped",
    "ftkit push runs/photos YOU/holiday --space": (
        "tests/test_space.py::test_a_space_is_pushed_once_it_has_answered_as_the_run_did"
    ),
    "bash scripts/docs.sh": "installs the extra docs; tests/test_docs.py follows the links",
    "python -m build": "tests/test_wheel.py::test_an_installed_wheel_knows_its_recipes",
    "python -m zipfile --list dist/ftkit-*.whl": "looks at what the line before it made",
    "python -m pip install --no-deps --target build/wheel dist/ftkit-*.whl": (
        "tests/test_wheel.py::test_an_installed_wheel_knows_its_recipes"
    ),
    "ftkit compare --data photos --backbones auto": (
        "tests/test_cli_backbones.py::"
        "test_comparing_backbones_prints_a_table_and_the_command_that_trains"
    ),
    "ftkit train --data photos --strategy head --backbone auto --out runs/best": (
        "tests/test_cli_backbones.py::"
        "test_training_takes_the_best_backbone_and_keeps_what_was_found"
    ),
    "git tag v0.1.0": "changes the repository",
    "git push origin v0.1.0": "changes the repository",
    "python -m twine upload dist/*": "publishes",
    "pip install 'ftkit[serve]'": "installs; tests/test_cli_serve.py has what is missing",
    **dict.fromkeys(
        (
            "ftkit serve runs/effnet-digits-head-seed0",
            "ftkit serve runs/effnet-digits-head-seed0/export/onnx",
        ),
        "tests/test_cli_serve.py::"
        "test_a_signal_ends_it_when_all_that_was_let_in_is_answered_and_torch_is_not_needed",
    ),
    "curl http://127.0.0.1:8000/ --data-binary @holiday/sunset.jpg -H 'Content-Type: image/jpeg'": (
        "tests/test_serving.py::test_an_image_comes_as_bytes_or_as_base64_with_parameters"
    ),
    "curl http://127.0.0.1:8000/ -H 'Content-Type: application/json' "
    '-d \'{"inputs": "a text"}\'': (
        "tests/test_serving.py::test_texts_are_answered_as_by_the_pipeline_of_transformers"
    ),
    "python scripts/bench_serve.py runs/photos": "loads the machine for minutes",
    "ftkit doctor": "tests/test_doctor.py::test_a_good_machine_gives_no_error",
    "accelerate launch scripts/compare.py effnet-digits": (
        "tests/test_launch.py::test_two_processes_make_one_comparison"
    ),
    "hf download YOU/digits --revision checkpoints --local-dir runs/mine/checkpoints": (
        "tests/test_backup.py::test_another_machine_goes_on_from_the_branch"
    ),
    "ftkit train --recipe runs/mine/recipe.json --out runs/mine --resume "
    "--push-checkpoints YOU/digits": (
        "tests/test_backup.py::test_another_machine_goes_on_from_the_branch"
    ),
}
"""Why a command is not run here, or the test that does what it does."""


def commands(page):
    """The lines of a page's shell blocks, comments left out, continued lines joined."""
    for block in re.findall(r"^ *```bash\n(.*?)```", page.read_text(encoding="utf-8"), re.S | re.M):
        for line in block.replace("\\\n", " ").splitlines():
            yield " ".join(line.partition(" #")[0].split())


def snippets(page):
    """The Python blocks of a page."""
    return re.findall(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), re.S)


ALL = dict.fromkeys(line for page in PAGES for line in commands(page) if line)
LAUNCHES = [line for line in ALL if line.startswith("accelerate launch") and line not in ELSEWHERE]


@pytest.fixture(scope="module")
def workplace(tmp_path_factory):
    """A folder with the rows that the pages speak of."""
    root = tmp_path_factory.mktemp("newcomer")
    for colour in COLOURS:
        (root / "photos" / colour).mkdir(parents=True)
        for number in range(8):
            make_image(colour, number).save(root / "photos" / colour / f"{number}.jpg")
    (root / "holiday").mkdir()
    make_image("red", 8).save(root / "holiday" / "sunset.jpg")
    talk = [{"role": "user", "content": "a?"}, {"role": "assistant", "content": "b."}]
    (root / "talks.jsonl").write_text(f"{json.dumps({'messages': talk})}\n" * 12)
    (root / "book.txt").write_text("".join(f"a line of text, {n}\n" for n in range(12)))
    reviews = [f"{word} {n},{word}" for word in ("good", "bad") for n in range(12)]
    (root / "reviews.csv").write_text("\n".join(["text,label", *reviews]))
    (root / "new.csv").write_text("text\ngood\n")
    for family, name in {"vit": "vit-cifar", "distilbert": "distilbert-sst2"}.items():
        checkpoints.make(family, root / "models" / name)
    language_checkpoints.make("llama", root / "models" / "smollm-lora")
    return root


def brief(words):
    """The same command with little to do: few rows and steps, a tiny backbone from this disk."""
    words = [word.replace("YOU/", "alice/") for word in words]
    words = [name for word in words for name in (sorted(glob.glob(word)) or [word])]
    verb = words[0]
    if verb == "train" and "--resume" not in words:
        words += [] if "--smoke" in words else ["--smoke"]
    if verb == "compare" and not words[1].startswith("runs/"):
        at = words.index("--strategies") if "--strategies" in words else len(words)
        words[at : at + 2] = ["--strategies", "majority,mlp", "--smoke"]
    if verb == "sweep":
        words[words.index("--trials") + 1] = "1"
        for setting in ("train.max_steps=1", "data.train_rows=48", "data.test_rows=20"):
            words += ["--set", setting]
    if words[1:] and Path("models", words[1]).is_dir():
        words += ["--backbone", f"models/{words[1]}"]
    return words


@pytest.mark.timeout(1500)  # some twenty short trainings, which a busy machine takes long for
def test_every_command_and_snippet_runs(workplace, hub, monkeypatch, capsys):
    monkeypatch.chdir(workplace)
    leave_unverified(monkeypatch)  # tests/test_finetune.py verifies
    done, run = set(), []
    for page in PAGES:
        for line in commands(page):
            if not line.startswith("ftkit ") or line in done or line in ELSEWHERE:
                continue
            done.add(line)
            words = brief(shlex.split(line)[1:])
            placed = words.index("--out") if "--out" in words else len(words)
            what = {*words[:placed], *words[placed + 2 :]}
            if what in run and placed == len(words):
                continue  # it differs from an earlier one in where its run lies
            run.append(what)
            if words[0] == "train" and placed == len(words):
                words += ["--out", f"runs/{len(run)}"]
            assert main(words) == 0, (page.name, words, capsys.readouterr().err)
    assert len(done) >= 50
    read = set()
    for page in PAGES:
        for code in snippets(page):
            if "vit_cifar" not in code and code not in read:
                read.add(code)
                exec(compile(code, page.name, "exec"), {})
    assert len(read) >= 6


def test_every_other_command_is_known():
    others = [line for line in ALL if not line.startswith("ftkit ") and line not in LAUNCHES]
    assert sorted(set(others) - set(ELSEWHERE)) == []
    assert sorted(set(ELSEWHERE) - set(ALL)) == []
    for why in ELSEWHERE.values():
        if "::" in why:
            file, _, name = why.partition("::")
            assert f"def {name}(" in (ROOT / file).read_text(encoding="utf-8"), why


def test_every_script_that_is_named_is_there_and_parses():
    scripts = {word for line in ALL for word in line.split() if word.startswith("scripts/")}
    assert {"scripts/quickstart.sh", "scripts/test.sh", "scripts/docs.sh"} <= scripts
    for script in scripts:
        assert (ROOT / script).is_file(), script
        if script.endswith(".sh"):
            assert subprocess.run(["bash", "-n", ROOT / script]).returncode == 0


def test_every_launch_names_a_recipe_and_flags_that_exist(capsys):
    """What two processes do with them: tests/test_launch.py."""
    assert len(LAUNCHES) >= 3
    for line in LAUNCHES:
        words = shlex.split(line)
        flags = words[words.index("scripts/finetune.py") + 1 :]
        assert main(["train", *flags, "--show"]) == 0, capsys.readouterr().err


def test_the_library_snippet_runs(class_folders, checkpoint, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    leave_unverified(monkeypatch)
    (snippet,) = (code for code in snippets(ROOT / "README.md") if "vit_cifar" in code)
    assert snippet in snippets(ROOT / "docs" / "library.md")
    data, backbone = f"ftkit.Data(path={str(class_folders)!r})", str(checkpoint("vit"))
    small = (
        f'{{"train.epochs": 1, "data": {data}, "task.image": None, '
        f'"backbone.id": {backbone!r}, "backbone.revision": None}}'
    )
    assert '{"train.epochs": 2}' in snippet
    exec(snippet.replace('{"train.epochs": 2}', small), {"ftkit": ftkit})
    assert ftkit.RunResult.read(Path("runs/vit-lora")).strategy["kind"] == "lora"


def test_the_recipe_of_the_docs_is_one(tmp_path):
    (snippet,) = (code for code in snippets(ROOT / "docs" / "recipes.md") if "Recipe(" in code)
    (tmp_path / "mine.py").write_text(snippet)
    assert registry.find(str(tmp_path / "mine.py")).name == "resnet-photos"


def test_the_tree_names_every_room_and_every_script_and_no_other():
    tree = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    ours = tree[tree.index("\nftkit/") : tree.index("\ndocs/")]
    named = set(re.findall(r"^  (\w+)(?:/|\.py) ", ours, re.M))
    rooms = {path.stem for path in (ROOT / "ftkit").iterdir() if any(path.rglob("*.py"))}
    assert named == rooms | {"registry"}
    scripts = {path.stem for path in (ROOT / "scripts").glob("*.py")}
    there = set(re.findall(r"(\w+)\.py", tree[tree.index("\nscripts/") : tree.index("\ntests/")]))
    assert there == scripts


def test_the_tables_of_recipes_are_complete():
    table = (ROOT / "docs" / "recipes.md").read_text(encoding="utf-8")
    for name in registry.names():
        assert f"| `{name}` |" in table
        assert f"`{name}`" in README


def test_the_table_of_what_recipes_reach_is_that_of_the_recipes():
    page = (ROOT / "docs" / "recipes.md").read_text(encoding="utf-8")
    row = re.compile(r"^\| (\S+) \| (\w+) \| [\w ]+ \| (\S+) \| (\S+) to (\S+) \|$", re.M)
    table = {(name, strategy): figures for name, strategy, *figures in row.findall(page)}
    told = {
        (name, expect.strategy): (expect.mean, expect.low, expect.high)
        for name in registry.names()
        for expect in registry.find(name).expect
        if expect.mean is not None  # measured here
    }
    assert table.keys() == told.keys()
    for key, figures in table.items():
        for written, measured in zip(figures, told[key], strict=True):
            digits = len(written.partition(".")[2])
            assert written == f"{measured:.{digits}f}", key


def test_the_readme_is_short():
    assert len(README.splitlines()) <= 150
