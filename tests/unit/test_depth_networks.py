import importlib.util
import json
import subprocess
import sys

import numpy as np
import pytest

from cleave.depth.common import distance_from_disparity, fit_for_network, stored_size
from cleave.depth.marigold import MARIGOLD
from cleave.depth.transformers import DEPTH_ANYTHING, ZOEDEPTH, DepthAnything, ZoeDepth
from cleave.registry import make
from cleave.spec import ConfigError, to_mapping
from cleave.types import DataError, Image, Size

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

STAGES = ["stage1", "stage2", "stage3", "stage4"]


def photo(height=60, width=80, seed=0):
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (6, 8, 3), dtype=np.uint8)
    rows, columns = np.arange(height) * 6 // height, np.arange(width) * 8 // width
    return Image(f"photo{seed}", coarse[rows[:, None], columns])


def save(network, processor, folder):
    """As the authors publish: config, safetensors and image processor; larger random weights."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.2 * torch.randn(parameter.shape, generator=generator))
    network.eval().save_pretrained(folder)
    processor.save_pretrained(folder)
    return str(folder)


@pytest.fixture(scope="module")
def zoedepth(tmp_path_factory):
    backbone = transformers.BeitConfig(
        image_size=64,
        hidden_size=32,
        num_hidden_layers=4,
        num_attention_heads=2,
        intermediate_size=64,
        use_relative_position_bias=True,
        reshape_hidden_states=False,
        out_features=STAGES,
    )
    heads = [
        {"name": name, "n_bins": 8, "min_depth": 1e-3, "max_depth": far}
        for name, far in (("nyu", 10.0), ("kitti", 80.0))
    ]
    config = transformers.ZoeDepthConfig(
        backbone_config=backbone,
        neck_hidden_sizes=[16] * 4,
        fusion_hidden_size=16,
        bottleneck_features=16,
        num_relative_features=8,
        bin_embedding_dim=8,
        num_attractors=[4, 2, 2, 1],
        bin_configurations=heads,
        num_patch_transformer_layers=4,
        patch_transformer_hidden_size=128,
        patch_transformer_intermediate_size=32,
        patch_transformer_num_attention_heads=2,
    )
    processor = transformers.ZoeDepthImageProcessor(
        size={"height": 64, "width": 96}, ensure_multiple_of=32
    )
    network = transformers.ZoeDepthForDepthEstimation(config)
    return save(network, processor, tmp_path_factory.mktemp("zoedepth"))


def depth_anything_in(folder, **options):
    backbone = transformers.Dinov2Config(
        image_size=70,
        patch_size=14,
        hidden_size=32,
        num_hidden_layers=4,
        num_attention_heads=2,
        mlp_ratio=2,
        out_features=STAGES,
        reshape_hidden_states=False,
    )
    config = transformers.DepthAnythingConfig(
        backbone_config=backbone,
        reassemble_hidden_size=32,
        neck_hidden_sizes=[8] * 4,
        fusion_hidden_size=8,
        head_hidden_size=4,
        **options,
    )
    processor = transformers.DPTImageProcessor(
        size={"height": 70, "width": 70}, ensure_multiple_of=14, keep_aspect_ratio=True
    )
    torch.manual_seed(0)
    return save(transformers.DepthAnythingForDepthEstimation(config), processor, folder)


@pytest.fixture(scope="module")
def depth_anything(tmp_path_factory):
    return depth_anything_in(tmp_path_factory.mktemp("depth_anything"))


def naive(folder, network, image, size, **sizes):
    """The library's own recipe, from its documentation, on the untouched image."""
    processor = transformers.AutoImageProcessor.from_pretrained(folder)
    model = getattr(transformers, network).from_pretrained(folder)
    with torch.inference_mode():
        outputs = model(**processor(images=image.pixels, return_tensors="pt"))
    found = processor.post_process_depth_estimation(outputs, target_sizes=[size], **sizes)
    return found[0]["predicted_depth"].numpy()


