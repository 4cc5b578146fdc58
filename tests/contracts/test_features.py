"""What every backbone must do, tested from the registry."""

import dataclasses

import numpy as np
import pytest

from cleave.io.artifacts import pack_features, unpack_features
from cleave.io.store import read_shard, write_shard
from cleave.registry import PLUGINS, lookup, make
from cleave.spec import ConfigError, build, to_mapping
from cleave.types import FeatureMap, Image, Size

KINDS = sorted(PLUGINS["features"])
# Settings that make a plugin quick to run; one that is not named here runs with its defaults.
QUICK = {
    "colour": {"size": 64},
    "texture": {"size": 64},
    "resnet": {"model": "resnet18", "weights": "random", "size": 64},
    "vit": {"model": "vit_tiny_patch16_224", "weights": "random", "size": 64},
}


@pytest.fixture(scope="module", autouse=True)
def rotary_weights(tmp_path_factory):
    """A file of random weights for the plugin that ships none."""
    torch = pytest.importorskip("torch")
    from cleave.pretrain.config import Architecture
    from cleave.pretrain.model import RotaryVit
    from cleave.pretrain.weights import save

    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("rotary") / "weights.safetensors"
    save(RotaryVit(Architecture(dim=24, depth=2, heads=2)), path)
    QUICK["rotary"] = {"weights": str(path), "size": 64}


@pytest.fixture(scope="module", autouse=True)
def closed_form_weights(tmp_path_factory):
    """A file of a small random dictionary for the two plugins that read one."""
    from cleave.ops.dictionary import CHANNELS
    from cleave.ops.texture import CHANNELS as TEXTURE
    from cleave.pretrain.closed_form import ClosedForm, save

    rng, count = np.random.default_rng(0), 5
    shapes = [(CHANNELS,), (CHANNELS, CHANNELS), (count, CHANNELS), (TEXTURE + count,)]
    shapes += [(count,), (count, count), (TEXTURE + count, 3)]
    path = tmp_path_factory.mktemp("closed_form") / "weights.safetensors"
    save(ClosedForm(*(rng.random(shape, np.float32) for shape in shapes)), path)
    QUICK["lda"] = {"weights": str(path), "size": 64}
    QUICK["kmeans"] = QUICK["lda"] | {"components": 4}


def quick(kind, **fields):
    return make("features", {"kind": kind, **QUICK.get(kind, {}), **fields})


def photo(height=50, width=70, seed=0):
    """Noise; its id is that of a scene, since the oracle knows no other images."""
    rng = np.random.default_rng(seed)
    return Image(f"crowded-{seed:06d}", rng.integers(0, 256, (height, width, 3), dtype=np.uint8))


def check(features: FeatureMap, image: Image, backbone) -> None:
    assert features.size == image.size
    assert features.grid == Size(*(side // features.stride for side in features.input_size))
    assert all(side % features.stride == 0 for side in features.input_size)
    for facet in features.facets.values():
        assert facet.dtype == np.float32
        assert facet.flags.c_contiguous
    channels = next(iter(features.facets.values())).shape[2]
    assert channels % features.heads == 0


@pytest.mark.parametrize("kind", KINDS)
def test_defaults_build_and_the_spec_comes_back(kind):
    plugin = make("features", {"kind": kind})
    fields = to_mapping(plugin)
    assert build(lookup("features", kind, kind), fields, kind) == plugin
    assert to_mapping(make("features", {"kind": kind, **fields})) == fields
    assert plugin.batch >= 1
    assert plugin.licence
    assert type(plugin).__doc__


@pytest.mark.parametrize("kind", KINDS)
def test_an_unknown_key_is_refused_with_the_nearest(kind):
    name = dataclasses.fields(lookup("features", kind, kind))[0].name
    with pytest.raises(ConfigError, match=f"unknown key '{name}x'; did you mean '{name}'"):
        make("features", {"kind": kind, f"{name}x": 1}, f"features.{kind}")


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_image_gives_the_same_bytes_whatever_its_company(kind):
    images = [photo(seed=seed) for seed in range(3)]
    first, again = quick(kind)(images), quick(kind)(images[::-1])[::-1]
    for one, other, image in zip(first, again, images, strict=True):
        check(one, image, kind)
        for name in one.facets:
            assert one.facets[name].tobytes() == other.facets[name].tobytes()
    different = [a.facets[n] for a in first[:2] for n in list(a.facets)[:1]]
    assert np.abs(different[0] - different[1]).max() > 0


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "image",
    [
        Image("crowded-000001", np.full((40, 60, 3), 127, np.uint8)),
        Image("crowded-000002", np.zeros((33, 21, 3), np.uint8)),
        Image("crowded-000003", np.full((1, 1, 3), 200, np.uint8)),
        photo(16, 16),
        photo(5, 400),
        photo(400, 3),
    ],
    ids=lambda image: "x".join(map(str, image.size)),
)
@pytest.mark.parametrize("keep_aspect", [False, True])
def test_odd_images_give_finite_features(kind, image, keep_aspect):
    names = {field.name for field in dataclasses.fields(lookup("features", kind, kind))}
    fields = {"keep_aspect": True, "max_side": 256} if keep_aspect else {}
    if not names.issuperset(fields):
        pytest.skip(f"{kind} has no choice of aspect")
    backbone = quick(kind, **fields)
    check(backbone([image])[0], image, backbone)


@pytest.mark.parametrize("kind", KINDS)
def test_no_images_give_no_features(kind):
    assert quick(kind)([]) == []


@pytest.mark.parametrize("kind", KINDS)
def test_features_survive_the_shard(kind, tmp_path):
    image = photo()
    features = quick(kind)([image])[0]
    with write_shard(tmp_path / "shard.h5", spec={"kind": kind}, version=1) as writer:
        writer.add(image.id, *pack_features(features))
    with read_shard(tmp_path / "shard.h5") as reader:
        back = unpack_features(*reader.get(image.id))
    assert (back.size, back.input_size, back.stride) == (
        features.size,
        features.input_size,
        features.stride,
    )
    for name, facet in features.facets.items():
        scale = np.abs(facet).max()
        np.testing.assert_allclose(back.facets[name], facet, atol=1e-3 * scale)


def test_keys_of_vit_s8_at_480_pixels_take_less_than_3_megabytes(tmp_path):
    """60 x 60 patches of 384 channels; random, since features hardly compress either."""
    key = np.random.default_rng(0).standard_normal((60, 60, 384), dtype=np.float32)
    features = FeatureMap({"key": key}, Size(480, 640), Size(480, 480), 8, heads=6)
    with write_shard(tmp_path / "shard.h5", spec={"kind": "vit"}, version=1) as writer:
        writer.add("a", *pack_features(features))
    assert (tmp_path / "shard.h5").stat().st_size < 3_000_000
