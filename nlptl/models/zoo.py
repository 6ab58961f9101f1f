"""Tiny random models of every architecture that transformers has a head for, and inputs for them.

The list comes from transformers' own auto classes, and a configuration is shrunk by the names of its fields:
widths, depths, heads, tables. What this rule breaks is set right in :data:`EXCEPTIONS`, which is no list of
families that nlptl works with: it holds numbers that must fit one another.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from nlptl.errors import ModelError

#: Heads by name, with transformers' automatic class.
HEADS = {
    "sequence classification": "AutoModelForSequenceClassification",
    "question answering": "AutoModelForQuestionAnswering",
    "token classification": "AutoModelForTokenClassification",
}
#: Number of blocks of a stack, number of entries of a vocabulary, tokens of a text, and labels.
BLOCKS, VOCABULARY, LENGTH, LABELS = 4, 100, 24, 3
#: Names of configuration fields by the size that they get.
SMALL = {
    32: "hidden_size d_model n_embd dim emb_dim embedding_size embed_dim word_embed_proj_dim true_hidden_size "
    "text_embed_dim entity_emb_size q_lora_rank kv_lora_rank moe_intermediate_size "
    "shared_expert_intermediate_size",
    BLOCKS: "num_hidden_layers n_layer n_layers num_layers encoder_layers decoder_layers num_decoder_layers "
    "num_attention_heads n_head n_heads encoder_attention_heads decoder_attention_heads num_heads "
    "num_self_attention_heads num_cross_attention_heads num_experts n_routed_experts num_local_experts",
    2: "num_key_value_heads num_kv_heads num_experts_per_tok",
    8: "head_dim d_kv d_head v_head_dim qk_nope_head_dim qk_rope_head_dim rope_dim",
    64: "intermediate_size ffn_dim d_ff d_inner n_inner hidden_dim dff encoder_ffn_dim decoder_ffn_dim "
    "feed_forward_size ffn_hidden_size expert_ffn_hidden_size",
    128: "max_position_embeddings n_positions max_2d_position_embeddings max_encoder_position_embeddings "
    "max_decoder_position_embeddings max_source_positions max_seq_len seq_length",
    VOCABULARY: "vocab_size",
    16: "sliding_window",
}
SIZES = {name: size for size, names in SMALL.items() for name in names.split()}
#: Ids of special tokens where a configuration's own lie beyond the tiny vocabulary; any other one is 3.
SPECIAL = {"pad": 0, "bos": 1, "eos": 2}
_ALL_HEADS = {"num_key_value_heads": 4}
_GROUPS = {**_ALL_HEADS, "n_group": 2, "topk_group": 1}
#: Fields that must fit one another, by the configuration's ``model_type``.
EXCEPTIONS: dict[str, dict[str, Any]] = {
    "axk1": _GROUPS,
    "axk2": _GROUPS,
    "bros": {"hidden_size": 64},
    "cohere_compass_text": {
        "layer_types": ["full_attention"] * BLOCKS,
        "rope_parameters": {
            "full_attention": {
                "rope_type": "default",
                "rope_theta": 10000.0,
                "mrope_section": [2, 1, 1],
            }
        },
    },
    "deepseek_v2": {**_ALL_HEADS, "num_experts_per_tok": 2},
    "deepseek_v3": _GROUPS,
    "esm": {
        "vocab_size": VOCABULARY,
        "pad_token_id": 1,
        "mask_token_id": 4,
        "position_embedding_type": "rotary",
    },
    "esmc": _ALL_HEADS,
    "gpt_neo": {"attention_types": [[["global", "local"], 2]], "window_size": 16},
    "gptj": {"rotary_dim": 4},
    "hunyuan_v1_dense": {"head_dim": 8},
    "hunyuan_v1_moe": {"head_dim": 8},
    "jamba": {
        "attn_layer_period": 2,
        "attn_layer_offset": 1,
        "expert_layer_period": 2,
        "expert_layer_offset": 1,
        "mamba_dt_rank": 4,
    },
    "layoutlmv3": {"coordinate_size": 4, "shape_size": 8, "visual_embed": False},
    "led": {"attention_window": 8},
    "lilt": {"hidden_size": 48},
    "longformer": {"attention_window": 8, "sep_token_id": 4},
    "luke": {"entity_vocab_size": 50},
    "markuplm": {"max_depth": 8, "xpath_unit_hidden_size": 4},
    "minicpm3": _ALL_HEADS,
    "ministral": {"head_dim": 8},
    "mistral4": _ALL_HEADS,
    "nemotron": {"head_dim": 8, "num_key_value_heads": 2},
    "perceiver": {
        "num_latents": 16,
        "d_latents": 32,
        "num_self_attends_per_block": BLOCKS,
        "num_blocks": 1,
        "qk_channels": 32,
        "v_channels": 32,
        "vocab_size": 262,
    },
    "reformer": {
        "axial_pos_embds_dim": [8, 24],
        "axial_pos_shape": [4, 6],
        "attention_head_size": 8,
        "attn_layers": ["local", "lsh", "local", "lsh"],
        "local_attn_chunk_length": 8,
        "lsh_attn_chunk_length": 8,
        "num_buckets": 2,
        "is_decoder": False,
    },
    "roc_bert": {
        "pronunciation_vocab_size": 50,
        "shape_vocab_size": 50,
        "pronunciation_embed_dim": 16,
        "shape_embed_dim": 16,
    },
    "t5": {"decoder_start_token_id": 0},
    "xmod": {"default_language": "en_XX"},
    "zamba": {"num_hidden_layers": 8, "attn_layer_period": 3, "attn_layer_offset": 2},
    "zamba2": {
        "num_hidden_layers": 6,
        "layers_block_type": ["linear_attention", "hybrid"] * 3,
        "num_mem_blocks": 1,
        "mamba_d_state": 16,
        "chunk_size": 8,
    },
}


def architectures(head: str) -> dict[str, str]:
    """Map each ``model_type`` that transformers has a head for to the name of the class.

    Args:
        head: A key of :data:`HEADS`.
    """
    from transformers.models.auto import modeling_auto

    names = {
        "sequence classification": modeling_auto.MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES,
        "question answering": modeling_auto.MODEL_FOR_QUESTION_ANSWERING_MAPPING_NAMES,
        "token classification": modeling_auto.MODEL_FOR_TOKEN_CLASSIFICATION_MAPPING_NAMES,
    }
    return dict(names[head])


def tiny_config(kind: str, **changes: Any) -> Any:
    """Shrink an architecture's default configuration.

    Args:
        kind: Its ``model_type``.
        changes: Fields to set, after all rules.

    Raises:
        ModelError: If transformers has no such architecture.
    """
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING

    if kind not in CONFIG_MAPPING:
        raise ModelError(f"'{kind}': transformers has no configuration of this name.")
    return _shrunk(CONFIG_MAPPING[kind](), changes)


def _shrunk(default: Any, changes: dict[str, Any]) -> Any:
    """Make a small configuration like ``default``, and of the configurations inside it."""
    from transformers import PreTrainedConfig

    own: dict[str, Any] = {}
    for field in dataclasses.fields(default):
        name, value = field.name, getattr(default, field.name, None)
        if name in SIZES and value is not None and not isinstance(value, list | tuple):
            own[name] = SIZES[name]
        if name.endswith("token_id"):
            if isinstance(value, int) and value >= VOCABULARY:
                own[name] = SPECIAL.get(name.split("_")[0], 3)
            elif isinstance(value, list):
                own[name] = SPECIAL["eos"]
    for name, value in vars(default).items():
        if isinstance(value, PreTrainedConfig):
            own[name] = _shrunk(value, {})
    return type(default)(**{**own, **EXCEPTIONS.get(default.model_type, {}), **changes})


def tiny_model(kind: str, head: str = "sequence classification", **changes: Any) -> Any:
    """Build a random model with its head, in float32 and eval mode; the same one each time.

    Args:
        kind: Its ``model_type``.
        head: A key of :data:`HEADS`.
        changes: Fields of the configuration to set.

    Raises:
        ModelError: If transformers has no such class.
        ImportError: If the model needs a package that is not installed.
    """
    import transformers

    known = architectures(head)
    if kind not in known:
        raise ModelError(f"'{kind}': transformers has no class for {head}.")
    config = tiny_config(kind, **changes)
    config.num_labels = 2 if head == "question answering" else LABELS
    config.architectures = [known[kind]]  # as in a checkpoint
    for each in (config, getattr(config, "text_config", None)):
        if each is not None and getattr(each, "pad_token_id", None) is None:
            each.pad_token_id = SPECIAL["pad"]
    generator = torch.random.get_rng_state()
    try:
        torch.manual_seed(0)
        return getattr(transformers, known[kind])(config).float().eval()
    finally:
        torch.random.set_rng_state(generator)


def tiny_inputs(
    model: Any, head: str = "sequence classification", *, seed: int = 0, length: int = LENGTH
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Draw two texts, the second one padded, and labels for them.

    Args:
        model: A model of :func:`tiny_model`.
        head: Its head.
        seed: Seed of the tokens.
        length: Number of tokens of the longer text.

    Returns:
        Inputs, each ``(2, length)``, and labels as the head takes them.
    """
    config, generator = model.config, torch.Generator().manual_seed(seed)
    ids = torch.randint(5, VOCABULARY - 5, (2, length), generator=generator)
    mask = torch.ones_like(ids)
    mask[1, -6:] = 0
    ids[1, -6:] = config.pad_token_id or 0
    end = getattr(config, "eos_token_id", None)
    if getattr(config, "is_encoder_decoder", False) and isinstance(end, int):
        ids[0, -1] = ids[1, -7] = (
            end  # BART's and T5's heads read it, and want as many in each text
        )
    if config.model_type == "longformer" and head == "question answering":
        ids[:, [4, 9, 15]] = config.sep_token_id  # its attention finds the question by them
    if head == "question answering":
        labels = {
            "start_positions": torch.tensor([3, 5]),
            "end_positions": torch.tensor([6, 7]),
        }
    else:
        shape = (2,) if head == "sequence classification" else (2, length)
        labels = {"labels": torch.randint(0, LABELS, shape, generator=generator)}
    more = MORE_INPUTS.get(config.model_type, lambda *_: {})
    return {"input_ids": ids, "attention_mask": mask, **more(config, length)}, labels


def _boxes(config: Any, length: int) -> dict[str, Tensor]:
    return {"bbox": torch.tensor([[[1, 2, 10, 12]]]).repeat(2, length, 1)}


def _page(config: Any, length: int) -> dict[str, Tensor]:
    return {**_boxes(config, length), "image": torch.zeros(2, 3, 224, 224)}


def _picture(config: Any, length: int) -> dict[str, Tensor]:
    return {
        "visual_feats": torch.zeros(2, 4, config.visual_feat_dim),
        "visual_pos": torch.zeros(2, 4, 4),
    }


#: What an architecture takes besides tokens: boxes on a page, pictures.
MORE_INPUTS: dict[str, Callable[[Any, int], dict[str, Tensor]]] = {
    **dict.fromkeys(("bros", "layoutlm", "layoutlmv3", "lilt"), _boxes),
    "layoutlmv2": _page,
    "lxmert": _picture,
}
