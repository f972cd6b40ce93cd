"""Recipes as values: JSON in and out, changes by dotted path, and every bad setting refused."""

import json
import subprocess
import sys

import pytest

from ftkit import (
    Augment,
    Backbone,
    Data,
    Expect,
    Full,
    HeadOnly,
    ImageClassification,
    Lora,
    Lpft,
    Recipe,
    RecipeError,
    Train,
)

STRATEGIES = [
    Full(learning_rate=3e-5),
    HeadOnly(learning_rate=0.1, cache=False),
    Lpft(probe=HeadOnly(search=True)),
    Lora(rank=4, alpha=3.5, dropout=0.1, targets=("query", "fc1"), merge=False),
]


def make(**changes):
    values = {"name": "vit-mine", "data": Data(path="rows"), "backbone": Backbone(id="owner/vit")}
    return Recipe(**(values | changes))


def refusal(call):
    with pytest.raises(RecipeError) as caught:
        call()
    message = str(caught.value)
    assert "\n" not in message
    assert "pydantic" not in message
    return message


@pytest.mark.parametrize("strategy", STRATEGIES, ids=lambda strategy: strategy.kind)
def test_json_gives_the_same_recipe_again(strategy):
    recipe = make(
        strategy=strategy,
        alternatives=tuple(other for other in STRATEGIES if other is not strategy),
        task=ImageClassification(image="img", augment=Augment(crop=None, mixup=0.2)),
        train=Train(class_weights=(1.0, 2.5), seed=2**32 - 1, max_steps=7),
        expect=(Expect(strategy="full", low=0.1, high=0.2, source="here"),),
    )
    again = Recipe.from_json(recipe.to_json())
    assert again == recipe
    assert type(again.strategy) is type(strategy)
    assert [type(other) for other in again.alternatives] == [type(s) for s in recipe.alternatives]


def test_json_writes_out_every_default():
    written = json.loads(make().to_json())
    assert written["train"]["epochs"] == 3
    assert written["strategy"] == {
        "kind": "full",
        "learning_rate": 5e-5,
        "layer_decay": None,
        "unfreeze": "all",
        "keep_statistics": True,
    }
    assert written["data"]["train_rows"] is None
    assert written["task"]["augment"]["crop"] == [0.5, 1.0]


def test_unicode_goes_through_json():
    recipe = make(
        description="Pilze, 蘑菇, грибы 🍄",
        data=Data(path="/дані/Übung", train="trænning"),
        task=ImageClassification(image="画像", label="Größe"),
    )
    assert Recipe.from_json(recipe.to_json()) == recipe


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('{"name": "a-b",\n "data"', "not JSON, line 2"),
        ("", "not JSON, line 1"),
        ("[1, 2]", "expected a JSON object, got list"),
        ("null", "expected a JSON object, got NoneType"),
        ('{"name": "a-b", "data": {"path": "x"}}', "backbone is missing"),
    ],
)
def test_broken_json_is_a_recipe_error_that_says_where(text, said):
    assert said in refusal(lambda: Recipe.from_json(text))


def test_not_a_number_in_json_is_refused():
    text = make().to_json().replace('"weight_decay": 0.01', '"weight_decay": NaN')
    assert "train.weight_decay" in refusal(lambda: Recipe.from_json(text))


def test_a_misspelt_required_field_is_named_rather_than_missed():
    text = '{"name": "a-b", "dta": {"path": "x"}, "backbone": {"id": "x"}}'
    assert "dta is not a field; did you mean 'data'?" in refusal(lambda: Recipe.from_json(text))


def test_a_json_key_named_self_is_an_unknown_field():
    assert "self" in refusal(lambda: Recipe.from_json('{"self": 1}'))


def test_override_replaces_by_dotted_path_and_leaves_the_original():
    recipe = make()
    changed = recipe.override({"train.epochs": 9, "task.augment.flip": False, "name": "b"})
    assert (changed.train.epochs, changed.task.augment.flip, changed.name) == (9, False, "b")
    assert (recipe.train.epochs, recipe.task.augment.flip, recipe.name) == (3, True, "vit-mine")


