"""The estimators: scikit-learn's own checks, saving without pickle, clear errors, fine-tuning."""

from __future__ import annotations

import builtins
import json
import pickle
from pathlib import Path

import numpy as np
import pytest
from sklearn.datasets import load_diabetes, load_digits, make_classification
from sklearn.exceptions import NotFittedError
from sklearn.metrics import accuracy_score
from sklearn.model_selection import train_test_split
from sklearn.neural_network import MLPClassifier
from sklearn.utils.estimator_checks import parametrize_with_checks

from ftkit.perceptron.estimator_base import _held_out
from ftkit.perceptron.estimators import MlpClassifier, MlpRegressor, load

MNIST = Path(__file__).parents[2] / "shared" / "data" / "mnist"


@parametrize_with_checks([MlpClassifier(), MlpRegressor()])
def test_scikit_learn_finds_nothing_to_say(estimator, check):
    check(estimator)


@pytest.fixture(scope="module")
def digits():
    X, y = load_digits(return_X_y=True)
    return train_test_split(X / 16, y, random_state=0)


@pytest.fixture(scope="module")
def classifier(digits):
    return MlpClassifier(epochs=10, random_state=0).fit(digits[0], digits[2])


def test_digits_are_told_apart(classifier, digits):
    assert classifier.score(digits[1], digits[3]) > 0.95
    assert len(classifier.history_) == classifier.n_iter_ == 10


def test_saved_classifier_predicts_bit_for_bit_the_same(classifier, digits, tmp_path):
    classifier.save(tmp_path)
    again = load(tmp_path)
    np.testing.assert_array_equal(
        again.predict_proba(digits[1]), classifier.predict_proba(digits[1])
    )
    assert again.get_params() == classifier.get_params()
    assert json.loads((tmp_path / "config.json").read_text())["sizes"] == [64, 64, 64, 10]


def test_saved_classifier_keeps_text_classes(tmp_path):
    X, y = make_classification(random_state=0)
    names = np.array(["no", "yes"], dtype=object)[y]
    MlpClassifier(epochs=2).fit(X, names).save(tmp_path)
    assert set(load(tmp_path).predict(X)) == {"no", "yes"}


@pytest.mark.parametrize("columns", [1, 2])
def test_saved_regressor_predicts_bit_for_bit_the_same(columns, tmp_path):
    X, y = load_diabetes(return_X_y=True)
    y = (y - y.mean()) / y.std()
    y = y if columns == 1 else np.stack([y, -y], axis=1)
    regressor = MlpRegressor(random_state=0).fit(X, y)
    regressor.save(tmp_path)
    again = load(tmp_path).predict(X)
    assert again.shape == y.shape
    np.testing.assert_array_equal(again, regressor.predict(X))
    assert regressor.score(X, y) > 0.4


def test_saving_and_loading_never_touch_pickle(classifier, tmp_path, monkeypatch):
    def refuse(*_, **__):
        raise AssertionError("pickle was used")

    for name in ("dump", "dumps", "load", "loads", "Pickler", "Unpickler"):
        monkeypatch.setattr(pickle, name, refuse)
    classifier.save(tmp_path)
    load(tmp_path)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["config.json", "model.safetensors"]


def test_loading_executes_and_imports_nothing_that_the_file_names(
    classifier, tmp_path, monkeypatch
):
    classifier.save(tmp_path)
    monkeypatch.setattr(builtins, "eval", lambda *_: pytest.fail("eval was used"))
    file = tmp_path / "model.safetensors"
    file.write_bytes(file.read_bytes().replace(b"MlpClassifier", b"os.system-now"))
    with pytest.raises(ValueError, match="holds none of MlpClassifier, MlpRegressor"):
        load(tmp_path)


def test_a_cut_or_missing_file_gets_one_clear_error(classifier, tmp_path):
    with pytest.raises(ValueError, match=r"there is no model\.safetensors"):
        load(tmp_path)
    classifier.save(tmp_path)
    file = tmp_path / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(ValueError, match="cannot be read"):
        load(tmp_path)


