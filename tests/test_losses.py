"""The loss against torch's own, and mixing against what it promises."""

from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from ftkit import Augment, RecipeError, Train
from ftkit.tasks.losses import (
    class_weights,
    classification_loss,
    mix,
    token_loss,
)
from ftkit.training.trainer import FrozenTrainer

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


WEIGHTS = torch.tensor([0.5, 20.0, 1.0, 2.0])


def by_hand(logits, labels, smoothing):
    """Return of each row its weight times the cross-entropy with its smoothed target, in NumPy."""
    z = logits.double().numpy()
    shifted = z - z.max(1, keepdims=True)
    logs = shifted - np.log(np.exp(shifted).sum(1, keepdims=True))
    target = (1 - smoothing) * np.eye(4)[labels.numpy()] + smoothing / 4
    return WEIGHTS.double().numpy()[labels.numpy()] * -(target * logs).sum(1)


def test_a_row_has_the_weight_of_its_own_class_with_smoothing_too():
    got = classification_loss({"logits": LOGITS}, LABELS, 6, 0.1, WEIGHTS)
    assert float(got) == pytest.approx(by_hand(LOGITS, LABELS, 0.1).mean(), rel=1e-6)


def test_tokens_have_the_weight_of_their_own_class_and_those_without_label_none():
    labels = torch.cat([LABELS[:5], torch.tensor([-100])]).view(2, 3)
    got = token_loss(
        {"logits": LOGITS.view(2, 3, 4)}, labels, 5, label_smoothing=0.1, weights=WEIGHTS
    )
    assert float(got) == pytest.approx(by_hand(LOGITS[:5], LABELS[:5], 0.1).sum() / 5, rel=1e-6)


@pytest.mark.parametrize("counts", [(20, 980), (10, 100, 890)])
def test_the_optimum_with_weights_and_smoothing_tells_every_class_apart(counts):
    """Of separable classes it is 1 - eps + eps / C for the true class and eps / C for others."""
    C, eps = len(counts), 0.1
    labels = np.repeat(np.arange(C), counts)
    weights = class_weights(Train(class_weights="balanced"), labels, C)
    Z = torch.zeros(C, C, dtype=torch.float64, requires_grad=True)  # logits of each class's rows
    optimizer = torch.optim.LBFGS([Z], max_iter=200, line_search_fn="strong_wolfe")

    def closure():
        optimizer.zero_grad()
        truth = torch.from_numpy(labels)
        loss = classification_loss({"logits": Z[truth]}, truth, None, eps, weights)
        loss.backward()
        return loss

    optimizer.step(closure)
    expected = np.full((C, C), eps / C) + (1 - eps) * np.eye(C)
    assert np.allclose(Z.detach().softmax(1), expected, atol=1e-4)


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


def test_each_part_of_a_mixed_target_has_the_weight_of_its_own_class():
    images, labels, rows = torch.rand(6, 3, 8, 8), LABELS, list(range(6))
    augment = Augment(mixup=0.4)
    trainer = SimpleNamespace(
        inputs=SimpleNamespace(mixing=augment),
        args=SimpleNamespace(seed=0),
        state=SimpleNamespace(global_step=0),
        rows_in_step=rows,
        scale=None,
        compiled=None,
        loss_of=partial(classification_loss, label_smoothing=0.1, weights=WEIGHTS),
        accelerator=SimpleNamespace(num_processes=1),
    )
    batch = {"pixel_values": images, "labels": labels.clone()}
    got = FrozenTrainer.compute_loss(trainer, lambda **_: {"logits": LOGITS}, batch, False, 6)
    draw = np.random.default_rng((0, 0, *rows))
    partner = torch.from_numpy(draw.permutation(6))
    share = mix(images, partner, augment, draw)[1]
    own, other = by_hand(LOGITS, labels, 0.1), by_hand(LOGITS, labels[partner], 0.1)
    assert float(got) == pytest.approx((share * own + (1 - share) * other).mean(), rel=1e-6)
