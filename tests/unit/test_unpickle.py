"""Pickles of arrays come back equal; whatever else a pickle names is refused before it is run."""

import builtins
import copyreg
import io
import os
import pickle
import subprocess
import sys
import zipfile
from collections import OrderedDict

import numpy as np
import pytest

from cleave.io import unpickle
from cleave.io.unpickle import read_pickle
from cleave.io.weights import read_tensors
from cleave.types import DataError

PROTOCOLS = range(pickle.HIGHEST_PROTOCOL + 1)


def contents():
    rng = np.random.default_rng(0)
    cube = rng.standard_normal((2, 3, 4)).astype(np.float32)
    return {
        "cube": cube,
        "transposed": cube.transpose(1, 2, 0),
        "fortran": np.asfortranarray(cube[0]),
        "strided": cube[:, ::2],
        "half": cube.astype(np.float16),
        "big endian": cube.astype(">f8"),
        "flags": cube > 0,
        "none": np.zeros((0, 3), np.int64),
        "one": np.array(7, np.uint8),
        "scalar": np.float32(1.5),
        "nested": OrderedDict(a=[1, 2.5, (True, None, b"\x00\xff")], b="größer"),
        "long": 1 << 70,
    }


def write(path, value, protocol=4):
    path.write_bytes(value if isinstance(value, bytes) else pickle.dumps(value, protocol))
    return path


def equal(found, expected):
    if isinstance(expected, dict):
        assert found.keys() == expected.keys()
        return [equal(found[key], expected[key]) for key in expected]
    if isinstance(expected, np.ndarray | np.generic):
        assert type(found) is type(expected)
        assert found.dtype == expected.dtype
        return np.testing.assert_array_equal(found, expected)
    assert found == expected
    return None


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_arrays_and_containers_come_back_equal(tmp_path, protocol):
    equal(read_pickle(write(tmp_path / "a.pkl", contents(), protocol)), contents())


def renamed(data, old, new):
    """A pickle of protocol 2, whose names are lines, with another name of numpy's core."""
    assert old in data
    return data.replace(old, new)


@pytest.mark.parametrize("core", [b"numpy.core.", b"numpy._core."])
def test_both_names_of_numpys_core(tmp_path, core):
    own = np.float32.__reduce__(np.float32(0))[0].__module__.encode()[: -len(b"multiarray")]
    data = renamed(pickle.dumps(contents(), 2), b"c" + own, b"c" + core)
    equal(read_pickle(write(tmp_path / "a.pkl", data)), contents())


def test_what_python_2_wrote(tmp_path):
    """Text and bytes are one there: SHORT_BINSTRING, opcode U; its bytes are latin1 here."""
    values = np.array([1.5, -2.25], "<f4")
    raw = values.tobytes()
    data = (
        b"\x80\x02}U\x07weight\xe9cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\n"
        b"K\x00\x85U\x01b\x87R(K\x01K\x02\x85cnumpy\ndtype\nU\x02f4K\x00K\x01\x87R(K\x03U\x01<NNN"
        b"J\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89U" + bytes([len(raw)]) + raw + b"tbs."
    )
    assert pickle.loads(data, encoding="latin1").keys() == {"weighté"}
    equal(read_pickle(write(tmp_path / "a.pkl", data)), {"weighté": values})


def test_what_is_shared_is_read_once(tmp_path):
    """Twenty doublings of one list would be a million lists if each were walked."""
    value = [np.ones(2)]
    for _ in range(60):
        value = [value, value]
    found = read_pickle(write(tmp_path / "a.pkl", value))
    assert found[0] is found[1]


class Asks:
    """Pickled as a call of `function`."""

    def __init__(self, function, *arguments, state=None):
        self.reduced = (function, arguments, *([] if state is None else [state]))

    def __reduce__(self):
        return self.reduced


def hostile(mark):
    """Pickles that would create the file `mark` or alter this process if they were obeyed."""
    command = f"touch {mark}"
    write_it = f"open({str(mark)!r}, 'w')"
    objects = io.BytesIO()
    np.save(objects, np.array([Asks(os.system, command)], object))
    imported = b"\x80\x02cbuiltins\neval\nX" + len(write_it).to_bytes(4, "little")
    return {
        "posix.system": Asks(os.system, command),
        "builtins.eval": Asks(eval, write_it),
        "builtins.exec": {"model": {"w": Asks(exec, write_it)}},
        "builtins.getattr": Asks(getattr, Asks(__import__, "os"), "system"),
        "subprocess.Popen": [np.ones(3), {"a": Asks(subprocess.Popen, ["touch", str(mark)])}],
        "numpy.load": Asks(np.load, Asks(io.BytesIO, objects.getvalue()), None, True),
        "_npyio_impl.NpzFile": Asks(np.lib.npyio.NpzFile, zipfile.ZipFile),
        "copyreg._reconstructor": Asks(copyreg._reconstructor, Asks, object, None),
        "copyreg.add_extension": Asks(copyreg.add_extension, "os", "system", 7),
        "__builtin__.eval": imported.replace(b"builtins", b"__builtin__")
        + write_it.encode()
        + b"\x85R.",
        "dtype 'O8'": np.array([Asks(os.system, command)], object),
        "os.system": b"\x80\x04\x8c\x02os\x8c\x06system\x93\x8c"
        + bytes([len(command)])
        + command.encode()
        + b"\x85R.",
        "numpy.f2py": b"cnumpy.f2py\ndiagnose\n)R.",
        "ndarray.tofile": b"\x80\x04\x8c\x05numpy\x8c\x0endarray.tofile\x93.",
        "builtins.print": b"(ibuiltins\nprint\n.",  # INST, of protocol 0
        "dtype 'V8'": np.zeros(2, "f4,f4"),
        "__main__.Mine": b"c__main__\nMine\n)\x81.",  # NEWOBJ
    }


