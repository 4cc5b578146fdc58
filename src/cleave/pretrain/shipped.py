"""Weights that come with cleave: found by name, checked by digest, each with its model card.

`cleave/weights` is package data: `index.json` (name to sha256), and for each name its weights and
its card. Only weights that beat `colour` by the margin of the project's quality study belong there;
while none do, the index is empty and no default refers to it.

    python -m cleave.pretrain.shipped WEIGHTS --name NAME --facts FACTS.yaml

puts the weights of a finished `pretrain` section there; `FACTS.yaml` has the texts of the card that
the file itself cannot tell (`FACTS`).
"""

from __future__ import annotations

import argparse
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cleave.io.atomic import read_json, replacing, write_json
from cleave.io.weights import sha256
from cleave.spec import canonical
from cleave.types import DataError

FOLDER = Path(__file__).parents[1] / "weights"
INDEX = "index.json"

FACTS = ("data", "terms", "device", "time", "scores", "limits")
MOST_BYTES, MOST_PARAMETERS, PATCH = 12_000_000, 6_000_000, 8  # what a package may carry

CARD = """# {name}

A vision transformer of {parameters:,} parameters, patch {patch}, rotary positions, float16. It was
trained without labels by cleave {cleave}'s stage `pretrain`; the config below makes it again.

| | |
|---|---|
| data | {data} |
| terms | {terms} |
| objective | {objective} |
| device | {device} |
| time | {time} |
| scores | {scores} |
| limits | {limits} |
| sha256 | `{digest}` |

```json
{spec}
```
"""


def index(folder: Path = FOLDER) -> dict[str, str]:
    """Name to sha256 of the weights that ship."""
    return read_json(folder / INDEX)


def located(weights: str, folder: Path = FOLDER) -> tuple[Path, str | None]:
    """Path and digest of shipped weights; any other text is a path, of no known digest."""
    digest = index(folder).get(weights)
    return (_file(folder, weights), digest) if digest else (Path(weights), None)


def ship(weights: Path, name: str, facts: Mapping[str, str], folder: Path = FOLDER) -> None:
    """Adds weights under a name, with their card; the index comes last.

    Args:
        weights: a file that the stage wrote.
        facts: a text for each of `FACTS`.

    Raises:
        DataError: a fact is missing or unknown, or the weights are too large for a package, or do
            not say how they were made.
    """
    if wrong := set(FACTS) ^ {fact for fact, text in facts.items() if str(text).strip()}:
        raise DataError(f"model card of {name}: missing, empty or unknown: {sorted(wrong)}")
    text = card(weights, name, facts)
    folder.mkdir(parents=True, exist_ok=True)
    with replacing(_file(folder, name)) as temporary:
        shutil.copyfile(weights, temporary)
    with replacing(_file(folder, name).with_suffix(".md")) as temporary:
        temporary.write_text(text, encoding="utf-8")
    known = index(folder) if (folder / INDEX).is_file() else {}
    write_json(folder / INDEX, known | {name: sha256(weights)}, indent=2)


def card(weights: Path, name: str, facts: Mapping[str, str]) -> str:
    """The model card; what the weights file tells is taken from it."""
    from cleave.pretrain.weights import load, read_header

    model, header = load(weights), read_header(weights)
    parameters = sum(parameter.numel() for parameter in model.parameters())
    patch, size = model.architecture.patch, weights.stat().st_size
    if size > MOST_BYTES or parameters > MOST_PARAMETERS or patch != PATCH:
        raise DataError(
            f"weights {weights}: {size} bytes, {parameters} parameters, patch {patch}; a package "
            f"carries at most {MOST_BYTES} bytes and {MOST_PARAMETERS} parameters, patch {PATCH}"
        )
    if missing := {"spec", "cleave"} - header.keys():
        raise DataError(f"weights {weights}: its header has no {', '.join(sorted(missing))}")
    return CARD.format(
        name=name,
        parameters=parameters,
        patch=patch,
        cleave=header["cleave"],
        objective=_objective(header["spec"]),
        digest=sha256(weights),
        spec=canonical(header["spec"]),
        **facts,
    )


def _objective(spec: Mapping[str, Any]) -> str:
    names = {
        "mae": "masked autoencoding",
        "distil": "DINO and masked-patch distillation (iBOT)",
        "collage": "telling patches of collages apart by their photo",
    }
    settings = {key: spec.get(key, {}) for key in names}
    phases = [
        f"{names[key]}: {found['steps']} steps of {found['batch']} photos"
        for key, found in settings.items()
        if found.get("steps")
    ]
    begun = [f"begun with the weights {spec['start']}"] if spec.get("start") else []
    return ", then ".join([*begun, *phases]) or "none"


def _file(folder: Path, name: str) -> Path:
    return folder / f"{name}.safetensors"


def main() -> None:
    import yaml

    parser = argparse.ArgumentParser(description="Adds weights to those that ship with cleave.")
    parser.add_argument("weights", type=Path)
    parser.add_argument("--name", required=True)
    parser.add_argument("--facts", type=Path, required=True)
    given = parser.parse_args()
    facts = yaml.safe_load(given.facts.read_text(encoding="utf-8"))
    ship(given.weights, given.name, facts)


if __name__ == "__main__":
    main()
