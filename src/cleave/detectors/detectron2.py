"""detectron2's own Mask R-CNN and Cascade Mask R-CNN, where it is installed."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from annotated_types import Len

from cleave.detectors.regions import RegionDetector
from cleave.networks.settings import Share
from cleave.ops.targets import Detections, Targets
from cleave.rcnn.settings import Architecture, Losses
from cleave.spec import ConfigError
from cleave.types import Size

if TYPE_CHECKING:
    from torch import Tensor, nn

    from cleave.rcnn.network import RCNN

COMMIT = "02b5c4e"  # that the results of ours were compared with
_NORMS = {"batch": "BN", "sync": "SyncBN", "frozen": "FrozenBN", "group": "GN", "none": ""}
_DEPTHS = {"resnet18": 18, "resnet50": 50, "resnet101": 101}


@dataclass(frozen=True, kw_only=True)
class Detectron2(RegionDetector):
    """The reference that ours are measured by: same fields, same weights, same training loop.

    Its checkpoints have detectron2's names; both kinds of detector read those of the other.
    """

    # One for Mask R-CNN, more for Cascade Mask R-CNN; detectron2's defaults
    ious: Annotated[tuple[Share, ...], Len(1, 3)] = (0.5, 0.6, 0.7)

    def __post_init__(self):
        super().__post_init__()
        if self.trunk not in _DEPTHS:
            raise ConfigError(f"trunk: detectron2 has no {self.trunk}; valid: {', '.join(_DEPTHS)}")

    @property
    def stages(self) -> tuple[float, ...]:
        return self.ious

    def network(self, losses: Losses) -> nn.Module:
        """detectron2's GeneralizedRCNN behind the interface of ours, with its random weights.

        Raises:
            ConfigError: detectron2 is not installed, or losses that it does not have.
        """
        if losses.drop_loss or losses.soft_targets or losses.trust_loss:
            raise ConfigError(
                "losses: detectron2 has the plain ones; set drop_loss, soft_targets and "
                "trust_loss to false, or use cascade_mask_rcnn or mask_rcnn"
            )
        try:
            from detectron2.modeling import build_model
        except ImportError as error:
            raise ConfigError(
                f"detectron2 cannot be imported ({error}). It has no wheels; build it with "
                f"`pip install --no-build-isolation git+https://github.com/facebookresearch/"
                f"detectron2@{COMMIT}`, which needs a C++ compiler, or use cascade_mask_rcnn or "
                "mask_rcnn, which compute the same"
            ) from None
        return _adapter()(build_model(configuration(self.architecture)), self.architecture)

    def begin(self, network: nn.Module) -> None:
        """Fills a network with the weights that round 0 begins with; see `Detector.begin`."""
        if self.weights != "random":
            ours = _ours(network)
            super().begin(ours)
            _copy(ours, network)

    def resume(self, network: nn.Module, checkpoint: Path) -> None:
        """Fills a network with the weights of an earlier round, its own or ours."""
        from cleave.rcnn.checkpoints import read_detector

        ours = _ours(network)
        read_detector(checkpoint, ours)
        _copy(ours, network)


def configuration(parts: Architecture) -> Any:
    """detectron2's config of one of our architectures.

    Raises:
        ConfigError: a trunk that detectron2 does not have.
    """
    from detectron2.config import get_cfg

    from cleave.rcnn.regions import DELTA_WEIGHTS

    config = get_cfg()
    config.INPUT.FORMAT = "RGB"
    config.TEST.DETECTIONS_PER_IMAGE = parts.detections
    model = config.MODEL
    model.DEVICE = "cpu"  # the training loop moves it
    model.META_ARCHITECTURE, model.MASK_ON = "GeneralizedRCNN", True
    model.PIXEL_MEAN, model.PIXEL_STD = list(parts.mean), list(parts.std)
    _backbone(model, parts)
    _proposals(model, parts)
    model.ROI_HEADS.NAME = "CascadeROIHeads" if parts.cascade else "StandardROIHeads"
    model.ROI_HEADS.IN_FEATURES = ["p2", "p3", "p4", "p5"]
    model.ROI_HEADS.NUM_CLASSES = parts.classes
    model.ROI_HEADS.IOU_THRESHOLDS = [parts.ious[0]]
    model.ROI_HEADS.BATCH_SIZE_PER_IMAGE = parts.roi_batch
    model.ROI_HEADS.POSITIVE_FRACTION = parts.roi_positive
    model.ROI_HEADS.SCORE_THRESH_TEST = parts.score_floor
    model.ROI_HEADS.NMS_THRESH_TEST = parts.nms
    model.ROI_BOX_HEAD.NAME, model.ROI_BOX_HEAD.NUM_FC = "FastRCNNConvFCHead", 2
    model.ROI_BOX_HEAD.POOLER_RESOLUTION = parts.box_pool
    model.ROI_BOX_HEAD.FC_DIM = parts.box_width
    model.ROI_BOX_HEAD.CLS_AGNOSTIC_BBOX_REG = True
    model.ROI_BOX_CASCADE_HEAD.IOUS = parts.ious
    model.ROI_BOX_CASCADE_HEAD.BBOX_REG_WEIGHTS = DELTA_WEIGHTS[: len(parts.ious)]
    model.ROI_MASK_HEAD.NAME = "MaskRCNNConvUpsampleHead"
    model.ROI_MASK_HEAD.POOLER_RESOLUTION = parts.mask_pool
    model.ROI_MASK_HEAD.NUM_CONV = parts.mask_convolutions
    model.ROI_MASK_HEAD.CONV_DIM = parts.mask_channels
    return config


def _backbone(model: Any, parts: Architecture) -> None:
    levels = ["res2", "res3", "res4", "res5"]
    model.BACKBONE.NAME, model.BACKBONE.FREEZE_AT = "build_resnet_fpn_backbone", 0
    model.RESNETS.DEPTH = _DEPTHS[parts.trunk]
    model.RESNETS.RES2_OUT_CHANNELS = 64 if parts.trunk == "resnet18" else 256
    model.RESNETS.OUT_FEATURES = model.FPN.IN_FEATURES = levels
    model.RESNETS.STRIDE_IN_1X1 = False
    model.RESNETS.NORM, model.FPN.NORM = _NORMS[parts.norm], _NORMS[parts.fpn_norm]
    model.FPN.OUT_CHANNELS = parts.fpn_channels


def _proposals(model: Any, parts: Architecture) -> None:
    model.ANCHOR_GENERATOR.SIZES = [[size] for size in parts.anchor_sizes]
    model.ANCHOR_GENERATOR.ASPECT_RATIOS = [list(parts.anchor_ratios)]
    model.RPN.IN_FEATURES = ["p2", "p3", "p4", "p5", "p6"]
    model.RPN.IOU_THRESHOLDS = [parts.rpn_low, parts.rpn_high]
    model.RPN.BATCH_SIZE_PER_IMAGE = parts.rpn_batch
    model.RPN.POSITIVE_FRACTION = parts.rpn_positive
    model.RPN.PRE_NMS_TOPK_TRAIN = parts.rpn_before_nms_train
    model.RPN.PRE_NMS_TOPK_TEST = parts.rpn_before_nms_test
    model.RPN.POST_NMS_TOPK_TRAIN = parts.rpn_after_nms_train
    model.RPN.POST_NMS_TOPK_TEST = parts.rpn_after_nms_test
    model.RPN.NMS_THRESH = parts.rpn_nms


@functools.cache
def _adapter() -> type[nn.Module]:
    """The class is made late, for its base is torch's."""
    from torch import nn

    class Adapter(nn.Module):
        """Called, asked to detect and saved as `rcnn.network.RCNN` is."""

        def __init__(self, model: nn.Module, architecture: Architecture):
            super().__init__()
            self.model, self.architecture = model, architecture

        def forward(self, images: Sequence[Tensor], targets: Sequence[Targets]) -> dict:
            return losses(self.model, images, targets)

        def detect(self, images: Sequence[Tensor], originals: Sequence[Size]) -> list[Detections]:
            return detect(self.model, images, originals)

        def state_dict(self, *args: Any, **kwargs: Any) -> dict[str, Tensor]:
            return self.model.state_dict(*args, **kwargs)

        def load_state_dict(self, state: Mapping[str, Tensor], *args: Any, **kwargs: Any) -> Any:
            return self.model.load_state_dict(state, *args, **kwargs)

    return Adapter


