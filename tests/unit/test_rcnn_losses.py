"""Each loss against a twin that adds up one number at a time."""

import math

import pytest

torch = pytest.importorskip("torch")

from cleave.rcnn.losses import box_loss, class_loss, drop_weights, mask_loss  # noqa: E402

COUNT, CLASSES = 30, 3


@pytest.fixture
def generator():
    return torch.Generator().manual_seed(0)


def class_loss_naive(logits, labels, scores, weights):
    total = 0.0
    background = logits.shape[1] - 1
    for row, label, score, weight in zip(
        logits.tolist(), labels.tolist(), scores, weights, strict=True
    ):
        norm = math.log(sum(math.exp(v) for v in row))
        truth = [0.0] * len(row)
        truth[label] = 1.0 if label == background else score
        if label != background:
            truth[background] = 1 - score
        total -= weight * sum(t * (v - norm) for t, v in zip(truth, row, strict=True))
    return total / len(labels)


@pytest.mark.parametrize("soft", [False, True])
@pytest.mark.parametrize("drop", [False, True])
def test_class_loss_is_the_naive_twins(generator, soft, drop):
    logits = torch.randn((COUNT, CLASSES + 1), generator=generator)
    labels = torch.randint(0, CLASSES + 1, (COUNT,), generator=generator)
    scores = torch.rand(COUNT, generator=generator)
    weights = (torch.rand(COUNT, generator=generator) > 0.3).float()
    found = class_loss(
        logits, labels, scores=scores if soft else None, weights=weights if drop else None
    )
    ones = [1.0] * COUNT
    expected = class_loss_naive(
        logits, labels, scores.tolist() if soft else ones, weights.tolist() if drop else ones
    )
    assert math.isclose(found.item(), expected, rel_tol=1e-5)


def test_dropped_regions_stay_in_the_mean():
    logits, labels = torch.zeros(4, 2), torch.zeros(4, dtype=torch.int64)
    weights = torch.tensor([1.0, 0, 0, 0])
    found = class_loss(logits, labels, weights=weights).item()
    assert math.isclose(found, math.log(2) / 4, rel_tol=1e-6)


def test_a_certain_soft_target_is_a_label(generator):
    logits = torch.randn((COUNT, 2), generator=generator)
    labels = torch.randint(0, 2, (COUNT,), generator=generator)
    soft = class_loss(logits, labels, scores=torch.ones(COUNT))
    torch.testing.assert_close(soft, class_loss(logits, labels))


@pytest.mark.parametrize("soft", [False, True])
def test_box_loss_is_the_naive_twins(generator, soft):
    deltas, wanted = torch.randn((2, COUNT, 4), generator=generator)
    scores = torch.rand(COUNT, generator=generator) if soft else None
    expected = 0.0
    for row in range(COUNT):
        for column in range(4):
            difference = abs(deltas[row, column].item() - wanted[row, column].item())
            expected += difference * (scores[row].item() if soft else 1)
    found = box_loss(deltas, wanted, regions=77, scores=scores)
    assert math.isclose(found.item(), expected / 77, rel_tol=1e-5)


@pytest.mark.parametrize("soft", [False, True])
@pytest.mark.parametrize("trusted", [False, True])
def test_mask_loss_is_the_naive_twins(generator, soft, trusted):
    logits = torch.randn((5, 6, 6), generator=generator) * 3
    truth = (torch.rand((5, 6, 6), generator=generator) > 0.5).float()
    scores = torch.rand(5, generator=generator) if soft else None
    trust = torch.rand((5, 6, 6), generator=generator) if trusted else None
    expected = 0.0
    for place in range(logits.numel()):
        probability = 1 / (1 + math.exp(-logits.view(-1)[place].item()))
        right = probability if truth.view(-1)[place] else 1 - probability
        weight = scores[place // 36].item() if soft else 1.0
        weight *= trust.view(-1)[place].item() if trusted else 1.0
        expected -= weight * math.log(right)
    found = mask_loss(logits, truth, scores=scores, trust=trust)
    assert math.isclose(found.item(), expected / logits.numel(), rel_tol=1e-4)


def test_losses_of_nothing_are_zero_and_have_gradients():
    logits = torch.zeros(0, 2, requires_grad=True)
    masks = torch.zeros(0, 28, 28, requires_grad=True)
    deltas = torch.zeros(0, 4, requires_grad=True)
    total = class_loss(logits, torch.zeros(0, dtype=torch.int64))
    total = total + mask_loss(masks, masks) + box_loss(deltas, torch.zeros(0, 4), regions=0)
    total.backward()
    assert total.item() == 0
    assert all(each.grad is not None for each in (logits, masks, deltas))


def iou_naive(a, b):
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    common = max(width, 0) * max(height, 0)
    union = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - common
    return common / union if common else 0.0


def drop_naive(predicted, matched, threshold):
    weights = []
    for boxes, objects in zip(predicted, matched, strict=True):
        for box in boxes.tolist():
            if objects is None:
                weights.append(1.0)
                continue
            best = max(iou_naive(box, other) for other in objects[:100].tolist())
            weights.append(0.0 if best <= threshold else 1.0)
    return weights


def test_drop_weights_are_the_naive_twins(generator):
    corner = torch.rand((COUNT, 2), generator=generator) * 100
    boxes = torch.cat((corner, corner + 20 * torch.rand((COUNT, 2), generator=generator)), 1)
    objects = torch.tensor([[0.0, 0, 30, 30], [50, 50, 90, 60]])
    pick = torch.randint(0, 2, (COUNT,), generator=generator)
    predicted, matched = [boxes, boxes[:7], boxes[:0]], [objects[pick], None, objects[:0]]
    found = drop_weights(predicted, matched, 0.01).tolist()
    assert found == drop_naive(predicted, matched, 0.01)
    assert 0 < sum(found[:COUNT]) < COUNT


def test_an_overlap_at_the_threshold_is_dropped():
    """IoU 0.01 exactly: ten by ten inside a hundred by a hundred."""
    inside, objects = torch.tensor([[0.0, 0, 10, 10]]), torch.tensor([[0.0, 0, 100, 100]])
    assert drop_weights([inside], [objects], 0.01).item() == 0
    assert drop_weights([inside], [objects], 0.0099).item() == 1


def test_every_object_of_the_first_hundred_regions_counts():
    """One object stands twice before the other: CutLER's slice of two would miss the second."""
    objects = torch.tensor([[0.0, 0, 10, 10], [0, 0, 10, 10], [50, 50, 60, 60]])
    predicted = torch.tensor([[50.0, 50, 60, 60]] * 3)
    assert drop_weights([predicted], [objects], 0.01).tolist() == [1, 1, 1]
    late = torch.cat((objects[:1].expand(100, 4), objects[2:]))
    assert drop_weights([predicted[:1].expand(101, 4)], [late], 0.01).sum() == 0
