"""The layers that look at single regions."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from cleave.rcnn.settings import Parts


class BoxHead(nn.Module):
    """Two fully connected layers, then a class and a correction of the box.

    The correction is one for all classes (CutLER: CLS_AGNOSTIC_BBOX_REG).
    """

    def __init__(self, parts: Parts):
        super().__init__()
        self.fc1 = nn.Linear(parts.fpn_channels * parts.box_pool**2, parts.box_width)
        self.fc2 = nn.Linear(parts.box_width, parts.box_width)
        self.classes = nn.Linear(parts.box_width, parts.classes + 1)
        self.deltas = nn.Linear(parts.box_width, 4)
        for layer in (self.fc1, self.fc2):
            nn.init.kaiming_uniform_(layer.weight, a=1)
        nn.init.normal_(self.classes.weight, std=0.01)
        nn.init.normal_(self.deltas.weight, std=0.001)
        for layer in (self.fc1, self.fc2, self.classes, self.deltas):
            nn.init.zeros_(layer.bias)

    def forward(self, pooled: Tensor) -> tuple[Tensor, Tensor]:
        """(R, C, 7, 7) to logits (R, classes + 1), background last, and deltas (R, 4); float32."""
        x = F.relu(self.fc2(F.relu(self.fc1(pooled.flatten(1)))))
        return self.classes(x).float(), self.deltas(x).float()


class MaskHead(nn.Module):
    """Convolutions, one doubling of the side, and a mask for each class (arXiv 1703.06870)."""

    def __init__(self, parts: Parts):
        super().__init__()
        width = parts.mask_channels
        inputs = [parts.fpn_channels] + [width] * (parts.mask_convolutions - 1)
        self.convs = nn.ModuleList(nn.Conv2d(n, width, 3, padding=1) for n in inputs)
        self.upsample = nn.ConvTranspose2d(width, width, 2, 2)
        self.masks = nn.Conv2d(width, parts.classes, 1)
        for layer in (*self.convs, self.upsample):
            nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
            nn.init.zeros_(layer.bias)
        nn.init.normal_(self.masks.weight, std=0.001)
        nn.init.zeros_(self.masks.bias)

    def forward(self, pooled: Tensor) -> Tensor:
        """(R, C, 14, 14) to logits (R, classes, 28, 28) float32."""
        x = pooled
        for layer in self.convs:
            x = F.relu(layer(x))
        return self.masks(F.relu(self.upsample(x))).float()