def test_partial_fit_goes_on_where_it_stopped(digits):
    """The first call equals one epoch of `fit`; later ones keep the weights and Adam's moments."""
    X, _, y, _ = digits
    whole = MlpClassifier(epochs=1, random_state=0)
    whole.fit(X, y)
    parts = MlpClassifier(random_state=0)
    parts.partial_fit(X, y, classes=np.arange(10))
    np.testing.assert_array_equal(parts.parameters_, whole.parameters_)
    losses = [parts.partial_fit(X, y).history_[-1].train_loss for _ in range(5)]
    assert losses == sorted(losses, reverse=True)
    assert parts.n_iter_ == len(parts.history_) == 6
    assert parts._moments[2] == 6 * -(-len(X) // 32)


def test_fine_tuning_with_frozen_layers_moves_the_last_one_alone(classifier, digits, tmp_path):
    classifier.save(tmp_path)
    tuned = load(tmp_path).fine_tune(digits[0], digits[2], learning_rate=1e-4, epochs=2, frozen=2)
    head = 64 * 10 + 10
    np.testing.assert_array_equal(tuned.parameters_[:-head], classifier.parameters_[:-head])
    assert not np.isclose(tuned.parameters_[-head:], classifier.parameters_[-head:]).all()
    assert tuned.history_[0].learning_rate == 1e-4


def test_fine_tuning_on_new_classes_gives_a_fresh_last_layer(classifier, digits, tmp_path):
    classifier.save(tmp_path)
    X, X_test, y, y_test = digits
    odd, odd_test = np.where(y % 2, "odd", "even"), np.where(y_test % 2, "odd", "even")
    tuned = load(tmp_path).fine_tune(X, odd, learning_rate=1e-2, epochs=5, frozen=2)
    body = len(classifier.parameters_) - 650
    np.testing.assert_array_equal(tuned.parameters_[:body], classifier.parameters_[:body])
    assert tuned.sizes_ == (64, 64, 64, 2)
    assert accuracy_score(odd_test, tuned.predict(X_test)) > 0.9


def test_early_stopping_ends_before_the_last_epoch():
    X, y = make_classification(200, flip_y=0.4, random_state=0)
    stopped = MlpClassifier(epochs=200, patience=3, random_state=0).fit(X, y)
    assert stopped.n_iter_ < 200
    assert stopped.history_[-1].validation_loss is not None


@pytest.mark.parametrize("rare", [30, 12, 1])
def test_the_rows_held_out_to_stop_early_are_of_each_class(rare):
    """As scikit-learn's MLPClassifier holds them out; the one row of a class is trained on."""
    classes = np.repeat([0, 1], [120 - rare, rare])
    for seed in range(20):
        kept, held = _held_out(120, classes, 0.1, seed)
        assert sorted([*kept, *held]) == list(range(120))
        share = np.sum(classes[held] == 1)
        assert share == (0 if rare == 1 else pytest.approx(rare / 10, abs=1))
        assert share > 0 or rare == 1


@pytest.mark.parametrize("classes", [np.arange(12), np.arange(12) % 6, None])
def test_rows_are_held_out_at_random_where_classes_are_too_many(classes):
    kept, held = _held_out(12, classes, 0.1, 0)
    assert sorted([*kept, *held]) == list(range(12))
    assert len(held) == 2


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"activation": "swish"}, "activation: no 'swish'; choose one of sigmoid"),
        ({"update": "lion"}, "update: no 'lion'"),
        ({"schedule": "step"}, "schedule: no 'step'"),
        ({"dropout": 1.0}, "dropout lies in"),
        ({"epochs": 0}, "epochs and batch_size start at 1"),
        ({"hidden": (8, 0)}, "hidden: expected widths from 1 on"),
    ],
)
def test_an_unknown_setting_is_a_value_error(change, message):
    with pytest.raises(ValueError, match=message):
        MlpClassifier(**change).fit(np.eye(4), [0, 1, 0, 1])


def test_bad_data_is_a_value_error(classifier):
    X, y = np.eye(4), np.array([0, 1, 0, 1])
    with pytest.raises(ValueError, match="NaN"):
        MlpClassifier().fit(np.full((4, 4), np.nan), y)
    with pytest.raises(ValueError, match="one class"):
        MlpClassifier().fit(X, np.zeros(4, int))
    with pytest.raises(ValueError, match="4 features, but MlpClassifier is expecting 64"):
        classifier.predict(X)
    with pytest.raises(ValueError, match="labels outside the classes"):
        MlpClassifier().partial_fit(X, y + 5, classes=[0, 1])
    with pytest.raises(ValueError, match="first call"):
        MlpClassifier().partial_fit(X, y)
    with pytest.raises(NotFittedError):
        MlpClassifier().predict(X)


@pytest.mark.skipif(not MNIST.is_dir(), reason="needs the MNIST parquet files")
def test_on_mnist_it_does_as_well_as_scikit_learn_s_own():
    from datasets import load_dataset

    files = {name: str(MNIST / f"{name}.parquet") for name in ("train", "test")}
    data = load_dataset("parquet", data_files=files)
    rows = {name: data[name].select(range(n)) for name, n in (("train", 6000), ("test", 2000))}
    X, X_test = (
        np.stack([np.asarray(image) for image in rows[name]["image"]]).reshape(-1, 784) / 255
        for name in ("train", "test")
    )
    y, y_test = rows["train"]["label"][:], rows["test"]["label"][:]
    ours = MlpClassifier(epochs=5, random_state=0).fit(X, y).score(X_test, y_test)
    other = MLPClassifier((64, 64), batch_size=32, max_iter=5, random_state=0).fit(X, y)
    assert ours == pytest.approx(other.score(X_test, y_test), abs=0.03)
    assert ours > 0.85