@pytest.mark.parametrize("max_side", [640, 48])
def test_zoedepth_is_the_librarys_recipe(zoedepth, max_side):
    image, size = photo(), stored_size(Size(60, 80), max_side)
    depth = make("depth", {"kind": "zoedepth", "model": zoedepth, "max_side": max_side})(image)
    expected = naive(zoedepth, "ZoeDepthForDepthEstimation", image, size, source_sizes=[(60, 80)])
    assert depth.unit == "metre"
    assert depth.values.dtype == np.float32
    assert depth.values.std() > 1e-3 * depth.values.mean(), "a flat output would show nothing"
    np.testing.assert_allclose(depth.values, np.maximum(expected, 0), rtol=1e-5)


def test_zoedepth_averages_with_the_mirrored_image(zoedepth):
    image = photo()
    mirror = Image("m", np.ascontiguousarray(image.pixels[:, ::-1]))
    network, sizes = "ZoeDepthForDepthEstimation", {"source_sizes": [(60, 80)]}
    once, twice = (naive(zoedepth, network, i, (60, 80), **sizes) for i in (image, mirror))
    averaged = ZoeDepth(model=zoedepth, flip=True)(image).values
    expected = np.maximum((once + twice[:, ::-1]) / 2, 0)
    np.testing.assert_allclose(averaged, expected, rtol=1e-3)  # float32 through a whole network
    assert np.abs(averaged - ZoeDepth(model=zoedepth)(image).values).max() > 1e-3


def test_depth_anything_is_the_librarys_recipe_inverted(depth_anything):
    image, size = photo(), Size(60, 80)
    depth = make("depth", {"kind": "depth_anything", "model": depth_anything})(image)
    disparity = naive(depth_anything, "DepthAnythingForDepthEstimation", image, size)
    assert depth.unit == "relative"
    assert disparity.std() > 0.01 * disparity.mean()
    np.testing.assert_allclose(depth.values, distance_from_disparity(disparity), rtol=1e-4)
    near, far = np.argmax(disparity), np.argmin(disparity)
    assert depth.values.flat[near] < depth.values.flat[far], "larger is farther"


def test_metric_depth_anything_is_taken_as_it_is(tmp_path):
    folder = depth_anything_in(tmp_path, depth_estimation_type="metric", max_depth=20)
    depth = DepthAnything(model=folder)(photo())
    expected = naive(folder, "DepthAnythingForDepthEstimation", photo(), Size(60, 80))
    assert depth.unit == "metre"
    np.testing.assert_allclose(depth.values, np.maximum(expected, 0), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("size", [(1, 1), (4, 300), (300, 3), (200, 150)])
@pytest.mark.parametrize("kind", ["zoedepth", "depth_anything"])
def test_any_image_gives_a_depth_map_the_same_each_time(kind, size, request):
    source = make("depth", {"kind": kind, "model": request.getfixturevalue(kind), "max_side": 64})
    images = [photo(*size), Image("flat", np.full((*size, 3), 90, np.uint8))]
    for image in images:
        first, again = source(image), source(image)
        assert first.values.shape == stored_size(image.size, 64)
        assert first.values.tobytes() == again.values.tobytes()
        assert first.filled == 0


def test_disparity_becomes_distance():
    rng = np.random.default_rng(0)
    disparity = rng.uniform(1, 5, (50, 60)).astype(np.float32)
    disparity[0, :20] = 0  # sky
    disparity[1, 0] = 1e9  # a wild pixel
    depth = distance_from_disparity(disparity)
    low, high = np.percentile(disparity[disparity > 0], [1, 99])
    inside = (disparity > low) & (disparity < high)
    np.testing.assert_allclose(depth[inside], 1 / disparity[inside], rtol=1e-6)
    assert depth[0, 0] == depth.max() == np.float32(1 / low)
    assert depth[1, 0] == depth.min() == np.float32(1 / high)
    np.testing.assert_array_equal(distance_from_disparity(np.zeros((3, 4))), np.ones((3, 4)))


@pytest.mark.parametrize(
    ("image", "max_side", "expected"),
    [
        ((480, 640), 640, (480, 640)),
        ((100, 80), 640, (100, 80)),
        ((3000, 4000), 640, (480, 640)),
        ((1, 5000), 640, (1, 640)),
        ((641, 641), 640, (640, 640)),
    ],
)
def test_stored_sizes_keep_the_aspect(image, max_side, expected):
    assert stored_size(Size(*image), max_side) == expected


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        ((480, 640), (480, 640)),
        ((1, 1), (32, 32)),
        ((5, 400), (32, 128)),
        ((1000, 100), (400, 100)),
        ((100, 400), (100, 400)),
    ],
)
def test_only_impossible_shapes_are_changed_for_the_network(shape, expected):
    pixels = np.zeros((*shape, 3), np.uint8)
    fitted = fit_for_network(pixels)
    assert fitted.shape == (*expected, 3)
    assert (fitted is pixels) == (shape == expected)


