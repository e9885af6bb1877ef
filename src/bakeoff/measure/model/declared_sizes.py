"""Sizes in ``config.json``, compared with the weights by the headers of their files.

transformers makes a model as large as its configuration says, and gives random values to what the weights do
not hold. A few bytes can so ask for terabytes, or for a billion layers.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from itertools import chain
from math import prod
from typing import Any

# Each is a side of a tensor, a part of one, or a number of such parts, in every class of transformers.
WIDTHS = frozenset(
    {
        "hidden_size", "d_model", "n_embd", "dim", "emb_dim", "embedding_size", "intermediate_size", "d_ff",
        "ffn_dim", "encoder_ffn_dim", "decoder_ffn_dim", "hidden_dim", "n_inner", "d_inner",
        "ffn_hidden_size", "moe_intermediate_size", "shared_expert_intermediate_size",
        "num_attention_heads", "n_head", "n_heads", "num_heads", "encoder_attention_heads",
        "decoder_attention_heads", "num_key_value_heads", "head_dim", "d_kv", "d_head",
        "vocab_size", "type_vocab_size", "num_labels", "_num_labels",
    }
)  # fmt: skip
# Each part has tensors of its own.
LAYERS = frozenset(
    {
        "num_hidden_layers", "n_layer", "n_layers", "num_layers", "encoder_layers", "decoder_layers",
        "num_decoder_layers", "num_hidden_groups", "inner_group_num", "block_sizes", "block_repeats",
        "attention_types",
    }
)  # fmt: skip
# Each expert has tensors of its own, or is a row of a tensor of all.
EXPERTS = frozenset({"num_experts", "num_local_experts", "n_routed_experts"})
# ALBERT and others use the same tensors for several layers: 24 layers in 25 tensors.
LEAST_LAYERS = 100


def find_wrong_type(config: Mapping[str, Any]) -> tuple[str, object] | None:
    """Return the first size that is not a whole number, or a list of them, with its name; or None."""
    for name, value in _sizes(config, WIDTHS | LAYERS | EXPERTS):
        # attention_types has names among its numbers
        if not (_is_count(value) or (isinstance(value, list) and not any(map(_is_wrong, _flatten(value))))):
            return name, value
    return None


def find_oversized(
    config: Mapping[str, Any], shapes: Mapping[str, Sequence[int]], more_widths: Collection[str] = ()
) -> str | None:
    """Return what a configuration asks for beyond its weights, with the field's name; None if nothing.

    This finds what no model can be made of, without any library: a width that no tensor has, or more layers
    than tensors.

    Args:
        config: Content of ``config.json``.
        shapes: Shape of each tensor of the weights, by its name.
        more_widths: Further fields that are a side of a tensor in this model.
    """
    longest = max(chain.from_iterable(shapes.values()), default=1)
    most_layers = max(len(shapes), LEAST_LAYERS)
    sides = f"no tensor of the weights has a side longer than {longest:,}"
    tensors = f"the weights are {len(shapes):,} tensors"
    for names, most, limit in (
        (WIDTHS | frozenset(more_widths), longest, sides),
        (LAYERS, most_layers, tensors),
        (EXPERTS, max(longest, most_layers), tensors),
    ):
        for name, value in _sizes(config, names):
            if max(_numbers(value), default=0) > most:
                return f"the {name} {str(value)[:40]}, but {limit}"
    return None


def count_values(shapes: Mapping[str, Sequence[int]]) -> int:
    """Count the numbers that tensors hold."""
    return sum(map(prod, shapes.values()))


def _sizes(config: Mapping[str, Any], names: Collection[str]) -> Iterator[tuple[str, Any]]:
    """List the fields of these names that are set, also those of a text model inside."""
    inner = config.get("text_config")
    for level in (config, inner if isinstance(inner, Mapping) else {}):
        yield from ((name, value) for name, value in level.items() if name in names and value is not None)


def _is_count(value: object) -> bool:
    return type(value) is int and value >= 0


def _is_wrong(value: object) -> bool:
    return not (_is_count(value) or isinstance(value, str))


def _numbers(value: object) -> list[int]:
    return [each for each in _flatten(value) if type(each) is int]


def _flatten(value: object) -> Iterator[object]:
    """List the items of lists in lists."""
    waiting = [value]
    while waiting:
        each = waiting.pop()
        if isinstance(each, list):
            waiting.extend(each)
        else:
            yield each
