import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import cleave
from cleave.ops import bits, native, ncut

ROOT = Path(cleave.__file__).parents[2]


@pytest.fixture
def built() -> Path:
    if native.library() is None:
        pytest.skip("the kernels were not compiled at installation")
    return Path(native.library()._name)


@pytest.fixture
def fresh(monkeypatch, tmp_path):
    """The loader as if it lay in an empty folder, which is returned."""
    monkeypatch.setattr(native, "__file__", str(tmp_path / "native.py"))
    native.library.cache_clear()
    yield tmp_path
    native.library.cache_clear()


def test_without_a_file_there_are_no_kernels(fresh):
    assert native.library() is None


def test_a_damaged_file_is_none(fresh):
    (fresh / ("_native" + native.EXTENSION_SUFFIXES[0])).write_bytes(b"of another machine")
    assert native.library() is None


def test_kernels_of_another_version_are_none(monkeypatch, built, fresh):
    shutil.copy(built, fresh / built.name)
    assert native.library() is not None
    native.library.cache_clear()
    monkeypatch.setattr(native, "VERSION", native.VERSION + 1)
    assert native.library() is None


@pytest.mark.skipif(not (ROOT / "setup.py").is_file(), reason="not installed from its sources")
@pytest.mark.parametrize("compiler", ["false", "cc"])
def test_the_kernels_are_built_if_there_is_a_compiler(tmp_path, compiler):
    if not shutil.which(compiler):
        pytest.skip(f"no {compiler} on this machine")
    pytest.importorskip("setuptools", reason="builds are done in an environment of their own")
    command = [sys.executable, "setup.py", "-q", "build_ext", "-b", tmp_path, "-t", tmp_path]
    environment = {"CC": compiler, "LDSHARED": f"{compiler} -shared", "PATH": "/usr/bin:/bin"}
    subprocess.run(command, cwd=ROOT, env=environment, check=True, capture_output=True)
    assert bool(list(tmp_path.rglob("_native*"))) == (compiler == "cc")


def test_only_what_a_kernel_expects_is_handed_over():
    assert native.pointer(np.zeros(3), np.float64).value
    for wrong in (np.zeros(3, np.float32), np.zeros((4, 4))[:, 1]):
        with pytest.raises(TypeError, match="float64, contiguous"):
            native.pointer(wrong, np.float64)


def test_cuts_are_the_same_without_the_kernels(monkeypatch, built):
    def cuts():
        edges, found = bits.pack(graph), []
        for _ in range(3):
            found.append(ncut.bipartition(ncut.spectrum(edges, len(graph)).vectors[0]))
            edges = bits.clear(edges, found[-1])
        return np.array(found)

    rng = np.random.default_rng(0)
    group = np.sort(rng.integers(0, 5, 300))
    graph = rng.random((300, 300)) < np.where(group[:, None] == group, 0.5, 0.1)
    graph |= graph.T
    ours = cuts()
    monkeypatch.setattr(native, "library", lambda: None)
    np.testing.assert_array_equal(cuts(), ours)
    assert ours.any(1).all()
