"""Runs TokenCut's bilateral solver and records what it answers, for the parity test of ours.

    python tests/parity/record_bilateral.py TokenCut

with a checkout of YangtaoWANG95/TokenCut@fed52cd, scikit-image, and the image and the masks of
`goldens/crf.npz`. `goldens/README.md` says what was patched.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

import numpy as np
import scipy.sparse.linalg
from PIL import Image as Pillow
from record_reference import pack, unpack
from recording import GOLDENS

from cleave.ops.bilateral import bilateral_solver
from cleave.ops.iou import mask_iou

GOLDEN = GOLDENS / "bilateral.npz"
SIDES = ((16.0, 16.0, 8.0), (24.0, 4.0, 4.0))  # get_saliency.py's defaults, the function's own

BETWEEN = ((101, 139, 72), (108, 122, 71), (112, 126, 75))  # luma a multiple of 4, or of 16


def inputs() -> tuple[np.ndarray, np.ndarray]:
    """The image (H, W, 3) uint8 and the coarse masks (M, H, W) bool of `crf.npz`.

    The red of the three pixels whose colour lies exactly between two cells is one more: round-off
    chooses their cell in the reference.
    """
    recorded = np.load(GOLDENS / "crf.npz")
    pixels = recorded["pixels"].copy()
    for red, green, blue in BETWEEN:
        pixels[(pixels == (red, green, blue)).all(-1), 0] += 1
    return pixels, unpack(recorded["before"], pixels.shape[:2])


class Reference:
    """The reference's function, with the name that SciPy's `cg` has for its tolerance now.

    With `exact` its colours are rounded once, so that equal ones fall into one cell.
    """

    def __init__(self, checkout: Path, exact: bool):
        sys.path.insert(0, str(checkout / "unsupervised_saliency_detection"))
        import bilateral_solver as module

        def cg(*args, tol, **kwargs):
            return scipy.sparse.linalg.cg(*args, rtol=tol, **kwargs)

        self._module, module.cg = module, cg
        if exact:
            millionths, offset = np.rint(1e6 * module.RGB_TO_YUV.T), 1e6 * module.YUV_OFFSET
            module.rgb2yuv = lambda pixels: (pixels @ millionths + offset) / 1e6

    def __call__(
        self, pixels: np.ndarray, mask: np.ndarray, sides: tuple[float, float, float]
    ) -> tuple[np.ndarray, np.ndarray]:
        """The soft map (H, W) float64, and the mask (H, W) bool."""
        with tempfile.TemporaryDirectory() as folder:
            Pillow.fromarray(pixels).save(f"{folder}/photo.png")
            return self._module.bilateral_solver_output(f"{folder}/photo.png", mask, *sides)


def record(reference: Reference) -> None:
    pixels, masks = inputs()
    found = [[reference(pixels, mask, sides) for mask in masks] for sides in SIDES]
    soft = np.array([[pair[0] for pair in row] for row in found])
    after = [pack(np.array([pair[1] for pair in row])) for row in found]
    np.savez_compressed(GOLDEN, soft=soft.astype(np.float16), after=np.stack(after))


def agreement(reference: Reference, folder: Path, count: int) -> str:
    """Over `count` photos with a random blocky mask each: identical masks, IoU, other pixels."""
    overlap, other, same = [], 0.0, 0
    for index, path in enumerate(sorted(folder.iterdir())[:count]):
        rng = np.random.default_rng(index)
        pixels = np.asarray(Pillow.open(path).convert("RGB"))
        small = np.zeros((60, 60), bool)
        top, left = rng.integers(5, 30, 2)
        small[top : top + rng.integers(10, 25), left : left + rng.integers(10, 25)] = True
        rows, columns = (np.arange(side) * 60 // side for side in pixels.shape[:2])
        mask = small[rows[:, None], columns]
        theirs, ours = reference(pixels, mask, SIDES[0])[1], bilateral_solver(pixels)(mask)
        overlap.append(mask_iou(theirs[None], ours[None])[0, 0])
        other += (theirs != ours).mean() / count
        same += np.array_equal(theirs, ours)
    return (
        f"{same} of {count} identical, IoU mean {np.mean(overlap):.5f} least {min(overlap):.5f}, "
        f"{100 * other:.4f} % of the pixels other"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("checkout", type=Path)
    parser.add_argument("--photos", type=Path, help="record nothing, compare on this folder")
    parser.add_argument("--exact", action="store_true", help="colours rounded only once")
    parser.add_argument("--compare", type=int, default=50, help="so many of the photos")
    arguments = parser.parse_args()
    reference = Reference(arguments.checkout.resolve(), arguments.exact)
    if arguments.photos:
        print(agreement(reference, arguments.photos, arguments.compare))
    else:
        record(reference)


if __name__ == "__main__":
    main()
