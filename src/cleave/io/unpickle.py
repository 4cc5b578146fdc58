"""Pickles of arrays, read as numbers: of all that a pickle may name, nothing is ever called.

Caffe2 and detectron2 publish weights as `.pkl`. Unpickling runs whatever the file asks for, so the
few globals that such files need are answered with stand-ins of this module (never with numpy's
own functions, which a file could alter through the BUILD opcode), every other one is refused, and
the arrays are made from the checked bytes afterwards.
"""

from __future__ import annotations

import math
import pickle
from pathlib import Path
from typing import Any

import numpy as np

from cleave.types import DataError

_NUMBERS = frozenset("biuf")  # kinds of numpy: bool, signed, unsigned, float


class Refused(pickle.UnpicklingError):
    """What a pickle asks for and does not get."""


class _Type:
    """A dtype of numbers, before its byte order is known."""

    __slots__ = ("value",)

    def __init__(self, name: str, align: bool = False, copy: bool = True) -> None:
        if not isinstance(name, str) or len(name) > 8:
            raise Refused(f"a dtype of {type(name).__name__}")
        try:
            self.value = np.dtype(name)
        except TypeError:
            raise Refused(f"no dtype {name!r}") from None
        if self.value.kind not in _NUMBERS or self.value.shape or self.value.names:
            raise Refused(f"an array of dtype {name!r}, which holds no plain numbers")

    def __setstate__(self, state: Any) -> None:
        """State: version, byte order, then what only arrays of structures have, sizes, flags."""
        if not isinstance(state, tuple) or len(state) < 5 or state[0] not in (3, 4):
            raise Refused("the state of a dtype, of unknown form")
        if any(part is not None for part in state[2:5]) or state[1] not in ("<", ">", "|", "="):
            raise Refused("a dtype that holds no plain numbers")
        self.value = self.value.newbyteorder(state[1])


class _Array:
    """An array or scalar before its contents are known."""

    __slots__ = ("value",)

    def __setstate__(self, state: Any) -> None:
        """State: version, shape, dtype, whether the first axis runs fastest, bytes."""
        if not isinstance(state, tuple) or len(state) != 5:
            raise Refused("the state of an array, of unknown form")
        _, shape, dtype, fortran, raw = state
        self.value = _array(raw, dtype, shape, "F" if fortran else "C")


def _array(raw: Any, dtype: Any, shape: Any, order: str) -> np.ndarray:
    """A fresh array, if as many bytes are there as it needs."""
    if not isinstance(dtype, _Type):
        raise Refused("an array without a dtype of numbers")
    if not isinstance(shape, tuple) or not all(type(n) is int and n >= 0 for n in shape):
        raise Refused("an array of no valid shape")
    if isinstance(raw, str):  # Python 2 wrote its bytes as a string
        raw = raw.encode("latin1")
    if not isinstance(raw, bytes | bytearray):
        raise Refused(f"an array made of a {type(raw).__name__}")
    if len(raw) != math.prod(shape) * dtype.value.itemsize:
        raise Refused(f"an array of shape {shape} and {dtype.value} from {len(raw)} bytes")
    if order not in ("C", "F"):
        raise Refused("an array of unknown order")
    return np.frombuffer(raw, dtype.value).reshape(shape, order=order).copy(order="K")


def _reconstruct(subtype: Any, shape: Any, code: Any) -> _Array:
    if subtype is not _NDARRAY:
        raise Refused("an array of another class than numpy.ndarray")
    return _Array()


def _frombuffer(raw: Any, dtype: Any, shape: Any, order: Any, axes: Any = None) -> _Array:
    """`axes` is of numpy 2.3 and later: the order of the axes of one neither C nor F."""
    array = _Array()
    array.value = _array(raw, dtype, shape, "C" if axes else order)
    if axes:
        if not isinstance(axes, tuple) or sorted(axes) != list(range(len(shape))):
            raise Refused("an array of unknown order")
        array.value = array.value.transpose(axes)
    return array


def _scalar(dtype: Any, raw: Any) -> _Array:
    array = _Array()
    array.value = _array(raw, dtype, (), "C")[()]
    return array


def _encode(text: Any, codec: Any = "latin1") -> bytes:
    """How protocol 2 writes bytes."""
    if not isinstance(text, str) or codec not in ("latin1", "latin-1"):
        raise Refused("text in another encoding than latin1")
    return text.encode("latin1")


