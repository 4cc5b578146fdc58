"""The three depths of a scene, and no depth at all."""

import numpy as np
import pytest
from scipy.stats import spearmanr

from cleave.ops.render import Rendered, noisy_depth, scene
from cleave.registry import make
from cleave.spec import ConfigError
from cleave.types import DataError, Image, Size

SIZE = Size(160, 200)
NOISES = ("exact", "sensor", "monocular")


def image(seed=3, size=SIZE, flavour="crowded"):
    return Image(f"{flavour}-{seed:06d}", scene(flavour, seed, size).pixels)


def source(**fields):
    return make("depth", {"kind": "rendered", **fields})


def scene_of_depth(depth, instances=None):
    size = depth.shape
    instances = np.zeros((0, *size), bool) if instances is None else instances
    pixels = np.zeros((*size, 3), np.uint8)
    none = np.zeros((0, *size), bool)
    return Rendered(pixels, depth.astype(np.float32), instances, np.zeros(len(instances)), none)


def test_exact():
    depth = source()(image())
    assert depth.unit == "metre"
    assert depth.filled == 0
    assert (depth.values == scene("crowded", 3, SIZE).depth).all()


@pytest.mark.parametrize("noise", NOISES)
@pytest.mark.parametrize("flavour", ["crowded", "control"])
def test_larger_is_farther(noise, flavour):
    for seed in range(4):
        depth = source(noise=noise)(image(seed, flavour=flavour))
        exact = scene(flavour, seed, SIZE).depth
        assert depth.values.shape == SIZE
        assert depth.values.dtype == np.float32
        assert spearmanr(depth.values.ravel(), exact.ravel()).statistic > 0.9


@pytest.mark.parametrize("noise", NOISES)
def test_deterministic_and_tied_to_seed_and_image(noise):
    first = source(noise=noise)(image())
    assert source(noise=noise)(image()).values.tobytes() == first.values.tobytes()
    other = source(noise=noise, seed=1)(image())
    assert (noise == "exact") == (other.values.tobytes() == first.values.tobytes())


def test_sensor_noise_grows_with_the_square_of_depth():
    spread = {}
    for metres in (1.0, 2.0, 4.0, 8.0):
        flat = scene_of_depth(np.full((200, 200), metres))
        depth = noisy_depth(flat, "sensor", np.random.default_rng(1))
        assert depth.values.mean() == pytest.approx(metres, rel=0.01)
        spread[metres] = depth.values.std()
    for metres, std in spread.items():
        noise, step = 0.0012 + 0.0019 * (metres - 0.4) ** 2, metres**2 / (43.5 * 8)
        assert 0.5 * noise < std < 1.2 * np.hypot(noise, step)
    assert 8 < spread[8.0] / spread[2.0] < 32


def test_sensor_values_are_steps_of_disparity():
    depth = source(noise="sensor")(image())
    disparity = 43.5 * 8 / depth.values.astype(float)
    assert np.allclose(disparity, np.rint(disparity), atol=1e-4)


def test_sensor_holes_lie_at_steps_and_are_filled():
    values = np.full((100, 100), 2.0)
    values[:, 50:] = 5.0
    depths = [
        noisy_depth(scene_of_depth(values), "sensor", np.random.default_rng(seed))
        for seed in range(20)
    ]
    assert all(0.01 < depth.filled < 0.05 for depth in depths)  # four columns of 100, 60%
    wrong = np.mean([abs(depth.values - values) > 1 for depth in depths], axis=(0, 1))
    assert wrong[46:54].max() > 0.1  # filled from the other side
    assert wrong[:46].max() < 0.001
    assert wrong[54:].max() < 0.001
    plain = noisy_depth(scene_of_depth(values * 0 + 2), "sensor", np.random.default_rng(0))
    assert plain.filled < 0.005


def test_monocular_edges_are_soft_in_proportion_to_the_image():
    """10 to 90% of a step takes 3 to 6 px of an image of 480."""
    for side in (240, 480):
        values = np.full((side, side), 2.0)
        values[:, side // 2 :] = 2.2
        for seed in range(6):
            rng = np.random.default_rng(seed)
            depth = noisy_depth(scene_of_depth(values), "monocular", rng).values
            near = depth[:, side // 2 - 12 : side // 2 + 12].mean(axis=0)
            slope = np.diff(near)
            rise = 1.022 * (near[20] - near[3]) / slope.max()  # of a Gaussian: 2.56 / 2.507
            assert 2.5 < rise * 480 / side < 7


def test_monocular_has_no_scale_and_no_shift():
    depths = [source(noise="monocular", seed=seed)(image()).values for seed in range(12)]
    spans = [float(np.ptp(depth)) for depth in depths]
    assert max(spans) > 3 * min(spans)
    assert min(depth.min() for depth in depths) < 0
    assert source(noise="monocular")(image()).unit == "relative"


def test_monocular_moves_objects_as_wholes():
    """Two objects at one depth come apart: by about 3%, each as a whole."""
    values = np.full((120, 120), 3.0)
    instances = np.zeros((2, 120, 120), bool)
    instances[0, 30:90, 10:55] = instances[1, 30:90, 65:110] = True
    gaps = []
    for seed in range(40):
        rendered = scene_of_depth(values, instances)
        depth = noisy_depth(rendered, "monocular", np.random.default_rng(seed)).values
        one, two = (np.median(depth[mask]) for mask in instances)
        gaps.append((one - two) / np.ptp(depth))
    assert abs(np.mean(gaps)) < 0.2
    assert np.std(gaps) > 0.1


@pytest.mark.parametrize("noise", NOISES)
@pytest.mark.parametrize("size", [Size(1, 1), Size(1, 7), Size(5, 2), Size(9, 300)])
def test_any_size(noise, size):
    depth = source(noise=noise)(image(2, size))
    assert depth.values.shape == size


@pytest.mark.parametrize("noise", NOISES)
def test_input_is_left_alone(noise):
    rendered = scene("control", 2, SIZE)
    before = rendered.depth.copy()
    noisy_depth(rendered, noise, np.random.default_rng(0))
    assert (rendered.depth == before).all()


def test_foreign_image():
    photo = Image("holiday/beach", np.zeros((8, 8, 3), np.uint8))
    with pytest.raises(DataError, match=r"'rendered'.*'holiday/beach' is no rendered scene"):
        source()(photo)


def test_unknown_noise():
    with pytest.raises(ConfigError, match="noise"):
        source(noise="mono")
    with pytest.raises(ConfigError, match="did you mean 'monocular'"):
        noisy_depth(scene("control", 2, SIZE), "mono", np.random.default_rng(0))


def test_flat():
    depth = make("depth", {"kind": "flat"})(Image("holiday/beach", np.zeros((8, 9, 3), np.uint8)))
    assert (depth.values == np.ones((8, 9))).all()
    assert depth.unit == "relative"
