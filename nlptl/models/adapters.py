"""Adapters by peft: small trained parts in or before the blocks, and the whole head beside them."""

import re
import warnings
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from nlptl.errors import ModeError, listed
from nlptl.models.deriving import linear_layers
from nlptl.models.layer_map import LayerMap, layer_map, map_of
from nlptl.models.tracing import made_up_texts


def target_names(model: Any, targets: Sequence[str] | None, *, above: int = 0) -> list[str]:
    """List the full names of the linear layers inside the blocks that get an adapter.

    Args:
        model: A mapped model.
        targets: Names relative to a block's projections, matched against the last parts of a
            module's name (``query``, ``attention.self.query``, ``q``); None takes query and value, or what
            stands for them (:attr:`nlptl.models.layer_map.LayerMap.lora_targets`). ``all-linear`` takes every
            linear layer of the blocks that the outputs depend on; the head is never among them.
        above: Number of lowest blocks that get no adapter.

    Raises:
        ModeError: If a target matches nothing, with the names that exist; if there is nothing to adapt; or if
            two targets are one tensor, so that merging would add both adapters to it.
    """
    layers = layer_map(model)
    names = {id(module): name for name, module in model.named_modules()}
    found = [model.get_submodule(name) for name in _chosen(layers, targets, above)]
    chosen = list(
        {id(module): module for module in found}.values()
    )  # one module may be in several blocks
    if not chosen:
        raise ModeError(
            f"The blocks of a model of the architecture '{model.config.model_type}' have no linear layer that "
            "the outputs depend on among those that usually get an adapter, so nothing can be adapted. Choose "
            "freeze-lower-N, head-only or full, or name --lora-targets."
        )
    tensors = Counter(id(module.weight) for module in chosen)
    if twice := [names[id(m)] for m in chosen if tensors[id(m.weight)] > 1]:
        raise ModeError(
            f"{twice[0]} and {twice[-1]} are two layers with one weight, so that merging would add the "
            "adapters of both to it. Give --lora-targets that are not shared, or choose head-only or full."
        )
    return [names[id(module)] for module in chosen]


def _chosen(layers: LayerMap, targets: Sequence[str] | None, above: int) -> list[str]:
    """List the linear layers of the upper blocks that targets name."""
    upper = list(zip(layers.names, layers.blocks, strict=True))[above:]
    linear = [name for block, module in upper for name in linear_layers(module, block)]
    linear = [name for name in linear if f"{name}.weight" not in layers.dead]
    if targets is None:
        return [name for name in linear if name in layers.lora_targets]
    if list(targets) == ["all-linear"]:
        return linear
    chosen: list[str] = []
    for target in targets:
        hits = [name for name in linear if f".{name}".endswith(f".{target}")]
        if not hits:
            short = sorted({name.rsplit(".", 1)[-1] for name in linear})
            raise ModeError(
                f"--lora-targets {target}: no linear layer of the blocks is called that. There are: "
                f"{listed(short)}; or all-linear."
            )
        chosen += [name for name in hits if name not in chosen]
    return chosen


def check_targets(config: Any, targets: Sequence[str], *, above: int = 0) -> None:
    """Make sure that targets name linear layers, by a configuration alone: no weight is read.

    Args:
        config: Configuration of a checkpoint.
        targets: Names as for :func:`target_names`.
        above: Number of lowest blocks that get no adapter.

    Raises:
        ModeError: If a target matches nothing.
    """
    if layers := map_of(config):  # else :func:`target_names` says so, once the weights are there
        _chosen(layers, targets, above)


def head_modules(model: Any) -> list[str]:
    """List the names of the smallest set of modules that hold all parameters above the blocks."""
    parts = layer_map(model).part_of(model)
    head = {name for name, part in parts.items() if part == "head"}
    chosen: list[str] = []
    for name, module in model.named_modules():
        inside = {f"{name}.{inner}" for inner, _ in module.named_parameters()}
        covered = any(name.startswith(f"{done}.") for done in chosen)
        if name and inside and inside <= head and not covered:
            chosen.append(name)
    return chosen


