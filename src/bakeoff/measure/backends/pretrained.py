"""Models and tokenizers of transformers: loaded as their files say, or refused with what does not fit."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from bakeoff.errors import BakeoffError, CheckpointError, UnsupportedRuntimeError
from bakeoff.measure.backends.availability import importing, require_libraries
from bakeoff.measure.model.checkpoint import TOKENIZER_CONFIG_FILE, Checkpoint, Head
from bakeoff.measure.model.declared_sizes import count_values
from bakeoff.measure.model.model_config import CONFIG_FILE
from bakeoff.measure.model.safetensors import check_weights
from bakeoff.measure.model.tokenizer import Encoder
from bakeoff.measure.tasks import Document, Task

EXTRA = "torch"
LIBRARIES = ("torch", "transformers", "safetensors")
SHOWN_KEYS = 3
# A model has no more values than its weights hold, apart from tied ones and tables that it computes: GPT-2
# has the square of its positions in each layer, a byte each.
MOST_TIMES, SPARE_BYTES = 2, 1 << 30
_FLOAT_BYTES = 4  # of the values that are loaded
_OFFLINE: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}
_MAX_REASON = 200
# Kinds of attention that every machine has. Others need a library, a device or a download, and a kernel
# changes the time of a call, not the model.
_PORTABLE_ATTENTION = ("sdpa", "eager")
# Tensors of old versions of transformers that the code computes today, or never read.
_HARMLESS = re.compile(
    r"(^|\.)(position_ids|token_type_ids|inv_freq|num_batches_tracked|encoder\.version|decoder\.version"
    r"|(attn|attention|self_attention)\.(masked_)?bias)$"
)
# Older versions saved a pooler with every head; no token passes through it.
_POOLER = re.compile(r"(^|\.)pooler\.dense\.(weight|bias)$")
# Texts that show most of what two tokenizers can do differently: case, accents, blanks, signs.
_PROBES = ("Hello World", "ÉCOLE Straße", " two  blanks ", "don't (stop) 3.5%", "東京 w10", "lower")


def import_libraries() -> None:
    """Import torch, and the parts of transformers that a model class needs.

    The auto class alone imports almost nothing. Loading would then import the rest, which takes ten times as
    long as reading the weights of a small model.
    """
    import torch
    from transformers import PreTrainedModel
    from transformers.models.auto import modeling_auto

    del torch, PreTrainedModel, modeling_auto


def load_model(checkpoint: Checkpoint) -> Any:
    """Load a model with the head of its checkpoint in eval mode, with every weight from the checkpoint.

    Attention that needs another library, a device or a download is replaced by that of PyTorch.

    Raises:
        CheckpointError: transformers cannot load it; weights are missing, and random values would replace
            them; or the model has no place for a weight.
    """
    _import_all()
    import torch

    with _explaining(checkpoint):
        config, model_class = _read_class(checkpoint)
        model, info = model_class.from_pretrained(
            str(checkpoint.folder),
            config=config,
            use_safetensors=True,
            dtype=torch.float32,
            output_loading_info=True,
            ignore_mismatched_sizes=True,  # so that they are listed, and refused below by name
            **_choose_attention(config, model_class),
            **_OFFLINE,
        )
    _require_all_weights_used(checkpoint, info)
    for module in model.modules():  # also those of an encoder or a text model inside
        inner = getattr(module, "config", None)
        if inner is not None:
            inner.return_dict = True  # outputs are read by name
            if getattr(inner, "use_cache", False):
                inner.use_cache = False  # a document is read in one call, so no later token needs the cache
    return model.eval()


def load_reference(checkpoint: Checkpoint) -> Any:
    """Load a model whose outputs are the truth for every runtime.

    Raises:
        CheckpointError: Its configuration describes a larger model than its weights, it cannot be loaded, or
            a weight is not a finite number.
    """
    _import_all()
    import torch

    _require_described_size(checkpoint)
    model = load_model(checkpoint)

    wrong = [name for name, weight in model.named_parameters() if not torch.isfinite(weight).all()]
    if wrong:
        raise CheckpointError(
            checkpoint.folder,
            found=f"weights with NaN or infinity: {_shorten(wrong)}",
            fix="restore its weights, or train it again",
        )
    return model


def _import_all() -> None:
    require_libraries("loading a checkpoint", extra=EXTRA, libraries=LIBRARIES)
    with importing():
        import_libraries()
    from transformers.utils import logging as transformers_logging

    # It draws progress bars and prints its own load report; the errors of this module replace it.
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()


def _read_class(checkpoint: Checkpoint) -> tuple[Any, Any]:
    """Return the configuration of a checkpoint, and the class of transformers that makes its model."""
    from transformers import AutoConfig

    return AutoConfig.from_pretrained(str(checkpoint.folder), **_OFFLINE), auto_class(checkpoint.head)


@contextmanager
def _explaining(checkpoint: Checkpoint) -> Iterator[None]:
    """Turn every error of transformers and what it calls into one about the checkpoint."""
    try:
        yield
    except BakeoffError:
        raise
    except Exception as error:  # errors of every class
        raise CheckpointError(
            checkpoint.folder,
            found=f"transformers cannot load it ({_describe(error)})",
            fix="correct config.json, which must describe the weights",
        ) from error


def _require_described_size(checkpoint: Checkpoint) -> None:
    """Refuse a configuration that describes a larger model than its weights, before memory is taken for it.

    The described model is made without memory for its values. This is exact, and needs no list of fields.

    Raises:
        CheckpointError: It is so; the message has the largest tensor and the fields of its longest side.
    """
    import torch

    with _explaining(checkpoint):
        config, model_class = _read_class(checkpoint)
        with torch.device("meta"):
            described = model_class.from_config(config, **_choose_attention(config, model_class))
    tensors = [(each.numel() * _FLOAT_BYTES, name, each.shape) for name, each in described.named_parameters()]
    tensors += [
        (each.numel() * each.element_size(), name, each.shape) for name, each in described.named_buffers()
    ]
    described_bytes = sum(size_bytes for size_bytes, *_ in tensors)
    held_bytes = count_values(check_weights(checkpoint.folder).shapes) * _FLOAT_BYTES
    if described_bytes <= MOST_TIMES * held_bytes + SPARE_BYTES:
        return
    _, name, shape = max(tensors)
    fields = [field for field, value in config.to_dict().items() if value in tuple(shape)]
    by = f", by {', '.join(fields[:SHOWN_KEYS])}" if fields else ""
    raise CheckpointError(
        checkpoint.folder,
        found=f"{CONFIG_FILE} describes a model of {described_bytes:,} bytes, the weights are {held_bytes:,} "
        f"(largest tensor: {name}, {' x '.join(map(str, shape))}{by})",
        fix="restore the config.json that was saved with the weights",
    )


def auto_class(head: Head | None) -> Any:
    """Return the class of transformers that makes a model with this head.

    Raises:
        UnsupportedRuntimeError: No class does.
    """
    import transformers

    names: dict[Head | None, str] = {
        "token_classification": "AutoModelForTokenClassification",
        "sequence_classification": "AutoModelForSequenceClassification",
    }
    if head not in names:
        raise UnsupportedRuntimeError(
            "torch",
            needs="a head for token or sequence classification",
            found="another one, or none",
            fix="give a model with one of these heads",
        )
    return getattr(transformers, names[head])


def require_same_ids(checkpoint: Checkpoint, task: Task, documents: Sequence[Document], limit: int) -> None:
    """Check that ``tokenizer.json`` alone gives the token ids that transformers makes of both files.

    ``tokenizer_config.json`` may change what ``tokenizer.json`` does: the case of letters, a blank before the
    first word. Training used both.

    Args:
        checkpoint: Checkpoint with its tokenizer.
        task: What makes token ids of a document.
        documents: Documents to encode.
        limit: Tokens after which a document is cut.

    Raises:
        CheckpointError: The ids differ, or transformers cannot load the tokenizer.
    """
    if not (checkpoint.folder / TOKENIZER_CONFIG_FILE).is_file():
        return
    from transformers import AutoTokenizer

    try:
        loaded = AutoTokenizer.from_pretrained(
            str(checkpoint.folder), local_files_only=True, trust_remote_code=False
        )
        theirs = Encoder(checkpoint, limit, loaded.backend_tokenizer)
    except CheckpointError:
        raise
    except Exception as error:  # as above
        raise CheckpointError(
            checkpoint.folder,
            found=f"transformers cannot load its tokenizer ({_describe(error)})",
            fix=f"save it again with save_pretrained(), or remove {TOKENIZER_CONFIG_FILE} if tokenizer.json "
            "alone is right",
        ) from error
    ours = Encoder(checkpoint, limit)
    pairs = [(task.encode(ours, each), task.encode(theirs, each)) for each in documents]
    pairs += [(ours.encode(text.split()), theirs.encode(text.split())) for text in _PROBES]
    pairs += [(ours.encode_text(text), theirs.encode_text(text)) for text in _PROBES]
    different = [(one.ids, other.ids) for one, other in pairs if one.ids != other.ids]
    if different:
        one, other = different[0]
        at = next(
            (place for place, (a, b) in enumerate(zip(one, other, strict=False)) if a != b),
            min(len(one), len(other)),
        )
        raise CheckpointError(
            checkpoint.folder,
            found=f"tokenizer.json gives other token ids than AutoTokenizer, which reads "
            f"{TOKENIZER_CONFIG_FILE} too ({len(different)} of {len(pairs)} texts; the first differs from "
            f"token {at + 1})",
            fix="load it with AutoTokenizer and save it with save_pretrained(), so that both files agree",
        )


def _choose_attention(config: Any, model_class: Any) -> dict[str, str]:
    """Return the attention to ask for; nothing if the configuration names a portable one, or none."""
    asked = getattr(config, "_attn_implementation", None)
    if asked is None or asked in _PORTABLE_ATTENTION:
        return {}
    concrete = model_class._model_mapping[type(config)]
    return {"attn_implementation": _PORTABLE_ATTENTION[0 if concrete._supports_sdpa else 1]}


def _require_all_weights_used(checkpoint: Checkpoint, info: Any) -> None:
    missing = sorted(info["missing_keys"]) + sorted(str(key[0]) for key in info["mismatched_keys"])
    if missing:
        raise CheckpointError(
            checkpoint.folder,
            found=f"weights missing or of another shape: {_shorten(missing)}",
            fix="acquire or train the checkpoint again, since random values would replace them",
        )
    if info["error_msgs"]:
        reason = " ".join(str(info["error_msgs"][0]).split())[:_MAX_REASON]
        raise CheckpointError(
            checkpoint.folder,
            found=f"weights that transformers cannot convert ({reason})",
            fix="save the checkpoint again",
        )
    has_tokens = checkpoint.head == "token_classification"
    unused = [
        key
        for key in sorted(info["unexpected_keys"])
        if not _HARMLESS.search(key) and not (has_tokens and _POOLER.search(key))
    ]
    if unused:
        raise CheckpointError(
            checkpoint.folder,
            found=f"weights that nothing uses: {_shorten(unused)} (the model of transformers has no place "
            "for them)",
            fix="merge adapters, dequantize, or give a model whose class transformers has",
        )


def _shorten(keys: Sequence[str]) -> str:
    shown = ", ".join(keys[:SHOWN_KEYS])
    return f"{shown} and {len(keys) - SHOWN_KEYS} more" if len(keys) > SHOWN_KEYS else shown


def _describe(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())}"[:_MAX_REASON]
