"""CascadePSP, UnSAM's refiner, for whoever brings it: a foreign network that saw labelled masks."""

from __future__ import annotations

import functools
import pickle
from pathlib import Path

import numpy as np

from cleave.io.device import device, inference
from cleave.ops.refine import Filter, FilterMaker
from cleave.types import Array, CleaveError, DataError

SAW_LABELS = "CascadePSP learned from masks that people drew"
_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of its training: ImageNet's


def cascadepsp(weights: str) -> FilterMaker:
    """A filter of masks as the package `segmentation_refinement` has it (arXiv 2005.02551).

    The global step alone, at the size of the pixels given, as UnSAM calls it ("fast",
    cascadepsp.py:44-52); what is above 128 of 255 is in the mask.

    Args:
        weights: the file `model` that the authors publish. It is read as weights: the package's
            own loader, which downloads and unpickles, is not used.

    Returns:
        A function of (H, W, 3) uint8 RGB that gives one from (H, W) bool to (H, W) bool.

    Raises:
        CleaveError: the package is not installed.
        DataError: a file that is missing, no weights, or another network's.
    """

    def maker(pixels: Array) -> Filter:
        network, where = _network(weights), device()  # first: it says what is missing
        import torch
        from segmentation_refinement.eval_helper import process_im_single_pass

        values = (pixels / 255.0 - _MEAN) / _STD
        image = torch.from_numpy(values.astype(np.float32)).permute(2, 0, 1)[None].to(where)
        side = max(pixels.shape[:2])

        def refined(mask: Array) -> Array:
            given = torch.from_numpy(np.where(mask, 1.0, -1.0).astype(np.float32))[None, None]
            with inference():
                found = process_im_single_pass(network, image, given.to(where), side)
            return (found[0, 0].cpu().numpy() * 255).astype(np.uint8) > 128

        return refined

    return maker


@functools.cache
def _network(weights: str):
    try:
        from segmentation_refinement.models.psp.pspnet import RefinementModule
    except ImportError:
        raise CleaveError(
            "refine: cascadepsp needs a package that cleave does not bring: "
            "pip install segmentation-refinement; or use crf"
        ) from None
    import torch

    path = Path(weights)
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        network = RefinementModule()
        # The published file was saved from a DataParallel.
        network.load_state_dict({k.removeprefix("module."): v for k, v in state.items()})
    except OSError as error:
        raise DataError(f"cascadepsp {path}: cannot be read: {error.strerror}") from None
    except (pickle.UnpicklingError, RuntimeError, AttributeError, EOFError) as error:
        raise DataError(f"cascadepsp {path}: not CascadePSP's weights: {error}") from None
    return network.eval().to(device())