def loose_parameters(model: Any) -> list[str]:
    """List the names of the parameters above the blocks that are in none of :func:`head_modules`.

    BERT's and RoBERTa's masked-LM head has one: the bias of a decoder whose weight is the word embeddings, so
    that the modules around it do not belong to the head alone.
    """
    parts = layer_map(model).part_of(model)
    modules = tuple(f"{name}." for name in head_modules(model))
    return [n for n, part in parts.items() if part == "head" and not n.startswith(modules)]


def add_lora(
    model: Any,
    *,
    rank: int,
    alpha: float,
    targets: Sequence[str] | None = None,
    above: int = 0,
    dropout: float = 0.0,
    task_type: str | None = None,
    rslora: bool = False,
    dora: bool = False,
) -> Any:
    """Wrap a model with LoRA (Hu et al., 2022): W + (alpha / rank) B A, with B = 0 at the start.

    Args:
        model: A mapped Hugging Face model with its head; changed in place.
        rank: Rank of the update.
        alpha: Numerator of its scale.
        targets: Names as for :func:`target_names`.
        above: Number of lowest blocks that get no adapter.
        dropout: Dropout rate on the adapter's input.
        task_type: peft's name of the task, so that its auto classes open the adapter.
        rslora: Whether the scale is alpha / sqrt(rank) (Kalajdzievski, 2023).
        dora: Whether the length of each weight column trains besides its direction (Liu et al., 2024).

    Returns:
        A :class:`peft.PeftModel` in which the adapters and the whole head train.
    """
    from peft import LoraConfig

    config = LoraConfig(
        r=rank,
        lora_alpha=alpha,  # type: ignore[arg-type]  # peft takes fractions too
        lora_dropout=dropout,
        target_modules=target_names(model, targets, above=above),
        modules_to_save=head_modules(model),
        use_rslora=rslora,
        use_dora=dora,
    )
    return _wrapped(model, config, task_type)


def add_ia3(model: Any, *, task_type: str | None = None) -> Any:
    """Wrap a model with (IA)^3 (Liu et al., 2022): keys, values and the inner feed-forward states are scaled.

    The scales are 1 at the start.

    Args:
        model: A mapped Hugging Face model with its head; changed in place.
        task_type: As for :func:`add_lora`.

    Raises:
        ModeError: If keys, values or the feed-forward layer are not to be found.
    """
    from peft import IA3Config

    scaled, inner = scaled_names(model)
    config = IA3Config(
        target_modules=[*scaled, *inner],
        feedforward_modules=inner,
        modules_to_save=head_modules(model),
    )
    return _wrapped(model, config, task_type)


#: Names of the projections to keys and values, over the architectures of transformers.
KEYS_AND_VALUES = re.compile(r"(k|v|key|value|k_proj|v_proj|key_proj|value_proj|k_lin|v_lin)")


def scaled_names(model: Any) -> tuple[list[str], list[str]]:
    """List the linear layers that (IA)^3 scales: keys and values by their output, others by their input.

    The last layer of a feed-forward part is found by its form: it is the one that leads from a wider state
    back to the model's width.

    Raises:
        ModeError: If a block has none of either kind, as where one layer gives queries, keys and values.
    """
    width = model.config.hidden_size
    every = target_names(model, ["all-linear"])
    scaled = [name for name in every if KEYS_AND_VALUES.fullmatch(name.rsplit(".", 1)[-1])]
    inner = []
    for name in every:
        layer = model.get_submodule(name)
        # GPT-2 has layers of its own, which call the two numbers nx and nf.
        wide = getattr(layer, "in_features", None) or layer.nx
        narrow = getattr(layer, "out_features", None) or layer.nf
        if narrow == width and wide > width and name not in scaled:
            inner.append(name)
    if not scaled or not inner:
        short = sorted({name.rsplit(".", 1)[-1] for name in every})
        raise ModeError(
            "--mode ia3: expected layers for keys and for values, and a feed-forward layer that narrows, in "
            "each "
            f"block; there are {listed(short)}. Take lora."
        )
    return scaled, inner


