import subprocess
import sys
import zlib

import numpy as np
import pytest

from cleave.backbones import attention
from cleave.io.images import resize
from cleave.registry import make
from cleave.spec import ConfigError
from cleave.types import Image, Size

torch = pytest.importorskip("torch")
timm = pytest.importorskip("timm")

ALL = ("key", "query", "value", "token")
# CLS alone; no CLS, a register, query-key norm; LayerScale and registers; rotary code and three
# projections; rotary code and a fused one with three biases
MODELS = {
    "vit_tiny_patch16_224": True,
    "vit_wee_patch16_reg1_gap_256": False,
    "vit_small_patch14_reg4_dinov2": True,
    "eva02_tiny_patch14_224": True,
    "vit_small_patch16_dinov3_qkvb": True,
}


def photo(seed=0, height=70, width=100):
    rng = np.random.default_rng(seed)
    return Image(f"photo{seed}", rng.integers(0, 256, (height, width, 3), dtype=np.uint8))


def tiny(**fields):
    fields = {"model": "vit_tiny_patch16_224", "weights": "random", "size": 64} | fields
    return make("features", {"kind": "vit", **fields})


def shaken(vit):
    """Moves every parameter: fresh networks have zero biases, which would hide mistakes."""
    for name, parameter in vit._network.named_parameters():
        generator = torch.Generator().manual_seed(zlib.crc32(name.encode()))
        parameter.add_(0.05 * torch.randn(parameter.shape, generator=generator))
    return vit


def naive(vit, image):
    """timm's plain forward pass, unfused, with hooks on the whole last attention."""
    network, got = vit._network, {}
    last = network.blocks[-1].attn
    last.fused_attn = False
    hooks = [
        last.attn_drop.register_forward_hook(lambda m, i, o: got.update(attention=o)),
        last.register_forward_pre_hook(lambda m, i, k: got.update(x=i[0]), with_kwargs=True),
    ]
    if last.qkv is not None:
        hooks.append(last.qkv.register_forward_hook(lambda m, i, o: got.update(qkv=o)))
    pixels = resize(image.pixels, vit._input_size(image.size))
    record = vit.record
    values = ((pixels / 255.0 - record.mean) / record.std).astype(np.float32)
    with torch.inference_mode():
        tokens = network.fc_norm(
            network.forward_features(torch.from_numpy(values).permute(2, 0, 1)[None])
        )
        if last.qkv is None:
            three = (last.q_proj, last.k_proj, last.v_proj)
            got["qkv"] = torch.cat([layer(got["x"]) for layer in three], 2)
        elif "qkv" not in got:  # EVA calls the functional form
            bias = torch.cat([last.q_bias, last.k_bias, last.v_bias])
            got["qkv"] = torch.nn.functional.linear(got["x"], last.qkv.weight, bias)
    for hook in hooks:
        hook.remove()
    last.fused_attn = True
    first = network.num_prefix_tokens
    cls_query = got["qkv"].chunk(3, dim=2)[0][0, 0].numpy()
    query, key, value = (x[0, first:].numpy() for x in got["qkv"].chunk(3, dim=2))
    facets = {"query": query, "key": key, "value": value, "token": tokens[0, first:].numpy()}
    return facets, tokens[0, 0].numpy(), got["attention"][0, :, 0, first:].numpy(), cls_query


def assert_close(found, expected):
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5 * np.abs(expected).max())


@pytest.mark.parametrize("model", MODELS)
def test_features_equal_the_plain_forward_with_hooks(model):
    if model not in timm.list_models():
        pytest.skip(f"this timm has no {model}")
    has_class = MODELS[model]
    vit = tiny(
        model=model,
        facets=ALL,
        cls_token=has_class,
        cls_attention=has_class,
        cls_query=has_class,
        size=48,
        keep_aspect=True,
    )
    image = photo()
    features = shaken(vit)([image])[0]
    facets, cls, rows, cls_query = naive(vit, image)
    height, width = features.grid
    assert height != width
    for name, expected in facets.items():
        assert features.facets[name].dtype == np.float32
        assert_close(features.facets[name].reshape(height * width, -1), expected)
    if has_class:
        assert_close(features.cls, cls)
        assert_close(features.attention.reshape(features.heads, -1), rows)
        assert_close(features.cls_query, cls_query)
    else:
        assert features.cls is None
        assert features.attention is None
        assert features.cls_query is None


def test_one_facet_alone_is_the_same_as_among_all():
    vit = shaken(tiny(facets=ALL, cls_attention=True))
    together = vit([photo()])[0]
    for facet in ALL:
        alone = shaken(tiny(facets=[facet]))([photo()])[0]
        assert list(alone.facets) == [facet]
        np.testing.assert_array_equal(alone.facets[facet], together.facets[facet])


def test_the_query_of_cls_and_the_keys_give_its_attention():
    """What MaskDistill ranks patches by (arXiv 2206.06363, eq. 1)."""
    features = shaken(tiny(cls_query=True, cls_attention=True))([photo()])[0]
    heads, (height, width) = features.heads, features.grid
    keys = features.facets["key"].reshape(height * width, heads, -1)
    logits = np.einsum("hd,nhd->hn", features.cls_query.reshape(heads, -1), keys)
    logits = logits / np.sqrt(keys.shape[2])
    shares = features.attention.reshape(heads, -1)
    shares = shares / shares.sum(1, keepdims=True)  # without what CLS gives itself
    expected = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    assert_close(shares, expected)


