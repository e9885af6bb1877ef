"""Make a tiny model of any class of transformers, with random weights and a fast tokenizer, offline."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

Head = Literal["token_classification", "sequence_classification"]
AUTO_CLASSES: dict[Head, str] = {
    "token_classification": "AutoModelForTokenClassification",
    "sequence_classification": "AutoModelForSequenceClassification",
}
LABELS: dict[Head, tuple[str, ...]] = {
    "token_classification": ("O", "B-X", "I-X"),
    "sequence_classification": ("A", "B", "C"),
}
N_RESERVED, N_TOKENS = 10, 96  # the first ids are special tokens, the others words
WORDS = tuple(f"w{number}" for number in range(N_RESERVED, N_TOKENS))
MAX_POSITIONS = 64  # shorter than the longest document of the trial, so that cutting is tried too
MOST_PARAMETERS = 20_000_000
WEIGHT_STD = 0.18  # about 1/√32: activations keep their size, so that a wrong input shows in the output
WEIGHT_STDS = {"mobilebert": 0.08}  # without layer norms, its activations would grow without bounds
SEED = 7
# Sizes that configurations have, by the names of their fields.
SIZES: dict[str, int] = {
    **dict.fromkeys(
        (
            "hidden_size", "d_model", "n_embd", "dim", "emb_dim", "embedding_size", "word_embed_proj_dim",
            "input_embedding_size", "output_embedding_size", "mamba_d_model", "dim_model", "width",
        ),
        32,
    ),
    **dict.fromkeys(
        (
            "intermediate_size", "d_ff", "dff", "ffn_dim", "encoder_ffn_dim", "decoder_ffn_dim", "hidden_dim",
            "n_inner", "d_inner", "ffn_hidden_size", "moe_intermediate_size", "feed_forward_size",
            "shared_expert_intermediate_size", "moe_shared_expert_intermediate_size",
            "shared_intermediate_size", "intermediate_size_mlp", "dense_intermediate_size",
        ),
        64,
    ),
    **dict.fromkeys(
        (
            "num_hidden_layers", "n_layer", "n_layers", "num_layers", "encoder_layers", "decoder_layers",
            "num_decoder_layers", "first_k_dense_replace",
        ),
        2,
    ),
    **dict.fromkeys(
        (
            "num_attention_heads", "n_head", "n_heads", "num_heads", "encoder_attention_heads",
            "decoder_attention_heads", "linear_num_value_heads",
        ),
        4,
    ),
    **dict.fromkeys(("num_key_value_heads", "num_kv_heads", "linear_num_key_heads"), 2),
    **dict.fromkeys(
        (
            "head_dim", "d_kv", "d_head", "v_head_dim", "qk_rope_head_dim", "qk_nope_head_dim", "kv_channels",
            "linear_key_head_dim", "linear_value_head_dim", "index_head_dim", "swa_head_dim",
            "attention_head_dim",
        ),
        8,
    ),
    **dict.fromkeys(("q_lora_rank", "kv_lora_rank", "attention_rank", "lora_rank"), 16),
    **dict.fromkeys(
        ("num_experts", "num_local_experts", "n_routed_experts", "moe_num_experts", "num_moe_experts"), 4
    ),
    **dict.fromkeys(("num_experts_per_tok", "moe_topk", "moe_top_k", "experts_per_token"), 2),
    **dict.fromkeys(("n_group", "topk_group", "n_shared_experts"), 1),
    **dict.fromkeys(("vocab_size", "src_vocab_size", "decoder_vocab_size", "n_tokens"), N_TOKENS),
    **dict.fromkeys(
        (
            "max_position_embeddings", "n_positions", "max_seq_len", "max_source_positions",
            "max_2d_position_embeddings", "max_encoder_position_embeddings",
            "max_decoder_position_embeddings",
        ),
        MAX_POSITIONS,
    ),
    **dict.fromkeys(("sliding_window", "attention_window", "local_attention", "window_size"), 8),
}  # fmt: skip
SPECIAL_TOKENS = ("pad_token_id", "bos_token_id", "eos_token_id", "sep_token_id", "cls_token_id",
                  "decoder_start_token_id", "mask_token_id")  # fmt: skip
# What the names of the fields do not say: numbers of heads that must agree, layers of several kinds.
ALL_HEADS = {"num_key_value_heads": 4}
HYBRID = {"layer_types": ["linear_attention", "full_attention"]}
ROPE = {"rope_type": "default", "rope_theta": 10000.0}
SPECIAL_FIELDS: dict[str, dict[str, Any]] = {
    "axk1": ALL_HEADS,
    "axk2": ALL_HEADS,
    "cohere_compass_text": {
        "layer_types": ["sliding_attention", "full_attention"],
        "rope_parameters": {"sliding_attention": ROPE, "full_attention": ROPE},
    },
    "deepseek_v2": ALL_HEADS | {"num_experts_per_tok": 2},
    "deepseek_v3": ALL_HEADS,
    "esm": {"vocab_size": N_TOKENS, "position_embedding_type": "rotary"},
    "esmc": ALL_HEADS,
    "gpt_neo": {"attention_types": [[["global", "local"], 1]]},
    "gptj": {"rotary_dim": 4},
    "hunyuan_v1_dense": {"head_dim": 8},
    "hunyuan_v1_moe": {"head_dim": 8},
    "jamba": {"attn_layer_period": 2, "attn_layer_offset": 1},
    "layoutlmv3": {"hidden_size": 36, "coordinate_size": 6, "shape_size": 6},
    "lilt": {"hidden_size": 48},
    "luke": {"entity_vocab_size": 20, "entity_emb_size": 16},
    "minicpm3": ALL_HEADS,
    "ministral": {"head_dim": 8},
    "mistral4": ALL_HEADS
    | {
        "head_dim": 8,
        "rope_parameters": ROPE
        | {
            "partial_rotary_factor": 1.0,
            "llama_4_scaling_beta": 0.1,
            "original_max_position_embeddings": 8192,
        },
    },
    "nemotron": {"num_key_value_heads": 2},
    "perceiver": {
        "num_latents": 8,
        "d_latents": 32,
        "num_self_attends_per_block": 2,
        "num_self_attention_heads": 4,
        "num_cross_attention_heads": 4,
    },
    "qwen3_5_text": HYBRID,
    "qwen3_next": HYBRID,
    "reformer": {
        "axial_pos_embds_dim": [8, 24],
        "axial_pos_shape": [8, 8],
        "attn_layers": ["local", "lsh"],
        "attention_head_size": 8,
        "num_buckets": 2,
        "local_attn_chunk_length": 8,
        "lsh_attn_chunk_length": 8,
    },
    "t5": {"decoder_start_token_id": 0},
    "xmod": {"default_language": "en_XX"},
    "zamba": {
        "num_hidden_layers": 4,
        "layer_types": ["linear_attention", "hybrid"] * 2,
        "mamba_dt_rank": 4,
        "attention_hidden_size": 64,
        "attention_head_dim": 16,
    },
    "zamba2": {
        "layer_types": ["linear_attention", "hybrid"],
        "hybrid_layer_ids": [1],
        "attention_hidden_size": 64,
        "attention_head_dim": 16,
        "mamba_d_state": 8,
        "n_mamba_heads": 4,
        "mamba_headdim": 16,
        "adapter_rank": 4,
    },
}


class NotTriedError(Exception):
    """A class of which no tiny model can be made, or that needs other inputs than text."""


def make_tiny(head: Head, model_type: str, folder: Path) -> None:
    """Save a tiny random model and its tokenizer in a folder.

    Raises:
        NotTriedError: None can be made; the reason is its text.
    """
    import torch
    import transformers

    torch.manual_seed(SEED)
    try:
        config = shrink(transformers.CONFIG_MAPPING[model_type], model_type)
        config.id2label = dict(enumerate(LABELS[head]))
        config.label2id = {label: number for number, label in enumerate(LABELS[head])}
        model = getattr(transformers, AUTO_CLASSES[head]).from_config(config)
    except Exception as error:
        raise NotTriedError(f"no tiny model of it can be made: {first_line(error)}") from error
    size = sum(parameter.numel() for parameter in model.parameters())
    if size > MOST_PARAMETERS:
        raise NotTriedError(f"no tiny model of it can be made: {size:,} parameters")
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.normal_(0.0, WEIGHT_STDS.get(model_type, WEIGHT_STD))
        for module in model.modules():
            if isinstance(module, torch.nn.Embedding) and module.padding_idx is not None:
                module.weight[module.padding_idx] = 0.0  # as in every trained model: it has no gradient
    model.save_pretrained(folder)
    make_tokenizer(config).save(str(folder / "tokenizer.json"))


def shrink(config_class: Any, model_type: str, given: Mapping[str, Any] | None = None) -> Any:
    """Make a small configuration of a class.

    Args:
        config_class: Class of transformers.
        model_type: Its model type.
        given: Fields that are given; the others are the defaults of the class, made small.
    """
    default = config_class(**(given or {}))
    fields: dict[str, Any] = dict(given or {})
    for name, value in default.to_dict().items():
        if name in SIZES and isinstance(value, int) and not isinstance(value, bool) and value > 0:
            fields[name] = SIZES[name]
    for name in getattr(config_class, "sub_configs", {}):
        inner = getattr(default, name, None)
        if inner is not None:
            fields[name] = shrink(type(inner), inner.model_type).to_dict()
    fields |= choose_special_tokens(default)
    fields |= SPECIAL_FIELDS.get(model_type, {})
    return config_class(**fields)


def choose_special_tokens(default: Any) -> dict[str, int]:
    """Choose the ids of special tokens below the first word; a small one of the class stays."""
    found = {name: getattr(default, name, None) for name in SPECIAL_TOKENS if hasattr(default, name)}
    kept = {
        name: value for name, value in found.items() if isinstance(value, int) and 0 <= value < N_RESERVED
    }
    free = iter(sorted(set(range(N_RESERVED)) - set(kept.values())))
    return kept | {name: next(free) for name in found if name not in kept}


def make_tokenizer(config: Any) -> Any:
    """Make a tokenizer of one token a word, with a first and a last special token."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors

    tokenizer = Tokenizer(
        models.WordLevel(
            {
                **{f"[{number}]": number for number in range(N_RESERVED)},
                **dict(zip(WORDS, range(N_RESERVED, N_TOKENS), strict=True)),
            },
            unk_token=f"[{N_RESERVED - 1}]",
        )
    )
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    text = config.get_text_config()
    pick = [getattr(text, name, None) for name in ("cls_token_id", "bos_token_id", "eos_token_id")]
    first = next((number for number in pick[:2] if number is not None), N_RESERVED - 2)
    last = pick[2] if pick[2] is not None else N_RESERVED - 3
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"[{first}] $A [{last}]",
        pair=f"[{first}] $A [{last}] $B [{last}]",
        special_tokens=[(f"[{number}]", number) for number in sorted({first, last})],
    )
    return tokenizer


def first_line(error: BaseException) -> str:
    """Return the first line of an error that says something, with the name of its class if it is short."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__
