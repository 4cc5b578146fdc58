import zlib

import numpy as np
import pytest
from published_forms import published

from cleave.io.images import resize
from cleave.networks.published import ARCHITECTURES, RESNETS, architecture
from cleave.registry import make
from cleave.spec import ConfigError
from cleave.types import DataError, Image, Size

torch = pytest.importorskip("torch")
torchvision = pytest.importorskip("torchvision")

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
LAYERS = {"res2": "layer1", "res3": "layer2", "res4": "layer3", "res5": "layer4"}


def photo(seed=0, height=64, width=96):
    rng = np.random.default_rng(seed)
    return Image(f"photo{seed}", rng.integers(0, 256, (height, width, 3), dtype=np.uint8))


def resnet(**fields):
    fields = {"model": "resnet18", "weights": "random", "size": 64} | fields
    return make("features", {"kind": "resnet", **fields})


def drawn(name, value, scale=0.03):
    """Numbers that depend on the name alone: small weights, scales and variances about 1."""
    if not value.is_floating_point():
        return value
    generator = torch.Generator().manual_seed(zlib.crc32(name.encode()))
    noise = scale * torch.randn(value.shape, generator=generator)
    return noise + (value.ndim == 1 and name.endswith(("weight", "var")))


def whole_network(name):
    """torchvision's network as it comes, every tensor drawn anew, the statistics included."""
    network = getattr(torchvision.models, name)(weights=None).eval()
    network.load_state_dict({k: drawn(k, v) for k, v in network.state_dict().items()})
    return network


@pytest.fixture(scope="module")
def networks():
    return {name: whole_network(name) for name in ("resnet18", "resnet50")}


def torchvision_map(network, image, seen, stage):
    """torchvision's forward pass with a hook on a stage, (h, w, C)."""
    got = {}
    hook = getattr(network, LAYERS[stage]).register_forward_hook(lambda m, i, o: got.update(x=o))
    values = (resize(image.pixels, seen, "bilinear") / 255.0 - MEAN) / STD
    with torch.inference_mode():
        network(torch.from_numpy(values.astype(np.float32)).permute(2, 0, 1)[None])
    hook.remove()
    return got["x"][0].permute(1, 2, 0).numpy()


def assert_close(found, expected, tolerance=2e-5):
    assert found.shape == expected.shape
    np.testing.assert_allclose(found, expected, atol=tolerance * np.abs(expected).max())


@pytest.mark.parametrize("name", ["resnet18", "resnet50"])
@pytest.mark.parametrize("stage", LAYERS)
def test_a_stage_is_torchvisions(tmp_path, networks, name, stage):
    path = tmp_path / "weights.pth"
    torch.save(networks[name].state_dict(), path)
    image = photo(height=70, width=100)
    found = resnet(model=name, weights=str(path), stage=stage)([image])[0]
    assert all(side % found.stride == 0 for side in found.input_size)
    assert found.grid == Size(*(side // found.stride for side in found.input_size))
    expected = torchvision_map(networks[name], image, found.input_size, stage)
    assert_close(found.facets["key"], expected)


def dense_head(channels, hidden=24, outputs=10):
    """The tensors of DenseCLNeck: mlp for the whole image, mlp2 for each place."""
    shapes = {"mlp2.0.weight": (hidden, channels, 1, 1), "mlp2.0.bias": (hidden,)}
    shapes |= {"mlp2.2.weight": (outputs, hidden, 1, 1), "mlp2.2.bias": (outputs,)}
    shapes |= {"mlp.0.weight": (hidden, channels), "mlp.0.bias": (hidden,)}
    return {name: drawn(name, torch.zeros(shape), 0.2) for name, shape in shapes.items()}


FORMS = (
    *("DINO", "DINO, whole", "MoCo v2", "DenseCL", "DenseCL, detectron2", "DenseCL, whole"),
    *("SwAV", "torchvision"),
)


@pytest.mark.parametrize("form", FORMS)
def test_a_published_file_gives_torchvisions_features(tmp_path, networks, form):
    network, path = networks["resnet18"], tmp_path / "weights.pth.tar"
    torch.save(published(form, network.state_dict()), path)
    found = resnet(weights=str(path))([photo()])[0]
    assert_close(found.facets["key"], torchvision_map(network, photo(), found.input_size, "res5"))


def test_densecls_projection_is_two_convolutions_with_a_rectifier(tmp_path, networks):
    network, path = networks["resnet18"], tmp_path / "weights.pth"
    torch.save(published("DenseCL, whole", network.state_dict(), dense_head(512)), path)
    found = resnet(weights=str(path), facets=["key", "dense"])([photo()])[0]
    head = {name: value.numpy() for name, value in dense_head(512).items()}
    hidden = found.facets["key"] @ head["mlp2.0.weight"][..., 0, 0].T + head["mlp2.0.bias"]
    expected = np.maximum(hidden, 0) @ head["mlp2.2.weight"][..., 0, 0].T + head["mlp2.2.bias"]
    assert_close(found.facets["dense"], expected)


def test_a_backbone_alone_has_no_projection(tmp_path, networks):
    path = tmp_path / "weights.pth"
    torch.save(published("DenseCL", networks["resnet18"].state_dict()), path)
    with pytest.raises(DataError, match="no dense projection head"):
        resnet(weights=str(path), facets=["dense"])([photo()])


def test_a_projection_of_other_channels_is_refused(tmp_path, networks):
    path = tmp_path / "weights.pth"
    whole = networks["resnet18"].state_dict()
    torch.save(published("DenseCL, whole", whole, dense_head(300)), path)
    with pytest.raises(DataError, match=r"mlp2\.0\.weight \(24, 300, 1, 1\), not \(24, 512"):
        resnet(weights=str(path), facets=["dense"])([photo()])


def test_the_weights_of_another_network_are_refused(tmp_path, networks):
    path = tmp_path / "weights.pth"
    torch.save(networks["resnet18"].state_dict(), path)
    with pytest.raises(DataError, match="not those of this network"):
        resnet(model="resnet50", weights=str(path))([photo()])
    with pytest.raises(DataError, match="sha256 is"):
        resnet(weights=str(path), sha256="0" * 64)([photo()])


def test_several_scales_are_averaged_on_the_grid_of_the_size_itself():
    image = photo(height=128, width=192)
    found = resnet(scales=[1.0, 0.5, 1.55], size=128)([image])[0]
    total = 0
    for side in (128, 64, 192):  # 128 * 1.55, rounded to whole cells of 32 px
        scaled = resnet(size=side)([image])[0].facets["key"]
        values = torch.from_numpy(scaled).permute(2, 0, 1)[None]
        grid = torch.nn.functional.interpolate(values, tuple(found.grid), mode="bilinear")
        total = total + grid[0].permute(1, 2, 0).numpy() / 3
    assert found.input_size == Size(128, 192)
    assert_close(found.facets["key"], total)


def test_images_of_several_sizes_come_back_in_order():
    images = [photo(0), photo(1, 96, 64), photo(2), photo(3, 96, 64), photo(4)]
    together = resnet(batch=2)(images)
    for image, found in zip(images, together, strict=True):
        assert_close(found.facets["key"], resnet()([image])[0].facets["key"])


def test_random_weights_are_those_of_the_seed_and_leave_torchs_generator_alone():
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    first, again, other = (resnet(seed=s)([photo()])[0].facets["key"] for s in (0, 0, 1))
    assert torch.equal(torch.rand(2), expected)
    np.testing.assert_array_equal(first, again)
    assert np.abs(first - other).max() > 0.1 * np.abs(first).max()


@pytest.mark.parametrize("model", ["resnet50", "resnet101"])
def test_random_features_fit_float16(model):
    found = resnet(model=model, facets=["key", "dense"])([photo()])[0]
    assert found.facets["dense"].shape[2] == 128
    assert 0.01 < np.abs(found.facets["key"]).max() < 1000


def test_bfloat16_is_near_float32():
    exact, rough = (
        resnet(precision=p)([photo()])[0].facets["key"] for p in ("float32", "bfloat16")
    )
    assert rough.dtype == np.float32
    assert 0 < np.abs(exact - rough).max() < 0.05 * np.abs(exact).max()


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"model": "resnet51"}, r"no 'resnet51'; did you mean 'resnet50'"),
        ({"model": "resnet50", "weights": None}, "published weights: densecl_r50"),
        ({"facets": []}, "at least one"),
        ({"facets": ["key", "key"]}, "each once"),
        ({"facets": ["dense"], "stage": "res4"}, "dense is a projection of stage res5"),
        ({"sha256": "0" * 64}, "give the file as weights"),
        ({"scales": []}, "scales"),
        ({"scales": [0]}, "scales"),
    ],
)
def test_what_makes_no_sense_is_refused(fields, text):
    with pytest.raises(ConfigError, match=text):
        resnet(**fields)


