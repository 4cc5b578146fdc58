"""A place in a config: the keys and numbers that lead to it."""

import copy
from typing import Any


def changed(raw: dict, path: tuple, value: Any) -> dict:
    """A copy of a config with another value at a place."""
    raw = copy.deepcopy(raw)
    at = raw
    for key in path[:-1]:
        at = at[key]
    at[path[-1]] = value
    return raw
