"""Recipes and runs of strangers, and addresses that hold secrets."""

from __future__ import annotations

import atexit
import json
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from attacks.commands import Outcome, Try
from attacks.shared_files import PREDICTED, World

SECRET, SIGNATURE, MARKER = "pw-7d1f0c", "sig-93ab55", "marker-of-foreign-code"
FOREIGN = f"""
from pathlib import Path
Path("{MARKER}").touch()
from transformers import BertConfig as Config, BertForSequenceClassification as Model
"""


def tries(world: World) -> Iterator[Try]:
    """What a downloaded folder asks for, and where a secret of the user's might stay."""
    server = _serve(world)
    for how, change in ASKING.items():
        for command in ("train", "check", "compare", "sweep", "show"):
            yield Try(
                f"strangers/recipe/{how}/{command}",
                _with_recipe(command),
                partial(_recipe, world, change, server),
                statuses=(0, 2),
                look=_untouched,
                may_write=("new/*",),
            )
    for kind in ("bert", "photos"):
        given = str(world.root / PREDICTED[kind])
        for place in ("model", "root"):
            yield Try(
                f"strangers/code/{kind}/{place}",
                ("predict", "run" if place == "model" else "run/model", given),
                partial(_code, world, kind),
                statuses=(0, 2),
                look=_untouched,
            )
        for command in ("compare", "push"):
            words = (command, "run", *(("joe/x",) if command == "push" else ()))
            yield Try(
                f"strangers/code/{kind}/{command}",
                words,
                partial(_code, world, kind),
                statuses=(0, 2),
                look=_untouched,
            )
    for name, address in _addresses(server).items():
        for command, words in _with_data(address, world).items():
            yield Try(
                f"strangers/secret/{name}/{command}",
                words,
                partial(_lend, world),
                statuses=(0, 1, 2),
                secrets=(SECRET, SIGNATURE),
            )
    whole = f"http://joe:{SECRET}@{server}/texts.csv?X-Amz-Signature={SIGNATURE}"
    yield Try(
        "strangers/secret/whole/train-again",
        ("train", "mlp-text", "--data", whole, "--smoke", "--out", "new", "--resume"),
        partial(_trained, whole),
        secrets=(SECRET, SIGNATURE),
        may_write=("new/*",),
    )


def _serve(world: World) -> str:
    """Serve the texts on this machine, and return host:port."""
    served = world.root / "served"
    served.mkdir(exist_ok=True)
    shutil.copy(world.root / "texts.csv", served / "texts.csv")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    words = [sys.executable, "-m", "http.server", str(port), "--bind", "127.0.0.1"]
    with (world.root / "requests.log").open("wb") as log:
        server = subprocess.Popen([*words, "--directory", str(served)], stdout=log, stderr=log)
    atexit.register(server.kill)
    return f"127.0.0.1:{port}"


ASKING: dict[str, dict[str, Any]] = {
    "trust": {"backbone": {"trust_remote_code": True}},
    "pickle": {"backbone": {"allow_pickle": True}},
    "checkpoints": {"train": {"push_checkpoints": "mallory/loot"}},
    "address": {"data": {"path": "http://SERVER/texts.csv"}},
    "inside": {"data": {"path": "http://SERVER/admin?delete=all"}},
    "file-address": {"data": {"path": "file:///etc/passwd"}},
}


def _with_recipe(command: str) -> tuple[str, ...]:
    more = {
        "train": ("--smoke", "--out", "new"),
        "compare": ("--smoke", "--out", "new"),
        "sweep": (
            "--epochs",
            "1",
            "--trials",
            "1",
            "--set",
            "train.batch_size=16,32",
            "--out",
            "new",
        ),
    }
    return (command, "got/recipe.json", *more.get(command, ()))