def test_what_the_weights_saw_is_said():
    assert resnet(model="supervised_r50", weights=None).saw_labels
    assert resnet(model="resnet50", weights="mine.pth").saw_labels.startswith("unknown")
    for model in ("densecl_r101", "dino_r50", "moco_v2_r50", "swav_r50"):
        assert resnet(model=model, weights=None).saw_labels == ""
    assert resnet(model="supervised_r50").saw_labels == ""  # random: nothing was seen
    for model, known in RESNETS.items():
        assert architecture(model) in ARCHITECTURES
        assert known.licence
        assert known.trained_on
        assert known.url.startswith("https://")


def test_published_weights_are_fetched_from_the_hub_or_their_address(
    tmp_path, networks, monkeypatch
):
    from cleave.networks import resnet as module

    path, asked = tmp_path / "weights.pth", []
    torch.save(published("torchvision", networks["resnet50"].state_dict()), path)

    def hub_file(repository, names, *, instead):
        asked.append((repository, names))
        return path

    def url_file(url, *, instead):
        asked.append(url)
        assert url in instead
        return path

    monkeypatch.setattr(module, "hub_file", hub_file)
    monkeypatch.setattr(module, "url_file", url_file)
    for model in ("densecl_r50", "swav_r50"):
        found = resnet(model=model, weights=None)([photo()])[0]
        expected = torchvision_map(networks["resnet50"], photo(), found.input_size, "res5")
        assert_close(found.facets["key"], expected)
    assert asked == [
        ("xinlongwang/DenseCL", ("densecl_r50_imagenet_200ep.pth",)),
        "https://dl.fbaipublicfiles.com/deepcluster/swav_800ep_pretrain.pth.tar",
    ]


def test_doctor_says_which_published_weights_are_there(tmp_path, monkeypatch, capsys):
    from cleave import cli

    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr(torch.hub, "_hub_dir", None)
    snapshot = tmp_path / "models--xinlongwang--DenseCL/snapshots/0"
    for folder, model in ((snapshot, "densecl_r50"), (tmp_path / "hub/checkpoints", "swav_r50")):
        folder.mkdir(parents=True)
        (folder / RESNETS[model].url.rpartition("/")[2]).touch()
    cli.main(["doctor"])
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    found = {line[1]: line[0] for line in lines if len(line) > 1 and line[1] in RESNETS}
    assert found.keys() == RESNETS.keys()
    assert {model for model, state in found.items() if state == "ok"} == {"densecl_r50", "swav_r50"}
