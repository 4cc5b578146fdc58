"""The features of the pre-trained backbone are its network's, at the size that CutLER feeds it."""

from __future__ import annotations

from argparse import Namespace

import numpy as np
import pytest
import yaml

torch = pytest.importorskip("torch")

from cleave import config  # noqa: E402
from cleave.backbones.rotary import Rotary  # noqa: E402
from cleave.commands.segment import chosen_sections  # noqa: E402
from cleave.io.images import resize  # noqa: E402
from cleave.io.weights import sha256  # noqa: E402
from cleave.pretrain.config import Architecture  # noqa: E402
from cleave.pretrain.model import RotaryVit  # noqa: E402
from cleave.pretrain.weights import load, save  # noqa: E402
from cleave.spec import ConfigError  # noqa: E402
from cleave.types import DataError, Image, Size  # noqa: E402

SMALL = Architecture(patch=4, dim=24, depth=3, heads=2)


@pytest.fixture(scope="module")
def weights(tmp_path_factory) -> str:
    torch.manual_seed(5)
    path = tmp_path_factory.mktemp("rotary") / "weights.safetensors"
    save(RotaryVit(SMALL), path)
    return str(path)


@pytest.fixture(scope="module")
def images() -> list[Image]:
    rng = np.random.default_rng(0)
    sizes = [(40, 60), (33, 21), (48, 48)]
    return [
        Image(f"{k}", rng.integers(0, 256, (*size, 3), dtype=np.uint8))
        for k, size in enumerate(sizes)
    ]


@pytest.mark.parametrize("facet", ["key", "query", "value", "token"])
@pytest.mark.parametrize("block", [-1, 0])
def test_features_are_those_of_the_network(weights, images, facet, block):
    found = Rotary(weights=weights, facet=facet, block=block, size=50)(images)  # 48: whole patches
    model = load(weights)
    for image, features in zip(images, found, strict=True):
        pixels = torch.from_numpy(resize(image.pixels, Size(48, 48))).permute(2, 0, 1)[None] / 255
        facets = model(pixels)[range(3)[block]]
        assert features.input_size == Size(48, 48)
        assert (features.size, features.stride, features.heads) == (image.size, 4, 2)
        np.testing.assert_allclose(
            features.facets[facet].reshape(144, 24), getattr(facets, facet)[0].numpy(), atol=1e-5
        )


def test_attention_of_cls_comes_on_the_grid(weights, images):
    plain, kept = (
        Rotary(weights=weights, size=48, cls_attention=on)(images)[0] for on in (False, True)
    )
    assert plain.attention is None
    assert kept.attention.shape == (kept.heads, *kept.grid)
    assert (kept.attention.sum((1, 2)) < 1).all()  # the rest is CLS's own
    np.testing.assert_array_equal(plain.facets["key"], kept.facets["key"])


def test_a_batch_changes_nothing_and_may_be_cut_short(weights, images):
    one, two = (Rotary(weights=weights, size=48, batch=n)(images) for n in (1, 2))
    for first, second in zip(one, two, strict=True):
        np.testing.assert_allclose(first.facets["key"], second.facets["key"], atol=1e-5)


def test_weights_are_checked(weights, images):
    Rotary(weights=weights, sha256=sha256(weights), size=48)(images[:1])
    with pytest.raises(DataError, match="sha256 is"):
        Rotary(weights=weights, sha256="0" * 64, size=48)(images)
    with pytest.raises(DataError, match="no such file"):
        Rotary(weights=f"{weights}.not", size=48)(images)
    with pytest.raises(ConfigError, match="block: 3, but"):
        Rotary(weights=weights, block=3, size=48)(images)
    with pytest.raises(ConfigError, match="no weights"):
        Rotary(size=48)(images)


SECTIONS = {
    "datasets": {"photos": {"kind": "folder", "root": "photos"}},
    "pretrain": {"mine": {"dataset": "photos", "mae": {"steps": 3}}},
}


def test_a_reference_or_a_file_but_not_both():
    for entry in ({"pretrain": "mine"}, {"weights": "some.safetensors"}):
        sections = config.load(SECTIONS | {"features": {"rotary": entry}})
        assert sections["features"]["rotary"].reference("pretrain") == entry.get("pretrain")
        assert "mine" not in sections.spec("features", "rotary")
    assert sections["pretrain"]["mine"].reference("dataset") == "photos"


def test_segment_takes_the_file_that_the_stage_wrote(tmp_path):
    """One photo, no workflow: the reference is a file under results/, there or not."""
    path = tmp_path / "config.yaml"
    graphs = {"mine": {"kind": "cosine", "features": "rotary"}}
    raw = {"features": {"rotary": {"pretrain": "mine"}}, "graphs": graphs}
    path.write_text(yaml.safe_dump(SECTIONS | raw | {"masks": {"tokencut": {"graphs": "mine"}}}))
    options = Namespace(config=path, method="tokencut", features=None, depth=None)
    backbone = chosen_sections(options)["features"]["rotary"].plugin
    assert backbone == Rotary(weights="results/pretrain/mine/weights.safetensors")


@pytest.mark.parametrize(
    ("kind", "entry", "words"),
    [
        ("features", {"kind": "rotary"}, "needs the key 'pretrain', a name of pretrain; or 'wei"),
        ("features", {"kind": "rotary", "pretrain": "mne"}, "did you mean 'mine'"),
        ("features", {"kind": "rotary", "pretrain": "mine", "weights": "a"}, "uses no 'pretrain'"),
        ("features", {"kind": "colour", "pretrain": "mine"}, "uses no 'pretrain'"),
        ("pretrain", {}, "needs the key 'dataset'"),
        ("pretrain", {"dataset": ["photos", "photos"]}, "names 2 sections"),
        ("pretrain", {"dataset": "photos", "mae": {"step": 3}}, "pretrain.x.mae"),
    ],
)
def test_refused(kind, entry, words):
    raw = SECTIONS | {kind: SECTIONS.get(kind, {}) | {"x": entry}}
    with pytest.raises(ConfigError) as error:
        config.load(raw)
    assert words in str(error.value)


def test_random_weights_are_the_same_each_time_and_of_no_file():
    image = Image("a", np.random.default_rng(0).integers(0, 256, (40, 56, 3), dtype=np.uint8))
    torch.manual_seed(11)
    before = torch.random.get_rng_state()
    one, other = (Rotary(weights="random", size=32)([image])[0].facets["key"] for _ in range(2))
    assert one.shape == (4, 4, 192)
    np.testing.assert_array_equal(one, other)
    assert torch.equal(torch.random.get_rng_state(), before)
    assert config.load({"features": {"rotary": {"weights": "random"}}})
    with pytest.raises(ConfigError, match="of no file"):
        Rotary(weights="random", sha256="0" * 64)