def test_override_takes_a_whole_value():
    recipe = make().override({"strategy": Lora(rank=3), "task.augment": Augment(flip=False)})
    assert recipe.strategy == Lora(rank=3)
    assert recipe.task.augment == Augment(flip=False)
    assert make().override({"strategy": {"kind": "head"}}).strategy == HeadOnly()


def test_override_of_a_strategy_knows_that_strategy_s_fields():
    assert make(strategy=Lora()).override({"strategy.rank": 64}).strategy == Lora(rank=64)
    assert "'strategy.rank' is not a field" in refusal(
        lambda: make().override({"strategy.rank": 1})
    )


@pytest.mark.parametrize(
    ("path", "near"),
    [
        ("train.epohcs", "train.epochs"),
        ("trian.epochs", "train.epochs"),
        ("task.augment.flipp", "task.augment.flip"),
        ("train.epochs.x", "train.epochs"),
    ],
)
def test_a_bad_path_is_answered_with_the_nearest(path, near):
    message = refusal(lambda: make().override({path: 1}))
    assert f"'{path}' is not a field" in message
    assert f"did you mean '{near}'?" in message


@pytest.mark.parametrize(
    ("path", "value", "parts"),
    [
        ("train.epochs", 0, ["train.epochs", "0", "greater than 0"]),
        ("train.schedule", "cosin", ["train.schedule", "'cosin'", "'cosine', 'linear'"]),
        ("task.augment.mixup", -1, ["task.augment.mixup", "-1", "greater than or equal to 0"]),
        ("strategy", {"kind": "lorra"}, ["strategy", "lorra", "'full', 'head', 'lpft', 'lora'"]),
        ("train.class_weights", "balancd", ["train.class_weights", "'balancd'", "'balanced'"]),
    ],
)
def test_a_bad_value_names_field_given_and_allowed(path, value, parts):
    message = refusal(lambda: make().override({path: value}))
    assert all(part in message for part in parts), message


def test_a_bad_class_weight_is_answered_with_the_rule_for_weights():
    message = refusal(lambda: Train(class_weights=(1.0, -2.0)))
    assert "-2.0" in message
    assert "greater than 0" in message


REFUSED = [
    (lambda: Full(learning_rate=-1e-4), "strategy.learning_rate"),
    (lambda: HeadOnly(learning_rate=0), "strategy.learning_rate"),
    (lambda: Lora(learning_rate=float("nan")), "strategy.learning_rate"),
    (lambda: Lora(rank=0), "strategy.rank"),
    (lambda: Lora(alpha=float("inf")), "strategy.alpha"),
    (lambda: Lora(dropout=1.0), "strategy.dropout"),
    (lambda: Lora(targets="query"), "strategy.targets"),
    (lambda: Train(epochs=0), "train.epochs"),
    (lambda: Train(epochs=2.5), "train.epochs"),
    (lambda: Train(micro_batch_size=0), "train.micro_batch_size"),
    (lambda: Train(weight_decay=-0.1), "train.weight_decay"),
    (lambda: Train(weight_decay=float("inf")), "train.weight_decay"),
    (lambda: Train(warmup=1.0), "train.warmup"),
    (lambda: Train(warmup=-0.1), "train.warmup"),
    (lambda: Train(label_smoothing=float("nan")), "train.label_smoothing"),
    (lambda: Train(seed=-1), "train.seed"),
    (lambda: Train(seed=2**32), "train.seed"),
    (lambda: Train(precision="int8"), "train.precision"),
    (lambda: Augment(crop=(0.9, 0.5)), "crop"),
    (lambda: Augment(crop=(0.0, 0.5)), "task.augment.crop"),
    (lambda: Augment(randaugment=31), "task.augment.randaugment"),
    (lambda: Data(path=""), "data.path"),
    (lambda: Data(path="x", validation_fraction=0), "data.validation_fraction"),
    (lambda: Data(path="x", train_rows=0), "data.train_rows"),
    (lambda: Data(path="x", on_bad_row="ignore"), "data.on_bad_row"),
    (lambda: Backbone(id=""), "backbone.id"),
    (lambda: Backbone(id="x", image_size=8), "backbone.image_size"),
    (lambda: Expect(strategy="full", low=0.9, high=0.8, source="x"), "low 0.9 lies above high 0.8"),
    (lambda: Expect(strategy="full", low=0.9, high=1.8, source="x"), "expect.high"),
    (lambda: Expect(strategy="full", metric="bleu", low=9, high=101, source="x"), "expect.high"),
    (lambda: Expect(strategy="full", metric="r2", low=-1, high=1.1, source="x"), "expect.high"),
    (lambda: make(name="Vit Mine"), "recipe.name"),
    (lambda: make(train={"epochs": 0}), "train.epochs"),
    (lambda: make(alternatives=[{"kind": "lora", "rank": -1}]), "strategy.rank"),
]


