"""One kind of features of an image, a row for each patch."""

from __future__ import annotations

from cleave.ops.affinity import centre as centred
from cleave.spec import ConfigError, nearest
from cleave.types import Array, FeatureMap


def patch_features(features: FeatureMap, facet: str, centre: bool = False) -> Array:
    """One facet as a row for each patch.

    Args:
        centre: subtract the image's mean feature, as `ops.affinity.centre` does.

    Returns:
        (N, C) float32.

    Raises:
        ConfigError: the features lack the facet.
    """
    if facet not in features.facets:
        hint = nearest(facet, features.facets)
        raise ConfigError(f"facet: these features have no {facet!r}; {hint}")
    values = features.facets[facet]
    rows = values.reshape(-1, values.shape[2])
    return centred(rows) if centre else rows
