"""Copy-paste does what CutLER's code does, but for its quirks (goldens/README.md says how)."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from record_copypaste import CASES, SIDE, random_case  # noqa: E402
from recording import GOLDENS  # noqa: E402

from cleave.training.augment_settings import Augment  # noqa: E402
from cleave.training.copypaste import Paste, paste  # noqa: E402
from cleave.training.transforms import Example  # noqa: E402
from cleave.types import Size  # noqa: E402

GOLDEN = dict(np.load(GOLDENS / "copypaste.npz"))
ENDS = np.cumsum(GOLDEN["counts"])


def expected(seed):
    """Pixels, masks, boxes and classes of one case."""
    rows = slice(ENDS[seed] - GOLDEN["counts"][seed], ENDS[seed])
    masks = np.unpackbits(GOLDEN["masks"][rows], axis=2, count=SIDE).astype(bool)
    pixels = GOLDEN["pixels"][seed] ^ random_case(seed)["target_pixels"]
    return pixels, masks, GOLDEN["boxes"][rows], GOLDEN["classes"][rows]


def ours(seed, **changed):
    case = random_case(seed)
    target, source = (
        Example(
            torch.from_numpy(case[f"{name}_pixels"]).float(),
            torch.from_numpy(masks := case[f"{name}_masks"]),
            torch.ones(len(masks)),
            torch.arange(len(masks)) + first,
        )
        for name, first in (("target", 0), ("source", 100))
    )
    side, order = int(case["ratio"] * SIDE), torch.from_numpy(case["order"])
    chosen = Paste(True, case["count"], order, Size(side, side), *case["offset"].tolist())
    pixels, found = paste(target, None, source, Augment(**changed), chosen, order)
    return pixels.byte().numpy(), found.masks.numpy(), found.boxes.numpy(), found.labels.numpy()


def same(one, other):
    return all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))


@pytest.mark.parametrize("seed", range(CASES))
def test_copy_paste_is_cutlers(seed):
    without_objects = not len(random_case(seed)["target_masks"])
    names = ("pixels", "masks", "boxes", "classes")
    for name, one, other in zip(names, ours(seed), expected(seed), strict=True):
        if name == "boxes" and without_objects:
            continue  # not recomputed by CutLER, and moved by a swapped offset
        np.testing.assert_array_equal(one, other, name)


def test_the_goldens_hold_pastes_drops_and_lost_masks():
    counts = [len(random_case(seed)["target_masks"]) for seed in range(CASES)]
    pasted = [(expected(seed)[3] >= 100).sum() for seed in range(CASES)]
    asked = [random_case(seed)["count"] for seed in range(CASES)]
    assert {0, 1, 2} <= set(pasted)
    assert any(0 < p < a for p, a in zip(pasted, asked, strict=True))
    left = [(expected(seed)[3] < 100).sum() for seed in range(CASES)]
    assert any(now < before for now, before in zip(left, counts, strict=True))


@pytest.mark.parametrize("overlap", [0.4, 0.6])
def test_the_goldens_would_notice_another_overlap(overlap):
    assert not all(same(ours(seed, overlap=overlap), expected(seed)) for seed in range(CASES))