@pytest.mark.parametrize(("call", "field"), REFUSED)
def test_a_bad_value_is_refused_when_it_is_made(call, field):
    assert field in refusal(call)


def test_an_unknown_field_is_answered_with_the_nearest():
    message = refusal(lambda: Train(epohcs=3))
    assert "train.epohcs is not a field" in message
    assert "did you mean 'epochs'?" in message
    assert "did you mean 'backbone'?" in refusal(lambda: make(bakbone=1))


def test_values_at_the_border_are_allowed():
    assert Train(seed=0, warmup=0, label_smoothing=0, weight_decay=0, workers=0).seed == 0
    assert Augment(crop=(1.0, 1.0), randaugment=30).crop == (1.0, 1.0)
    assert Backbone(id="x", image_size=16).image_size == 16


@pytest.mark.parametrize(
    ("value", "field"), [(make(), "name"), (Train(), "epochs"), (Lora(), "rank"), (Augment(), "x")]
)
def test_assignment_raises(value, field):
    with pytest.raises(ValueError, match="frozen"):
        setattr(value, field, 1)


def test_with_strategy_takes_the_recipe_s_own_settings():
    recipe = make(strategy=Full(learning_rate=7e-5), alternatives=(Lora(rank=3),))
    chosen = recipe.with_strategy("lora")
    assert chosen.strategy == Lora(rank=3)
    assert chosen.alternatives == (Full(learning_rate=7e-5),)
    assert chosen.with_strategy("full") == recipe


def test_with_strategy_takes_defaults_where_the_recipe_has_none():
    recipe = make(strategy=Full(learning_rate=7e-5), alternatives=(Lora(rank=3),))
    chosen = recipe.with_strategy("head")
    assert chosen.strategy == HeadOnly()
    assert set(chosen.alternatives) == {Full(learning_rate=7e-5), Lora(rank=3)}


def test_an_unknown_strategy_is_answered_with_the_nearest():
    message = refusal(lambda: make().with_strategy("lroa"))
    assert "full, head, lpft, lora" in message
    assert "did you mean 'lora'?" in message


def test_importing_ftkit_imports_nothing_heavy():
    code = (
        "import sys, ftkit, ftkit.registry, recipes.vit_cifar; "
        "print([m for m in ('torch', 'transformers', 'datasets', 'peft') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_part_that_was_replaced_by_no_settings_has_no_fields(tiny_recipe):
    changes = {"task.augment": None, "task.augment.crop": None}
    with pytest.raises(RecipeError, match=r"'task.augment.crop' cannot be set: 'augment' was just"):
        tiny_recipe.override(changes)


@pytest.mark.parametrize("text", ["9" * 5_000, "[" * 100_000, '"\\ud800"'])
def test_json_that_python_refuses_is_a_recipe_error(text):
    with pytest.raises(RecipeError):
        Recipe.from_json(text)


def test_bytes_that_are_no_characters_are_refused(tiny_recipe):
    with pytest.raises(RecipeError, match="revision holds bytes that are no characters of UTF-8"):
        tiny_recipe.override({"data.revision": "v\udcff"})


def test_a_comma_among_what_is_allowed_is_named():
    with pytest.raises(RecipeError, match=r"data\.decimal = ';': expected '\.' or ','$"):
        Data(path="rows.csv", decimal=";")
