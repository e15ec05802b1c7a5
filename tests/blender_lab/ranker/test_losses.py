"""Losses against values worked out by hand."""

import math

import pytest

torch = pytest.importorskip("torch")

from blender_lab import RankerTrainingConfig  # noqa: E402
from blender_lab.ranker.losses import group_loss, label_losses  # noqa: E402
from blender_lab.ranker.sampling import Group  # noqa: E402


@pytest.mark.parametrize(
    ("kind", "target", "wanted"),
    [
        # softplus(-2) = 0.126928, softplus(2) = 2.126928, softplus(1) = 1.313262, softplus(-1) = 0.313262
        ("bce", 1.0, (math.log1p(math.exp(-1)) + math.log1p(math.exp(-1))) / 2),
        ("mse", 1.0, (0.0 + 1.0) / 2),
        ("instructgpt", 0.6, 0.126928),
        ("instructgpt", 0.0, 2.126928),
        ("instructgpt", 0.5, (0.126928 + 2.126928) / 2),
        ("logistic", 0.75, 0.75 * 0.126928 + 0.25 * 2.126928),
    ],
)
def test_each_loss(kind, target, wanted):
    loss = label_losses(kind, torch.tensor([1.0]), torch.tensor([-1.0]), torch.tensor([target]))
    assert loss.item() == pytest.approx(wanted, abs=1e-5)


def loss_of(pairs, **changes):
    settings = {"encoder": "e", "output": "o", "sources": {"a": {"file": "f"}}, **changes}
    teacher = changes.pop("logits", ())
    settings.pop("logits", None)
    group = Group([1], [[1], [2]], pairs, teacher)
    left, right = torch.tensor([1.0] * len(pairs)), torch.tensor([-1.0] * len(pairs))
    return group_loss(left, right, [group], RankerTrainingConfig.from_dict(settings)).item()


def test_ties_are_pulled_or_dropped():
    tie, win = (0, 1, 0.5, 1.0), (0, 1, 1.0, 1.0)
    assert loss_of([tie]) == pytest.approx(1.126928, abs=1e-5)
    assert loss_of([tie], ties="drop") == 0.0
    assert loss_of([tie, win], ties="drop") == pytest.approx(0.126928, abs=1e-5)


def test_teacher_takes_its_share_where_it_knows_the_pair():
    pairs = [(0, 1, 1.0, 1.0)]
    half = {"teacher": {"weight": 0.5, "temperature": 2.0}}
    # a teacher's logit of 0 is a tie: 1.126928
    assert loss_of(pairs, logits=(0.0,), **half) == pytest.approx((0.126928 + 1.126928) / 2, abs=1e-5)
    assert loss_of(pairs, logits=(math.nan,), **half) == pytest.approx(0.126928, abs=1e-5)