@pytest.mark.parametrize("asked", hostile("x"))
def test_hostile_pickles_are_refused_by_name_and_run_nothing(tmp_path, asked, monkeypatch):
    mark = tmp_path / "mark"
    value = hostile(mark)[asked]
    for protocol in (0, 2, 4, 5) if not isinstance(value, bytes) else (4,):
        path = write(tmp_path / "a.pkl", value, protocol)
        monkeypatch.setattr(builtins, "__import__", lambda *a, **k: pytest.fail(f"imports {a[0]}"))
        try:
            with pytest.raises(DataError) as error:
                read_pickle(path)
        finally:
            monkeypatch.undo()
        assert asked.split(".")[-1] in str(error.value)  # builtins is __builtin__ in protocol 2
        assert str(path) in str(error.value)
    assert not mark.exists()


def test_the_hostile_pickles_have_power(tmp_path):
    """Plain unpickling does run them, so the refusals above are of something."""
    mark = tmp_path / "mark"
    pickle.loads(pickle.dumps(hostile(mark)["builtins.eval"])).close()
    assert mark.exists()


RECONSTRUCT = b"cnumpy.core.multiarray\n_reconstruct\n"
EMPTY = RECONSTRUCT + b"cnumpy\nndarray\nK\x00\x85C\x01b\x87R"
FLOAT = b"cnumpy\ndtype\n\x8c\x02f4K\x00K\x01\x87R"


@pytest.mark.parametrize(
    ("name", "data"),
    {
        "a function's defaults": RECONSTRUCT + b"N}\x8c\x0c__defaults__K\x01s\x86b.",
        "a function's state": RECONSTRUCT + b"}\x8c\x01aK\x01sb.",
        "a class's attributes": b"cnumpy\nndarray\nN}\x8c\x01aK\x01s\x86b.",
        "an array's class": RECONSTRUCT + b"ccollections\nOrderedDict\nK\x00\x85C\x01b\x87R.",
        "more than its bytes": EMPTY + b"(K\x01J\xff\xff\xff\x7f\x85" + FLOAT + b"\x89C\x04abcdtb.",
        "a negative size": EMPTY + b"(K\x01J\xff\xff\xff\xff\x85" + FLOAT + b"\x89C\x04abcdtb.",
        "a dtype as a list": EMPTY + b"(K\x01K\x01\x85]\x89C\x04abcdtb.",
        "a dtype's fields": FLOAT + b"(K\x03\x8c\x01<N\x8c\x01a\x85}K\x04K\x01K?tb.",
        "no contents": EMPTY + b".",
        "a dtype alone": FLOAT + b".",
        "a loop": b"]q\x00h\x00a.",
        "a set": b"\x8f.",
        "a key that is an array": b"}N\x85K\x01s.",
        "a persistent id": b"Pos.system\n.",
        "an extension": b"\x82\x01.",
        "nothing": b"",
        "half": pickle.dumps({"a": np.ones(100)})[:200],
        "deep nesting": b"]" * 100_000 + b"a" * 99_999 + b".",
    }.items(),
)
def test_malformed_pickles_are_refused(tmp_path, name, data):
    framed = data if data[:1] == b"\x80" else b"\x80\x04" + data
    with pytest.raises(DataError, match=r"refused|no readable pickle"):
        read_pickle(write(tmp_path / "a.pkl", framed))


def test_stand_ins_are_as_they_were():
    """Nothing that a pickle was able to name carries state from one file to the next."""
    assert all(not hasattr(value, "__dict__") for value in (unpickle._NDARRAY, unpickle._Call(len)))
    with pytest.raises(unpickle.Refused):
        unpickle._Call(len).anything = 1


def test_a_missing_file(tmp_path):
    with pytest.raises(DataError, match="No such file"):
        read_pickle(tmp_path / "none.pkl")


def test_weights_of_a_pickle_are_tensors(tmp_path):
    torch = pytest.importorskip("torch")
    values = {"model": {"w": np.arange(6, dtype=">f4").reshape(2, 3)}, "__author__": "someone"}
    found = read_tensors(write(tmp_path / "a.pkl", values))
    assert found["__author__"] == "someone"
    torch.testing.assert_close(found["model"]["w"], torch.arange(6.0).reshape(2, 3))
    torch.save({"w": torch.ones(2)}, tmp_path / "b.pkl")
    assert read_tensors(tmp_path / "b.pkl")["w"].tolist() == [1, 1]
    with pytest.raises(DataError, match=r"posix\.system"):
        read_tensors(write(tmp_path / "c.pkl", {"model": Asks(os.system, "true")}))
    with pytest.raises(DataError, match="not a state dict"):
        read_tensors(write(tmp_path / "d.pkl", [1, 2]))


def test_reading_imports_no_library_of_the_file(tmp_path):
    """Not even numpy's modules of the names in it are looked up."""
    path = write(tmp_path / "a.pkl", b"\x80\x04cwave\nopen\n.")
    program = (
        "import sys; from cleave.io.unpickle import read_pickle\n"
        f"try: read_pickle({str(path)!r})\n"
        "except Exception as error: print('wave.open' in str(error), 'wave' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout.split() == ["True", "False"], done.stderr