def _recipe(world: World, change: dict[str, Any], server: str, folder: Path) -> None:
    """Lay a folder as it was downloaded, whose recipe asks for more than it must."""
    kind = "bert" if "backbone" in change else "texts"
    shutil.copytree(world.run(kind), folder / "got")
    recipe = json.loads((folder / "got/recipe.json").read_text())
    for section, values in change.items():
        recipe[section] |= json.loads(json.dumps(values).replace("SERVER", server))
    if kind == "bert":
        shutil.copytree(world.root / "bert", folder / "got/backbone")
        _plant(folder / "got/backbone")
        recipe["backbone"]["id"] = str(folder / "got/backbone")
    (folder / "got/recipe.json").write_text(json.dumps(recipe))


def _code(world: World, kind: str, folder: Path) -> None:
    """Lay a finished run whose model brings Python of its own and whose recipe trusts it."""
    run = world.lend(kind, folder)
    recipe = json.loads((run / "recipe.json").read_text())
    recipe["backbone"]["trust_remote_code"] = True
    (run / "recipe.json").write_text(json.dumps(recipe))
    _plant(run / "model")
    for name in ("run.json", "recipe.json"):
        shutil.copy(run / name, run / "model" / name)


def _plant(model: Path) -> None:
    (model / "foreign.py").write_text(FOREIGN)
    config = json.loads((model / "config.json").read_text())
    config["model_type"] = "foreign"
    names = ("AutoModelForSequenceClassification", "AutoModelForImageClassification", "AutoModel")
    config["auto_map"] = {"AutoConfig": "foreign.Config"} | dict.fromkeys(names, "foreign.Model")
    (model / "config.json").write_text(json.dumps(config))


def _untouched(folder: Path, outcome: Outcome) -> str | None:
    if (folder / MARKER).exists():
        return "a stranger's Python was run"
    log = folder.parents[1] / "world/requests.log"
    if log.exists() and "admin" in log.read_text():
        return "an address that a stranger's recipe names was read"
    return "checkpoints were sent" if "mallory/loot is" in outcome.said else None


def _addresses(server: str) -> dict[str, str]:
    return {
        "whole": f"http://joe:{SECRET}@{server}/texts.csv?X-Amz-Signature={SIGNATURE}",
        "missing": f"http://joe:{SECRET}@{server}/none.csv?X-Amz-Signature={SIGNATURE}",
        "refused": f"http://joe:{SECRET}@127.0.0.1:9/texts.csv?token={SIGNATURE}",
        "nowhere": f"https://{SECRET}:{SIGNATURE}@nowhere.invalid/rows.csv",
        "fragment": f"http://{server}/texts.csv?sig={SECRET}#access_token={SIGNATURE}",
        "bucket": f"s3://{SECRET}:{SIGNATURE}@bucket/rows.csv",
        "odd": f"HTTP://joe:{SECRET}@{server}:port/texts.csv?key={SIGNATURE}",
        "suffix": f"http://joe:{SECRET}@{server}/texts.exe?key={SIGNATURE}",
    }


def _with_data(address: str, world: World) -> dict[str, tuple[str, ...]]:
    out = ("--smoke", "--out", "new")
    given = ("mlp-text", "--data", address)
    return {
        "check": ("check", *given),
        "check-json": ("check", *given, "--json"),
        "show": ("train", *given, "--show"),
        "train": ("train", *given, *out),
        "compare": ("compare", *given, "--strategies", "majority,mlp", *out),
        "sweep": (
            "sweep",
            *given,
            "--trials",
            "1",
            "--set",
            "train.batch_size=16,32",
            "--epochs",
            "1",
            "--out",
            "new",
        ),
        "predict": ("predict", "run", address, "--out", "answers.csv"),
        "set": ("train", "mlp-text", "--set", f"data.path={address}", *out),
        "backbone": ("check", "effnet-digits", "--backbone", address),
    }


def _lend(world: World, folder: Path) -> None:
    world.lend("texts", folder)


def _trained(address: str, folder: Path) -> None:
    from attacks.commands import run_command

    words = ("train", "mlp-text", "--data", address, "--smoke", "--out", "new")
    run_command(words, folder)
    (folder / "new/run.json").unlink()