def losses(
    model: nn.Module, images: Sequence[Tensor], targets: Sequence[Targets]
) -> dict[str, Tensor]:
    """detectron2's losses under its own names; scores and trust of the targets are not read.

    As with ours, a detector of one class ignores which clusters the labels may name.
    """
    import torch
    from detectron2.structures import BitMasks, Boxes, Instances
    from detectron2.utils.events import EventStorage

    inputs, single = [], model.roi_heads.num_classes == 1
    for image, target in zip(images, targets, strict=True):
        instances = Instances(tuple(image.shape[1:]))
        instances.gt_boxes = Boxes(target.boxes)
        instances.gt_classes = torch.zeros_like(target.labels) if single else target.labels
        instances.gt_masks = BitMasks(target.masks)
        inputs.append({"image": image, "instances": instances})
    with EventStorage(0):  # where its parts leave counts
        return model(inputs)


def detect(
    model: nn.Module, images: Sequence[Tensor], originals: Sequence[Size]
) -> list[Detections]:
    """What `RCNN.detect` gives, found and scaled to the original image by detectron2."""
    import torch
    from detectron2.modeling.postprocessing import detector_postprocess

    with torch.no_grad():
        results = model.inference([{"image": image} for image in images], do_postprocess=False)
    found = []
    for result, original in zip(results, originals, strict=True):
        result.probabilities = result.pred_masks[:, 0]  # a name that it does not paste
        result.remove("pred_masks")
        result = detector_postprocess(result, original.height, original.width)
        boxes, masks = result.pred_boxes.tensor, result.probabilities
        found.append(Detections(boxes, result.scores, result.pred_classes, masks))
    return found


def _ours(network: nn.Module) -> RCNN:
    """Our network with the weights of detectron2's, to be filled from a file."""
    from cleave.rcnn.checkpoints import detectron2_names
    from cleave.rcnn.network import build

    ours, state = build(network.architecture), network.state_dict()
    names = detectron2_names(ours)
    ours.load_state_dict({name: state[names[name]] for name in names})
    return ours


def _copy(ours: RCNN, network: nn.Module) -> None:
    from cleave.rcnn.checkpoints import detectron2_names

    names = detectron2_names(ours)
    network.load_state_dict({names[name]: value for name, value in ours.state_dict().items()})