def _empty() -> bytes:
    """How protocol 2 writes no bytes."""
    return b""


class _Ordered(dict):
    """Takes the place of an OrderedDict. Python 2 passes the items, Python 3 adds them later."""

    __slots__ = ()

    def __setstate__(self, state: Any) -> None:
        """The attributes of a state dict, which are about versions of modules: not kept."""


def _ordered(items: Any = ()) -> _Ordered:
    return _Ordered(map(tuple, items))


class _Token:
    """Stands for a class that is named only to say which one it was."""

    __slots__ = ()


_NDARRAY, _LOOP = _Token(), _Token()
_NUMPY = {
    ("multiarray", "_reconstruct"): _reconstruct,
    ("multiarray", "scalar"): _scalar,
    ("numeric", "_frombuffer"): _frombuffer,
}
_ALLOWED = {
    ("numpy", "ndarray"): _NDARRAY,
    ("numpy", "dtype"): _Type,
    ("_codecs", "encode"): _encode,
    ("__builtin__", "bytes"): _empty,
    ("collections", "OrderedDict"): _ordered,
    # numpy 2 renamed its core
    **{(f"numpy.{c}.{m}", n): f for c in ("core", "_core") for (m, n), f in _NUMPY.items()},
}


class _Call:
    """A stand-in that can be called and not altered: BUILD finds neither state nor attributes."""

    __slots__ = ("_function",)

    def __init__(self, function: Any) -> None:
        object.__setattr__(self, "_function", function)

    def __call__(self, *arguments: Any) -> Any:
        return self._function(*arguments)

    def __setattr__(self, name: str, value: Any) -> None:
        raise Refused(f"to set {name!r}")

    def __setstate__(self, state: Any) -> None:
        raise Refused("to give a state to a function")


class _Unpickler(pickle.Unpickler):
    """Looks nothing up: a global is one of this module's stand-ins or a refusal."""

    def find_class(self, module: str, name: str) -> Any:
        found = _ALLOWED.get((module, name))
        if found is None:
            raise Refused(f"{module}.{name}")
        return found if found is _NDARRAY else _Call(found)


def read_pickle(path: Path) -> Any:
    """The contents of a pickle of numpy arrays of numbers, numbers, text and plain containers.

    Protocols 0 to 5, of Python 2 (its strings as latin1) and 3, of numpy 1 and 2. Lists, tuples
    and dicts come as such, OrderedDict as dict.

    Raises:
        DataError: no such file, damaged, or it names anything else; the text says what.
    """
    path = Path(path)
    try:
        with open(path, "rb") as file:
            return _plain(_Unpickler(file, encoding="latin1").load(), {})
    except OSError as error:
        raise DataError(f"weights {path}: cannot be read: {error.strerror}") from None
    except Refused as error:
        raise DataError(
            f"weights {path}: refused, for the pickle asks for {error}. Only numpy arrays of "
            "numbers and plain containers are read; save the arrays alone, or as safetensors"
        ) from None
    except Exception as error:  # a damaged file fails in any way
        reason = " ".join(str(error).split())[:300]
        raise DataError(
            f"weights {path}: no readable pickle ({type(error).__name__}: {reason})"
        ) from None


def _plain(value: Any, made: dict[int, Any]) -> Any:
    """The same value with arrays in place of their stand-ins; refuses what is not plain.

    Args:
        made: result by id, so that what is shared is walked once and a loop is noticed.
    """
    if isinstance(value, _Array):
        if not hasattr(value, "value"):
            raise Refused("an array without contents")
        return value.value
    if value is None or type(value) in (bool, int, float, str, bytes, bytearray):
        return value
    if type(value) not in (dict, _Ordered, list, tuple):
        raise Refused(f"a {type(value).__name__} among the values")
    if id(value) not in made:
        made[id(value)] = _LOOP
        made[id(value)] = _container(value, made)
    if made[id(value)] is _LOOP:
        raise Refused("a container that holds itself")
    return made[id(value)]


def _container(value: dict | list | tuple, made: dict[int, Any]) -> dict | list | tuple:
    if not isinstance(value, dict):
        return type(value)(_plain(item, made) for item in value)
    for key in value:
        if type(key) not in (str, int, float, bool, bytes):
            raise Refused(f"a key that is a {type(key).__name__}")
    return {key: _plain(item, made) for key, item in value.items()}
