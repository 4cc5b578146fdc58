"""Our ViT features against DINO's own code, on made-up weights and a grid that must be resized."""

from dataclasses import replace

import numpy as np
import pytest
from record_dino import GOLDEN, HEIGHT, pixels, weights

from cleave.backbones.weights import RECORDS
from cleave.registry import make
from cleave.types import Image

torch = pytest.importorskip("torch")
timm = pytest.importorskip("timm")


@pytest.fixture
def vit(tmp_path):
    model = "vit_tiny_patch16_224"
    shapes = {
        k: tuple(v.shape) for k, v in timm.create_model(model, num_classes=0).state_dict().items()
    }
    path = tmp_path / "dino.pth"
    torch.save({k: torch.from_numpy(v) for k, v in weights(shapes).items()}, path)
    made = make(
        "features",
        {
            "kind": "vit",
            "model": model,
            "weights": str(path),
            "facets": ["key", "token"],
            "cls_token": True,
            "cls_attention": True,
            "size": HEIGHT,
            "keep_aspect": True,
        },
    )
    made.__dict__["record"] = RECORDS["dino_vits16"]  # DINO has no published weights this small
    return made


def close(found, expected):
    tolerance = 2e-5 * np.abs(expected).max()
    np.testing.assert_allclose(found.reshape(expected.shape), expected, rtol=0, atol=tolerance)


def test_features_equal_those_of_dinos_code(vit):
    golden = np.load(GOLDEN)
    features = vit([Image("parity", pixels())])[0]
    close(features.facets["key"], golden["key"])
    close(features.facets["token"], golden["token"])
    close(features.cls, golden["cls"])
    close(features.attention, golden["attention"])


def test_timms_positions_would_not_do(vit):
    """The golden has power: with timm's interpolation the keys differ visibly."""
    vit.__dict__["record"] = replace(vit.record, dino_positions=False)
    features = vit([Image("parity", pixels())])[0]
    assert np.abs(features.facets["key"].reshape(24, -1) - np.load(GOLDEN)["key"]).max() > 0.01