def add_prompt(model: Any, *, kind: str, tokens: int, task_type: str | None = None) -> Any:
    """Wrap a model with trained vectors before the text, in front of its tokens or of every block's keys.

    Args:
        model: A mapped Hugging Face model with its head; changed in place.
        kind: ``prompt`` (Lester et al., 2021) or ``prefix`` (Li & Liang, 2021; here without their
            reparametrisation, as in P-tuning v2, Liu et al., 2022).
        tokens: Number of vectors.
        task_type: peft's name of the task; only its class for whole texts takes prompts as they are meant.

    Raises:
        ModeError: If the task or the model's own class does not take them.
    """
    from peft import PrefixTuningConfig, PromptTuningConfig

    if hasattr(model, "rebuilt"):  # the pooled classifier
        raise ModeError(
            f"--mode {kind}: under --pooling {model.pooling} the states are pooled outside of transformers' "
            "classes, which alone know which places are the text's. Take lora, or --pooling first."
        )
    if task_type != "SEQ_CLS":
        raise ModeError(
            f"--mode {kind}: it moves the places of the tokens, so it needs a task with an output for a "
            "whole text; "
            "for spans and tags take lora."
        )
    make = PromptTuningConfig if kind == "prompt" else PrefixTuningConfig
    config, about = model.config, {}
    if not {"hidden_size", "n_embd", "d_model"} & set(config.to_dict()):  # what peft looks for
        about = {
            "token_dim": config.hidden_size,
            "num_layers": len(layer_map(model).blocks),
            "num_attention_heads": config.num_attention_heads,
        }
    asked = make(
        task_type=task_type, num_virtual_tokens=tokens, modules_to_save=head_modules(model), **about
    )
    wrapped, training = _wrapped(model, asked, task_type), model.training
    try:
        problem = _padding_problem(wrapped.eval(), made_up_texts(model))
    except Exception as error:  # anything from deep inside, by architecture
        problem = (
            f"cannot be called with one ({type(error).__name__}: {str(error).splitlines()[0]})"
        )
    if problem:
        remove_adapter(wrapped)
        raise ModeError(f"--mode {kind}: {type(model).__name__} {problem}. Take lora.")
    return wrapped.train(training)


@torch.no_grad()
def _padding_problem(model: Any, texts: Mapping[str, torch.Tensor]) -> str | None:
    """Say whether a text's logits depend on the padding behind it; decoders look for it in the token ids."""
    length = int(texts["attention_mask"][1].sum())
    alone = {name: tensor[1:, :length] for name, tensor in texts.items()}
    both, one = model(**texts).logits[1:], model(**alone).logits
    if torch.allclose(both, one, rtol=1e-3, atol=1e-4):
        return None
    return "gives a text other outputs with padding behind it"


def _wrapped(model: Any, config: Any, task_type: str | None) -> Any:
    """Let peft wrap a model; the whole head trains."""
    from peft import get_peft_model

    loose = [model.get_parameter(name) for name in loose_parameters(model)]
    with warnings.catch_warnings():
        # peft 0.21 still uses an old name of transformers 5; the warning is harmless.
        warnings.filterwarnings(
            "ignore", message=".*is_gradient_checkpointing", category=FutureWarning
        )
        # Only prompts are wrapped with a task type: peft's class for question answering takes token_type_ids
        # and drops them (0.21). The type is set afterwards, for whoever opens the adapter.
        wrapped = get_peft_model(model, config)
    # peft's auto classes would put the adapter on another head than that of nlptl's pooled classifier.
    config.task_type = None if hasattr(model, "rebuilt") else task_type
    for parameter in loose:  # peft, which trains whole modules only, has frozen them
        parameter.requires_grad_(True)
    return wrapped


