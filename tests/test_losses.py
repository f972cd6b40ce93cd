"""The loss against torch's own, and mixing against what it promises."""

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from ftkit import Augment, RecipeError, Train
from ftkit.losses import class_weights, classification_loss, mix

LOGITS = torch.randn(6, 4, generator=torch.Generator().manual_seed(0))
LABELS = torch.tensor([0, 1, 2, 3, 1, 1])


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_shares_of_micro_batches_add_up_to_the_mean_of_the_step(smoothing):
    parts = [
        classification_loss({"logits": LOGITS[rows]}, LABELS[rows], 6, label_smoothing=smoothing)
        for rows in (slice(0, 4), slice(4, 6))  # of unequal size
    ]
    expected = F.cross_entropy(LOGITS, LABELS, label_smoothing=smoothing)
    assert torch.allclose(sum(parts), expected)


def test_balanced_weights_are_those_of_scikit_learn():
    from sklearn.utils.class_weight import compute_class_weight

    labels = np.array([0] * 10 + [1] * 5 + [2])
    weights = class_weights(Train(class_weights="balanced"), labels, 3)
    expected = compute_class_weight("balanced", classes=np.arange(3), y=labels)
    assert torch.allclose(weights, torch.tensor(expected, dtype=torch.float32))


def test_weights_scale_the_loss_of_their_class():
    weights = torch.tensor([1.0, 3.0, 1.0, 1.0])
    each = F.cross_entropy(LOGITS, LABELS, reduction="none") * weights[LABELS]
    got = classification_loss({"logits": LOGITS}, LABELS, 6, weights=weights)
    assert torch.allclose(got, each.mean())


def test_weights_for_another_number_of_classes_are_refused():
    with pytest.raises(RecipeError, match=r"given 2 weights.*3 classes"):
        class_weights(Train(class_weights=(1.0, 2.0)), np.array([0, 1, 2]), 3)


def test_mixup_is_the_convex_combination_with_the_partner():
    images = torch.rand(4, 3, 8, 8)
    partner = torch.tensor([1, 0, 3, 2])
    mixed, share = mix(images, partner, Augment(mixup=0.4), np.random.default_rng(0))
    assert 0 <= share <= 1
    assert torch.allclose(mixed, share * images + (1 - share) * images[partner])


@pytest.mark.parametrize("seed", range(8))
def test_cutmix_says_the_share_of_pixels_that_stayed(seed):
    images = torch.stack([torch.full((3, 16, 16), float(value)) for value in range(4)])
    partner = torch.tensor([1, 2, 3, 0])
    mixed, share = mix(images, partner, Augment(cutmix=1.0), np.random.default_rng(seed))
    stayed = (mixed == images).float().mean(dim=(1, 2, 3))
    assert torch.allclose(stayed, torch.full((4,), share), atol=1e-6)
    assert set(mixed.unique().tolist()) <= {0.0, 1.0, 2.0, 3.0}
