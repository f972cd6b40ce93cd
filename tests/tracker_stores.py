"""What trackers have kept, read by their own tools: `READERS` gives a `Kept` for a run folder."""

from __future__ import annotations

import importlib.util
import json
import os
import sqlite3
import struct
from collections import defaultdict
from pathlib import Path
from typing import NamedTuple

import pytest


class Kept(NamedTuple):
    settings: dict[str, str]
    curves: dict[str, list[tuple[int, float]]]
    final: dict[str, float]
    pictures: set[str]
    runs: int


def id_of(run: Path, tracker: str) -> str:
    return json.loads((run / "tracking.json").read_text())[tracker]["id"]


def of_tensorboard(run: Path) -> Kept:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from tensorboard.util.tensor_util import make_ndarray

    folder = run / "tracking" / "tensorboard"
    events = EventAccumulator(str(folder), size_guidance=dict.fromkeys(("scalars", "images"), 0))
    events.Reload()
    tags = events.Tags()
    curves = {
        name: [(event.step, event.value) for event in events.Scalars(name)]
        for name in tags["scalars"]
    }
    text = [event.tensor_proto for event in events.Tensors("settings/text_summary")]
    (table,) = make_ndarray(text[0]).tolist()
    rows = [line[2:-2].partition(" | ")[::2] for line in table.decode().splitlines()[2:]]
    final = {name: points[-1][1] for name, points in curves.items()}
    return Kept(dict(rows), curves, final, set(tags["images"]), len(text))


def of_mlflow(run: Path) -> Kept:
    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{run.parent / 'mlflow' / 'mlflow.db'}")
    (experiment,) = client.search_experiments(filter_string="name = 'ftkit'")
    named = f"tags.`mlflow.runName` = '{run.name}'"
    runs = client.search_runs([experiment.experiment_id], named)
    found = client.get_run(id_of(run, "mlflow"))
    curves = {
        name: [(m.step, m.value) for m in client.get_metric_history(found.info.run_id, name)]
        for name in found.data.metrics
    }
    pictures = {
        Path(file.path).with_suffix("").as_posix()
        for file in client.list_artifacts(found.info.run_id, "plots")
    }
    return Kept(found.data.params, curves, found.data.metrics, pictures, len(runs))


def of_trackio(run: Path) -> Kept:
    base = sqlite3.connect(Path(os.environ["TRACKIO_DIR"]) / "ftkit.db")
    of_run = "where run_name = ? order by step, id"
    rows = base.execute(f"select run_id, step, metrics from metrics {of_run}", (run.name,))
    curves, pictures = defaultdict(list), set()
    ids = set()
    for id_, step, text in rows.fetchall():
        ids.add(id_)
        for name, value in json.loads(text).items():
            if isinstance(value, dict):
                pictures.add(name)
            else:
                curves[name].append((step, value))
    assert ids == {id_of(run, "trackio")}
    ((text,),) = base.execute("select config from configs where run_name = ?", (run.name,))
    base.close()
    final = {name: points[-1][1] for name, points in curves.items()}
    return Kept(json.loads(text), dict(curves), final, pictures, len(ids))


def of_wandb(run: Path) -> Kept:
    files = sorted((run / "tracking" / "wandb").glob("offline-run-*/*.wandb"))
    assert [file.stem for file in files] == [f"run-{id_of(run, 'wandb')}"]
    curves, final, settings, pictures = defaultdict(list), {}, {}, set()
    for record in wandb_records(files[0]):
        for item in record.run.config.update:
            settings[item.key] = json.loads(item.value_json)
        row = {}
        for item in record.history.item:
            first, *rest = item.nested_key or [item.key]
            if rest:  # a picture has a kind, a path, a size
                pictures.add(first)
            else:
                row[first] = json.loads(item.value_json)
        for name, value in row.items():
            stage = f"{name.rpartition('/')[0]}/" if "/" in name else ""
            if not name.startswith("_") and not name.endswith("step"):
                curves[name].append((row[f"{stage}step"], value))
        for item in record.summary.update:
            final[item.key or "/".join(item.nested_key)] = json.loads(item.value_json)
    return Kept(settings, dict(curves), final, pictures, len(files))


def wandb_records(file: Path):
    """Yield the records of an offline run: LevelDB's log format after a head of seven bytes."""
    from wandb.proto.wandb_internal_pb2 import Record

    content, at, parts = file.read_bytes(), 7, b""
    while at + 7 <= len(content):
        if 32768 - at % 32768 < 7:
            at += 32768 - at % 32768
            continue
        _, length, kind = struct.unpack("<IHB", content[at : at + 7])
        parts += content[at + 7 : at + 7 + length]
        at += 7 + length
        if kind in (1, 4):  # whole, or the last part of one
            yield Record.FromString(parts)
            parts = b""


READERS = {
    "tensorboard": of_tensorboard,
    "mlflow": of_mlflow,
    "wandb": of_wandb,
    "trackio": of_trackio,
}
WHY = {"trackio": "; it is in no extra that the tests have, as it allows no pillow 13"}
THERE = [name for name in READERS if importlib.util.find_spec(name)]
EACH = [
    pytest.param(
        name,
        marks=pytest.mark.skipif(
            name not in THERE, reason=f"{name} is not installed{WHY.get(name, '')}"
        ),
    )
    for name in READERS
]
