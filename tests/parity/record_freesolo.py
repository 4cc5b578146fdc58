"""Runs FreeSOLO's Free Mask on made-up features and records its masks, for the parity test.

    python tests/parity/record_freesolo.py FreeSOLO

where FreeSOLO is a checkout of github.com/NVlabs/FreeSOLO (recorded at 340311b). The statements of
demo/inference_freemask.py from the features to the masks that it keeps run as they are; what comes
before (detectron2's network) and after (COCO JSON) does not.
"""

from __future__ import annotations

import argparse
import ast
import importlib.util
from pathlib import Path
from types import ModuleType

import numpy as np
import torch
import torch.nn.functional as F
from recording import GOLDENS

GOLDEN = GOLDENS / "freesolo.npz"
CASES, CHANNELS = 8, 12
HEIGHT, WIDTH = 70, 90  # px of the image; no whole multiple of the grid


def features(seed: int) -> np.ndarray:
    """(h, w, C) float16, not negative as after a rectifier: ellipses of a few kinds on a ground."""
    rng = np.random.default_rng(seed)
    h, w = rng.integers(9, 13), rng.integers(10, 15)
    kinds = np.zeros((h, w), int)
    rows, columns = np.mgrid[:h, :w]
    for kind in rng.integers(1, 5, 5):
        y, x, a, b = *rng.uniform(0, (h, w)), *rng.uniform(1.5, 4, 2)
        kinds[((rows - y) / a) ** 2 + ((columns - x) / b) ** 2 < 1] = kind
    clean = rng.gamma(0.5, size=(5, CHANNELS))[kinds]
    return np.maximum(clean + rng.normal(0, 0.25, clean.shape), 0).astype(np.float16)


def overlapping() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Masks (30, 50) bool, some alike, scores from high to low, labels of two classes."""
    rng = np.random.default_rng(0)
    few = rng.random((10, 50)) < rng.uniform(0.2, 0.8, (10, 1))
    masks = few[rng.integers(0, 10, 30)] ^ (rng.random((30, 50)) < 0.05)
    return masks, np.sort(rng.random(30))[::-1].copy(), rng.integers(0, 2, 30)


class FreeMask:
    """The reference's statements, as a function of features and the size of the image."""

    def __init__(self, checkout: Path):
        self._utils = _module(checkout / "freesolo/modeling/solov2/utils.py")
        script = checkout / "demo/inference_freemask.py"
        body = next(
            node.body
            for node in ast.walk(ast.parse(script.read_text()))
            if isinstance(node, ast.For) and "tqdm" in ast.unparse(node.iter)
        )
        texts = [ast.unparse(statement) for statement in body]
        first = texts.index("keys = predictions['res5'][0]")
        last = texts.index("boxes = boxes[keep]")
        # in a loop of one turn, because they leave an image without masks by `continue`
        once = ast.parse("for _ in range(1): pass")
        once.body[0].body = body[first : last + 1]
        self._code = compile(ast.fix_missing_locations(once), str(script), "exec")

    def __call__(self, values: np.ndarray, height: int, width: int) -> tuple:
        """Masks (M, H, W) bool and scores (M,), or none of either."""
        keys = torch.from_numpy(values.astype(np.float32)).permute(2, 0, 1)[None]
        scope = {
            "predictions": {"res5": keys}, "height": height, "width": width, "torch": torch, "F": F,
            "matrix_nms": self._utils.matrix_nms, "center_of_mass": self._utils.center_of_mass,
        }  # fmt: skip
        exec(self._code, scope)
        if not len(scope["keep"]) or not scope["keep"].any():
            return np.zeros((0, height, width), bool), np.zeros(0)
        return scope["masks"].numpy() > 0, scope["maskness"].numpy().astype(np.float64)

    def matrix_nms(self, kernel: str) -> np.ndarray:
        """The scores of `overlapping` after Matrix NMS."""
        masks, scores, labels = map(torch.from_numpy, overlapping())
        return self._utils.matrix_nms(labels, masks, masks.sum(1), scores, kernel=kernel).numpy()


def _module(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location("freesolo_utils", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def ours(values: np.ndarray):
    """The masks of our method for the same features."""
    from cleave.masks.freesolo import FreeSOLO
    from cleave.types import FeatureMap, Image, Scene, Size

    size, grid = Size(HEIGHT, WIDTH), values.shape[:2]
    found = FeatureMap({"key": values.astype(np.float32)}, size, Size(*(32 * n for n in grid)), 32)
    return FreeSOLO()(Scene(Image("parity", np.zeros((*size, 3), np.uint8)), found))


def compare(reference: FreeMask, count: int) -> None:
    """How often all masks are identical, and how far the scores are apart where they are."""
    same, masks, apart = 0, 0, 0.0
    for seed in range(1000, 1000 + count):
        values = features(seed)
        expected, scores = reference(values, HEIGHT, WIDTH)
        found = ours(values)
        equal = np.array_equal(found.masks, expected)
        same, masks = same + equal, masks + len(expected)
        if equal and len(scores):
            apart = max(apart, np.abs(found.scores - scores).max())
        elif not equal:
            sizes = len(found), len(expected)
            differ = int((found.masks ^ expected).sum()) if sizes[0] == sizes[1] else "?"
            print(f"seed {seed}: {sizes} masks, {differ} pixels differ")
    print(f"{same} of {count} identical, {masks} masks, scores at most {apart:.1e} apart")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("checkout", type=Path)
    parser.add_argument("--compare", type=int, metavar="N", help="random cases, records nothing")
    options = parser.parse_args()
    reference = FreeMask(options.checkout)
    if options.compare:
        return compare(reference, options.compare)
    recorded = {kernel: reference.matrix_nms(kernel) for kernel in ("gaussian", "linear")}
    for case in range(CASES):
        values = features(case)
        masks, scores = reference(values, HEIGHT, WIDTH)
        recorded[f"features{case}"], recorded[f"scores{case}"] = values, scores
        recorded[f"masks{case}"] = np.packbits(masks, axis=-1)
        print(f"case {case}: {len(masks)} masks")
    np.savez_compressed(GOLDEN, **recorded)


if __name__ == "__main__":
    main()