def test_the_last_block_is_left_out_unless_it_is_needed():
    for fields, runs in (
        ({}, 0),
        ({"facets": ["query", "value"], "cls_attention": True, "cls_query": True}, 0),
        ({"facets": ["token"]}, 1),
        ({"cls_token": True}, 1),
    ):
        vit, calls = tiny(**fields), []
        vit._network.blocks[-1].mlp.register_forward_hook(lambda *_, calls=calls: calls.append(1))
        vit([photo()])
        assert len(calls) == runs, fields


def test_no_hook_is_left_behind():
    vit = tiny()
    vit([photo(), photo(1)])
    with pytest.raises(RuntimeError):
        attention.run_to_last_block(vit._network, torch.zeros(1, 5, 32, 32), whole=False)
    assert not vit._network.blocks[-1].attn._forward_pre_hooks


@pytest.mark.parametrize("layer", [0, 3, -2])
def test_an_inner_layer_is_that_of_the_whole_network(layer):
    vit = shaken(tiny(layer=layer, facets=["key", "token"]))
    whole = shaken(tiny())._network
    got = {}
    block = whole.blocks[layer]
    block.attn.qkv.register_forward_hook(lambda m, i, o: got.update(qkv=o))
    block.register_forward_hook(lambda m, i, o: got.update(out=o))
    features = vit([photo()])[0]
    pixels = vit._normalise(resize(photo().pixels, Size(64, 64))[None])
    with torch.inference_mode():
        whole.forward_features(pixels)
        token = whole.norm(got["out"])
    assert_close(features.facets["key"].reshape(16, -1), got["qkv"][0, 1:].chunk(3, 1)[1].numpy())
    assert_close(features.facets["token"].reshape(16, -1), token[0, 1:].numpy())


def test_positions_fit_any_size_as_in_a_network_built_for_it():
    vit = shaken(tiny(size=80, keep_aspect=True, facets=["token"]))
    seen = vit._input_size(photo().size)
    built = timm.create_model(
        "vit_tiny_patch16_224", num_classes=0, img_size=tuple(seen), pretrained=False
    ).eval()
    state = dict(vit._network.state_dict())
    state["pos_embed"] = timm.layers.resample_abs_pos_embed(
        state["pos_embed"], [side // 16 for side in seen], num_prefix_tokens=1
    )
    built.load_state_dict(state)
    with torch.inference_mode():
        expected = built.forward_features(vit._normalise(resize(photo().pixels, seen)[None]))
    features = vit([photo()])[0]
    assert features.input_size == seen == Size(80, 112)
    assert_close(features.facets["token"].reshape(35, -1), expected[0, 1:].numpy())


def test_an_image_does_not_depend_on_its_neighbours():
    images = [photo(0), photo(1, 90, 60), photo(2), photo(3, 60, 90), photo(4, 50, 50)]
    vit = tiny(keep_aspect=True, size=48)
    alone = [vit([image])[0] for image in images]
    assert len({tuple(f.grid) for f in alone}) == 3
    for together in (vit(images), [vit(images[::-1])[4 - i] for i in range(5)]):
        for one, other, image in zip(alone, together, images, strict=True):
            assert other.size == image.size
            np.testing.assert_array_equal(one.facets["key"], other.facets["key"])


def test_a_batch_equals_single_images_to_round_off():
    images = [photo(i) for i in range(5)]
    one, three = (tiny(batch=batch, facets=["key", "token"])(images) for batch in (1, 3))
    for a, b in zip(one, three, strict=True):
        for facet in a.facets:
            assert_close(b.facets[facet], a.facets[facet])


def test_random_weights_follow_the_seed_and_leave_the_global_state_alone():
    before = torch.random.get_rng_state()
    first, again, other = (tiny(seed=s)([photo()])[0].facets["key"] for s in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert np.abs(first - other).max() > 0.1
    assert torch.equal(before, torch.random.get_rng_state())
    assert "random" in tiny().record.trained_on


def test_bfloat16_is_near_float32_but_not_it():
    exact, half = (tiny(precision=p)([photo()])[0].facets["key"] for p in ("float32", "bfloat16"))
    assert half.dtype == np.float32
    assert 0 < np.abs(exact - half).max() < 0.05 * np.abs(exact).max()


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"facets": []}, "at least one"),
        ({"facets": ["key", "key"]}, "each once"),
        ({"facets": ["keys"]}, "facets"),
        ({"sha256": "00"}, "sha256"),
        ({"batch": 0}, "batch"),
        ({"precision": "float16"}, "precision"),
    ],
)
def test_wrong_fields_are_refused_without_torch(fields, message):
    with pytest.raises(ConfigError, match=message):
        tiny(**fields)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"model": "dino_vits9"}, "did you mean 'dino_vits8'"),
        ({"model": "resnet50"}, "any size"),
        ({"model": "vit_srelpos_small_patch16_224"}, "any size"),
        ({"model": "vit_small_patch16_18x2_224"}, "known: Attention"),
        ({"layer": 12}, "has 12 blocks"),
        ({"model": "vit_wee_patch16_reg1_gap_256", "cls_token": True}, "no CLS"),
        ({"model": "vit_wee_patch16_reg1_gap_256", "cls_query": True}, "no CLS"),
    ],
)
def test_models_that_cannot_be_used_are_refused(fields, message):
    with pytest.raises(ConfigError, match=message):
        tiny(**fields)([photo()])


def test_the_plugin_is_cheap_to_import():
    """The Snakefile imports every plugin that a config uses."""
    code = (
        "import sys, cleave.backbones.vit, cleave.backbones.colour, cleave.backbones.weights;"
        "slow = {'torch', 'timm', 'PIL', 'cv2', 'h5py', 'huggingface_hub'} & set(sys.modules);"
        "sys.exit(f'imported {slow}' if slow else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