def copied(folder, target):
    import shutil

    return shutil.copytree(folder, target / "copy")


def test_the_wrong_network_is_refused(zoedepth, depth_anything):
    with pytest.raises(DataError, match="type 'zoedepth', expected 'depth_anything'"):
        DepthAnything(model=zoedepth)(photo())
    with pytest.raises(DataError, match="type 'depth_anything', expected 'zoedepth'"):
        ZoeDepth(model=depth_anything)(photo())


def test_missing_weights_are_refused_and_not_made_up(depth_anything, tmp_path):
    from safetensors.torch import load_file, save_file

    folder = copied(depth_anything, tmp_path)
    state = load_file(folder / "model.safetensors")
    state.pop("head.conv1.weight")
    save_file(state, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(DataError, match=r"weights missing: head\.conv1\.weight"):
        DepthAnything(model=str(folder))(photo())


def test_weights_of_another_shape_are_refused(depth_anything, tmp_path):
    folder = copied(depth_anything, tmp_path)
    config = json.loads((folder / "config.json").read_text())
    config["head_hidden_size"] = 6
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(DataError, match="cannot be loaded"):
        DepthAnything(model=str(folder))(photo())


def test_a_pickled_model_is_not_read(depth_anything, tmp_path):
    folder = copied(depth_anything, tmp_path)
    (folder / "model.safetensors").unlink()
    torch.save({}, folder / "pytorch_model.bin")
    with pytest.raises(DataError, match="cannot be loaded"):
        DepthAnything(model=str(folder))(photo())


@pytest.mark.parametrize("text", ["", "[]", "{}", "{"])
def test_a_damaged_config_is_refused(depth_anything, tmp_path, text):
    folder = copied(depth_anything, tmp_path)
    (folder / "config.json").write_text(text)
    with pytest.raises(DataError, match=r"config\.json"):
        DepthAnything(model=str(folder))(photo())


@pytest.mark.parametrize("changed", ["config.json", "scheduler/model.safetensors", "new.json"])
def test_a_model_that_changes_in_its_folder_is_noticed(changed, tmp_path):
    (tmp_path / "scheduler").mkdir()
    for name in ("config.json", "scheduler/model.safetensors"):
        (tmp_path / name).write_text("{}")
    source = ZoeDepth(model=str(tmp_path))
    before = source.fingerprint()
    assert source.fingerprint() == before
    (tmp_path / changed).write_text('{"other": 1}')
    assert source.fingerprint() != before


@pytest.mark.parametrize("kind", [ZoeDepth, DepthAnything])
def test_a_model_of_the_hub_is_known_by_its_name_alone(kind):
    assert kind().fingerprint() == ""


@pytest.mark.parametrize("model", ["nowhere", "/no/such/folder", "a/b/c"])
def test_a_missing_folder_is_no_hub_name(model):
    with pytest.raises(DataError, match="no such folder"):
        ZoeDepth(model=model)(photo())


def test_an_unreachable_hub_says_what_to_do(monkeypatch):
    import huggingface_hub

    def fail(url, timeout):
        raise ConnectionError("name not known")

    monkeypatch.setattr(huggingface_hub, "get_hf_file_metadata", fail)
    monkeypatch.setattr(huggingface_hub, "try_to_load_from_cache", lambda *_, **__: None)
    for source in (ZoeDepth(), DepthAnything()):
        with pytest.raises(DataError, match=r"name not known.*model\.safetensors\) as model"):
            source(photo())


@pytest.mark.parametrize("known", [ZOEDEPTH, DEPTH_ANYTHING, MARIGOLD])
def test_depth_networks_own_up_to_their_labels(known):
    assert known.labels
    assert known.licence
    assert known.trained_on


@pytest.mark.parametrize("kind", ["zoedepth", "depth_anything"])
def test_specs_come_back_and_name_the_labels(kind):
    source = make("depth", {"kind": kind})
    assert make("depth", {"kind": kind, **to_mapping(source)}) == source
    assert "depth" in source.saw_labels
    assert "my/model" in make("depth", {"kind": kind, "model": "my/model"}).saw_labels
    with pytest.raises(ConfigError, match="did you mean 'model'"):
        make("depth", {"kind": kind, "modell": "x"})


def test_the_plugins_are_cheap_to_import():
    code = (
        "import sys, cleave.depth.transformers, cleave.depth.marigold;"
        "slow = {'torch', 'transformers', 'diffusers', 'PIL'} & set(sys.modules);"
        "sys.exit(f'imported {slow}' if slow else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


HAS_DIFFUSERS = importlib.util.find_spec("diffusers") is not None


@pytest.mark.skipif(HAS_DIFFUSERS, reason="diffusers is installed")
def test_marigold_without_diffusers_names_the_extra():
    with pytest.raises(ConfigError, match=r"'\.\[diffusion\]'.*or use zoedepth"):
        make("depth", {"kind": "marigold"})


@pytest.fixture(scope="module")
def marigold(tmp_path_factory):
    diffusers = pytest.importorskip("diffusers", reason="the extra `diffusion` is not installed")
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("marigold")
    down, up = ("DownBlock2D", "CrossAttnDownBlock2D"), ("CrossAttnUpBlock2D", "UpBlock2D")
    letters = [chr(97 + i) + "</w>" for i in range(26)]
    vocabulary = {t: i for i, t in enumerate(["<|startoftext|>", "<|endoftext|>", *letters])}
    (folder / "vocab.json").write_text(json.dumps(vocabulary))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    text = transformers.CLIPTextConfig(
        hidden_size=32,
        intermediate_size=32,
        num_attention_heads=2,
        num_hidden_layers=1,
        vocab_size=64,
        bos_token_id=0,
        eos_token_id=1,
        pad_token_id=1,
    )
    pipeline = diffusers.MarigoldDepthPipeline(
        diffusers.UNet2DConditionModel(
            block_out_channels=(32, 64),
            layers_per_block=1,
            sample_size=32,
            in_channels=8,
            out_channels=4,
            down_block_types=down,
            up_block_types=up,
            cross_attention_dim=32,
        ),
        diffusers.AutoencoderKL(
            block_out_channels=[32, 64],
            down_block_types=["DownEncoderBlock2D"] * 2,
            up_block_types=["UpDecoderBlock2D"] * 2,
            latent_channels=4,
        ),
        diffusers.DDIMScheduler(prediction_type="v_prediction", clip_sample=False),
        transformers.CLIPTextModel(text),
        transformers.CLIPTokenizer(
            str(folder / "vocab.json"), str(folder / "merges.txt"), model_max_length=77
        ),
        prediction_type="depth",
        default_denoising_steps=2,
        default_processing_resolution=64,
    )
    pipeline.save_pretrained(folder / "pipeline")
    return str(folder / "pipeline")


@pytest.mark.parametrize("size", [(60, 80), (1, 1), (4, 300)])
def test_marigold_noise_follows_seed_and_image_id(marigold, size):
    source = make("depth", {"kind": "marigold", "model": marigold, "max_side": 64})
    image = photo(*size)
    first, again = source(image), source(image)
    assert first.values.shape == stored_size(image.size, 64)
    assert first.unit == "relative"
    assert 0 <= first.values.min() <= first.values.max() <= 1
    assert first.values.tobytes() == again.values.tobytes()
    other_id = source(Image("other", image.pixels))
    other_seed = make("depth", {"kind": "marigold", "model": marigold, "seed": 1, "max_side": 64})
    for other in (other_id, other_seed(image)):
        assert np.abs(other.values - first.values).max() > 0
