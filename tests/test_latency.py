"""How long an answer takes: one protocol, whose clock is told the times here."""

import json

import numpy as np
import pytest
import torch
from PIL import Image

from ftkit.finetuning import latency, reload_perceptron
from ftkit.finetuning.latency import latency_of, usable_threads


class Answerer:
    """Answers in as many seconds as it is told, by a clock of its own."""

    def __init__(self, monkeypatch, seconds):
        self.now, self.seconds, self.asked, self.threads = 0.0, list(seconds), [], set()
        monkeypatch.setattr(latency.time, "perf_counter", lambda: self.now)

    def __call__(self, example):
        self.asked.append(example)
        self.threads.add(torch.get_num_threads())
        self.now += self.seconds.pop(0)


def test_the_quartiles_are_those_of_the_quietest_round_and_the_first_answers_do_not_count(
    monkeypatch,
):
    monkeypatch.setattr(latency, "WARM_UP", 2)
    monkeypatch.setattr(latency, "ROUNDS", 3)
    rounds = [[4.0, 5.0, 6.0, 7.0, 8.0], [1.0, 2.0, 3.0, 4.0, 5.0], [2.0, 3.0, 4.0, 9.0, 9.0]]
    answer = Answerer(monkeypatch, [100.0, 100.0, *rounds[0], *rounds[1], *rounds[2]])
    monkeypatch.setattr(latency, "MOST_SECONDS", 1e9)
    found = latency_of(answer, list("abcde"))
    assert (found.low, found.median, found.high) == (2.0, 3.0, 4.0)
    assert found.repetitions == 15
    assert answer.asked == list("ae" + 3 * "aecbd")


def test_what_takes_long_is_asked_for_few_answers_from_all_over(monkeypatch):
    answer = Answerer(monkeypatch, [20.0] * 23)
    found = latency_of(answer, range(20))
    assert (found.median, found.repetitions) == (20.0, 5)
    assert sorted(answer.asked[latency.WARM_UP :]) == [0, 4, 8, 12, 16]


def test_a_round_after_the_first_is_always_whole(monkeypatch):
    answer = Answerer(monkeypatch, [0.0] * 3 + [0.07] * 20 + [0.2] * 20)
    assert latency_of(answer, range(20)).repetitions == 40


def test_examples_are_spread_over_those_given(monkeypatch):
    monkeypatch.setattr(latency, "WARM_UP", 0)
    monkeypatch.setattr(latency, "ROUNDS", 1)
    monkeypatch.setattr(latency, "MOST_SECONDS", 1e9)
    answer = Answerer(monkeypatch, [1.0] * 20)
    latency_of(answer, range(191))
    assert sorted(answer.asked) == list(range(0, 191, 10))


def test_threads_are_those_that_are_said_and_then_as_before(monkeypatch):
    monkeypatch.setattr(latency, "usable_threads", lambda: 3)
    before = torch.get_num_threads()
    answer = Answerer(monkeypatch, [1.0] * 200)
    assert latency_of(answer, [0]).threads == 3
    assert answer.threads == {3}
    assert torch.get_num_threads() == before

    def broken(example):
        raise KeyError(example)

    with pytest.raises(KeyError):
        latency_of(broken, [0])
    assert torch.get_num_threads() == before


def test_threads_are_physical_cores_unless_the_user_says_how_many(monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(latency.psutil, "cpu_count", lambda logical: 8)
    process = latency.psutil.Process
    monkeypatch.setattr(process, "cpu_affinity", lambda self: list(range(16)), raising=False)
    assert usable_threads() == 8
    monkeypatch.setattr(process, "cpu_affinity", lambda self: [0, 1], raising=False)
    assert usable_threads() == 2
    monkeypatch.setenv("OMP_NUM_THREADS", "5")
    assert usable_threads() == 5


def test_a_perceptron_is_timed_from_the_image_file_to_the_probabilities(tmp_path, monkeypatch):
    """Opening and decoding the file is part of what its user waits for, as it is in a pipeline."""
    opened, told = [], []

    class Model:
        estimator = object.__new__(reload_perceptron.MlpClassifier)

        def outputs(self, rows):
            return np.array([[np.asarray(row).mean()] for row in rows])

        def predict_proba(self, rows):
            told.append(len(rows))
            return self.outputs(rows)

    def timing(answer, examples):
        assert examples == sorted(tmp_path.glob("*.png"))
        opened.clear()
        told.clear()
        answer(examples[1])
        return latency.Waited(2.0, 1.0, 3.0, 4, 5)

    real = Image.open
    monkeypatch.setattr(
        reload_perceptron.Image, "open", lambda file: opened.append(file) or real(file)
    )
    monkeypatch.setattr(reload_perceptron, "load_perceptron", lambda folder: Model())
    monkeypatch.setattr(reload_perceptron, "latency_of", timing)
    for number in range(2):
        Image.new("L", (2, 2), 10 * number).save(tmp_path / f"{number}.png")
    (tmp_path / "inputs.json").write_text(json.dumps({"columns": {}}))
    reload_perceptron.main(tmp_path, tmp_path, tmp_path / "out.npz")
    assert (opened, told) == ([tmp_path / "1.png"], [1])
    answers = np.load(tmp_path / "out.npz")
    assert answers["latency"].tolist() == [2.0, 1.0, 3.0, 4.0, 5.0]
    assert answers["probabilities"].ravel().tolist() == [0.0, 10.0]
    reload_perceptron.main(tmp_path, tmp_path, tmp_path / "out.npz", timed=False)
    assert "latency" not in np.load(tmp_path / "out.npz").files