def save_adapter(model: Any, directory: Path) -> None:
    """Write adapters and head as peft does, and with them the head's parameters that peft does not know of.

    ``PeftModel.from_pretrained`` loads every tensor of the file whose name the model has.

    Args:
        model: Model from :func:`add_lora`.
        directory: The ``adapter/`` of the run.
    """
    from safetensors.torch import load_file, save_file

    model.save_pretrained(directory)
    own = {n: p for n, p in model.named_parameters() if p.requires_grad and _is_loose(n)}
    if own:
        file = directory / "adapter_model.safetensors"
        tensors = {n: p.detach().to("cpu", copy=True).contiguous() for n, p in own.items()}
        save_file({**load_file(file), **tensors}, file, metadata={"format": "pt"})


def open_adapter(model: Any, directory: Path) -> Any:
    """Put a saved adapter, with the head that was trained beside it, around the checkpoint's model.

    Args:
        model: The model below the adapter.
        directory: The ``adapter/`` of a run.
    """
    from peft import PeftModel

    return PeftModel.from_pretrained(model, str(directory))


def _is_loose(name: str) -> bool:
    """Whether a trained parameter is neither an adapter's nor in a module that peft saves."""
    return not any(part in name for part in (*OWN, ".modules_to_save."))


#: Parts of the names of peft's parameters.
OWN = (".lora_", ".ia3_", "prompt_encoder.")


def is_lora(model: Any) -> bool:
    """Whether the model is wrapped by peft."""
    return hasattr(model, "peft_config")


def plain_name(name: str) -> str:
    """Return a parameter's name on the Hugging Face model itself, without peft's wrappers."""
    name = name.removeprefix("base_model.model.")
    return name.replace(".modules_to_save.default", "").replace(".base_layer", "")


def unwrap_peft(model: Any) -> Any:
    """Return the Hugging Face model itself, without peft's wrapper if there is one."""
    return model.get_base_model() if is_lora(model) else model


def merge_adapter(model: Any) -> Any:
    """Fold the adapters into the weights; afterwards the model is a plain Hugging Face one.

    Prompts cannot be folded in (:func:`can_merge`): they are taken off, and the head stays as it is.
    """
    if not is_lora(model):
        return model
    if not can_merge(model):
        return remove_adapter(model)
    _take_head(model)
    return model.merge_and_unload()


def can_merge(model: Any) -> bool:
    """Whether the adapters of a wrapped model can be folded into its weights; prompts, as inputs, cannot."""
    return not any(config.is_prompt_learning for config in model.peft_config.values())


def has_prompt(model: Any) -> bool:
    """Whether trained vectors stand before the text, so that a token's place is not its own."""
    return is_lora(model) and not can_merge(model)


def kind_of(model: Any) -> str:
    """Return peft's name of a model's adapters, in lower case: ``lora``, ``ia3``, ``prompt_tuning``, …."""
    return next(iter(model.peft_config.values())).peft_type.value.lower()


def remove_adapter(model: Any) -> Any:
    """Undo :func:`add_lora`: remove the adapters with what they learned, and keep the head as it is now.

    A head that trained with the adapters keeps its trained values, as it does under every other mode. To keep
    what the adapters learned, call :func:`merge_adapter` instead.

    Args:
        model: A :class:`peft.PeftModel`; any other model is returned as it is.

    Returns:
        The Hugging Face model; all of it trains.
    """
    if not is_lora(model):
        return model
    _take_head(model)
    base = model.unload() if can_merge(model) else model.get_base_model()
    if is_lora(base):  # peft before 0.21 leaves its configuration there
        del base.peft_config
    base.disable_input_require_grads()  # peft's hook for gradient checkpointing
    return base.requires_grad_(True)


def _take_head(model: Any) -> None:
    """Put the trained modules of the head in the place of peft's wrappers around them.

    peft 0.21 does so itself for LoRA, fails at it for (IA)^3, and has no way for prompts.
    """
    from peft.utils import ModulesToSaveWrapper

    base = model.get_base_model()
    for name, module in list(base.named_modules()):
        if isinstance(module, ModulesToSaveWrapper):
            parent, _, own = name.rpartition(".")
            setattr(base.get_submodule(parent), own, module.modules_to_save["default"])
