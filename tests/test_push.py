"""Publishing: what a repository holds, once, whatever goes wrong on the way."""

import pytest

from ftkit import finetune, publish


@pytest.fixture(scope="module")
def run(class_folders, checkpoint, tmp_path_factory):
    """A finished run of a tiny ViT."""
    from ftkit import Backbone, Data, Recipe, Train

    recipe = Recipe(
        name="tiny-colours",
        data=Data(path=str(class_folders)),
        backbone=Backbone(id=str(checkpoint("vit"))),
        train=Train(epochs=1, batch_size=16),
    )
    folder = tmp_path_factory.mktemp("runs") / "tiny"
    finetune(recipe, folder)
    return folder


def test_a_run_is_published_once(run, hub, transport):
    address = publish(run, "alice/colours")
    assert address == f"{hub.url}/alice/colours"
    print(sorted(hub.files("alice/colours")))
    print(hub.files("alice/colours")["README.md"].decode())
    print(hub.files("alice/colours")["config.json"].decode())
    print(*hub.log, sep="\n")
    assert publish(run, "alice/colours") == address
    assert hub["alice/colours"].titles[1:] == ["initial commit"]
