"""What one traced pass says of a model: its blocks, and what lies below, between and above them."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from nlptl.models.tracing import Call, text_config, walk

#: Operations of the autograd graph that compute nothing, by parts of their names.
VIEWS = ("View", "Slice", "Split", "Select", "Transpose", "Permute", "Alias", "Squeeze", "Unbind")
#: Query and value projections, and fused ones, by the last part of their names in lower case.
QUERY = {"query", "q", "q_proj", "q_lin", "query_proj", "q_b_proj", "wq", "q_head"}
VALUE = {"value", "v", "v_proj", "v_lin", "value_proj", "kv_b_proj", "wv", "v_head"}
FUSED = {
    *("c_attn", "query_key_value", "wqkv", "qkv_proj", "qkv"),
    *("in_proj", "in_proj_qkv", "in_proj_qkvz"),  # DeBERTa's, or the input of a state space
}


class Refused(Exception):
    """The structure of a model cannot be verified; the message says why."""


def candidates(model: Any) -> dict[str, str]:
    """Map the members of the backbone's outermost lists to their lists.

    If any member of any list is a layer that transformers can recompute, only such lists count.
    """
    from transformers.modeling_layers import GradientCheckpointingLayer

    prefix = next(n for n, m in model.named_modules() if m is model.base_model)
    lists = dict(_lists(model.base_model, f"{prefix}." if prefix else ""))
    good = {
        name: members
        for name, members in lists.items()
        if any(isinstance(m, GradientCheckpointingLayer) for m in members.values())
    }
    return {member: name for name, members in (good or lists).items() for member in members}


def _lists(module: nn.Module, prefix: str) -> Any:
    """Yield the outermost lists below a module, and their members by name; lists in lists (Funnel) are one."""
    for name, child in module.named_children():
        if not isinstance(child, nn.ModuleList):
            yield from _lists(child, f"{prefix}{name}.")
            continue
        inner = {f"{prefix}{name}.{n}": c for n, c in child.named_children()}
        while inner and all(isinstance(c, nn.ModuleList) for c in inner.values()):
            inner = {f"{p}.{n}": c for p, m in inner.items() for n, c in m.named_children()}
        yield f"{prefix}{name}", inner


def running(
    runs: Mapping[str, int], last: Mapping[str, Call], home: Mapping[str, str], top: set[Any]
) -> list[str]:
    """List the candidates whose states the outputs depend on, in forward order.

    CANINE's last encoder runs too, but only the head for question answering reads it; vision towers do not
    run.
    """
    if odd := next((name for name in runs if last[name].node is None), None):
        raise Refused(f"{odd} returns no states that can be differentiated")
    names = [name for name in runs if last[name].node in top]
    if not names:
        raise Refused("the outputs come from no list of modules that runs on a text alone")
    order = [home[name] for name in names]
    if order != sorted(order, key=order.index):
        lists = ", ".join(dict.fromkeys(order))
        raise Refused(f"the parts of a block lie in parallel lists ({lists})")
    if idle := next((n for n, name in home.items() if n not in runs and name in order), None):
        raise Refused(f"{idle} does not run on a text alone")
    return names


def chain(blocks: Mapping[str, nn.Module], last: Mapping[str, Call]) -> list[set[int]]:
    """Make sure that each block's states come from those below and from its own parameters.

    Returns:
        For each block the parameters that its states depend on and that no state below depends on.
    """
    nodes: set[Any] = set()
    known: set[int] = set()
    before, reach = None, []
    for name, block in blocks.items():
        state = last[name].node
        if state in nodes:
            raise Refused(f"{name} writes what an earlier block has written")
        seen, met, leaves = walk([state], stop=nodes)
        if before is not None and last[before].node not in met:
            raise Refused(f"{name} does not read what {before} writes")
        if not (leaves | known) & {id(p) for p in block.parameters()}:
            raise Refused(f"the output of {name} does not depend on its parameters by autograd")
        reach.append(leaves - known)
        nodes, known, before = nodes | seen, known | leaves, name
    return reach


def outside(
    model: nn.Module,
    blocks: Mapping[str, nn.Module],
    last: Mapping[str, Call],
    reach: list[set[int]],
    read: set[int],
) -> tuple[tuple[str, nn.Module, str, str], ...]:
    """Find the parts of the parameters outside of the blocks: below the first state that needs them.

    One closes a lower block if its module goes on from that one's states (a norm, a convolution).
    """
    numbered = list(enumerate(blocks.values()))
    inside = {id(p): number for number, block in reversed(numbered) for p in block.parameters()}
    needed = {own: number for number, leaves in enumerate(reach) for own in leaves}
    part: dict[str, str] = {}
    owner: dict[str, tuple[str, nn.Module, str]] = {}
    states = [last[name].node for name in blocks]
    for scope, module in model.named_modules():
        for own, p in module.named_parameters(recurse=False):
            name = f"{scope}.{own}" if scope else own
            owner[name] = scope, module, own
            first = needed.get(id(p))
            if id(p) in inside:
                part[name] = f"block {inside[id(p)]}"
            elif first is None:
                part[name] = "head" if id(p) in read else "unused"
            else:
                made = walk([last[scope].node])[0] if first and scope in last else set()
                below = [i for i in range(first) if states[i] in made]
                part[name] = f"block {below[-1]}" if below else "embeddings"
    for name in [name for name, where in part.items() if where == "unused"]:
        part[name] = _neighbours(name, part)
    return tuple(
        (*owner[name], where)
        for name, where in part.items()
        if where != "head" and id(owner[name][1].get_parameter(owner[name][2])) not in inside
    )


def _neighbours(name: str, part: Mapping[str, str]) -> str:
    """Return the part that the nearest used parameters around an unused one agree on, or ``unused``."""
    scopes = [name[:i] for i in range(len(name)) if name[i] == "."]
    for scope in reversed(scopes):
        near = {where for n, where in part.items() if n.startswith(f"{scope}.")} - {"unused"}
        if near:
            return near.pop() if len(near) == 1 else "unused"
    return "unused"


def crossing(
    blocks: Mapping[str, nn.Module], last: Mapping[str, Call], decoder: list[str]
) -> frozenset[str]:
    """Find a decoder's linear layers whose input does not come from the states that their block got."""
    found, known = set[str](), dict[tuple[Any, Any], bool]()
    for name in decoder:
        got = last[name].given
        for inner in linear_layers(blocks[name], name):
            node = last[inner].given if inner in last else None
            if node is None or got is None:
                continue
            if (node, got) not in known:
                known[node, got] = got in walk([node], stop={got})[1]
            if not known[node, got]:
                found.add(inner)
    return frozenset(found)


def tied(model: nn.Module) -> tuple[tuple[str, ...], ...]:
    """List the names of parameters that are one tensor."""
    names: dict[int, list[str]] = {}
    for name, p in model.named_parameters(remove_duplicate=False):
        names.setdefault(id(p), []).append(name)
    return tuple(tuple(same) for same in names.values() if len(same) > 1)


def is_closed_by_norm(model: nn.Module, name: str, final: Call, calls: list[Call]) -> bool:
    """Whether what the last block returns is what a norm inside it returned, or a view of that."""
    norms = {
        call.node
        for call in calls
        if call.name.startswith(f"{name}.")
        and type(model.get_submodule(call.name)).__name__.lower().endswith("norm")
    }
    node = final.node
    while node not in norms and any(view in type(node).__name__ for view in VIEWS):
        node = node.next_functions[0][0]
    return node in norms


@torch.enable_grad()
def pooled(logits: Tensor, states: Tensor, inputs: Mapping[str, Tensor]) -> str:
    """Say which positions of the last states the logits of the second, padded text are made of."""
    mask = inputs["attention_mask"]
    if logits.is_meta or states is logits:
        return ""
    if logits.dim() != 2 or logits.shape == mask.shape:
        return "each"
    (slope,) = torch.autograd.grad(logits[1].sum(), states, retain_graph=True)
    if slope.shape[1] == len(mask):  # XLNet: the length comes first
        slope = slope.transpose(0, 1)
    used = set(slope[1].abs().sum(-1).nonzero().flatten().tolist())
    real, length = int(mask[1].sum()), mask.shape[1]
    known = {
        "first": {0},
        "last": {real - 1},
        "last, padding too": {length - 1},
        "mean": set(range(real)),
    }
    other = f"{len(used)} positions of {real} tokens and {length - real} of padding"
    return next((name for name, where in known.items() if used == where), other)


def positions(lookups: Sequence[tuple[Tensor, Tensor]], config: Any) -> int | None:
    """Count the rows of the table that is looked up by consecutive numbers, from the first number on.

    RoBERTa begins at 2, so that of 514 rows 512 are used. Without a table (rotary positions) the
    configuration's number counts.
    """
    for index, table in lookups:
        if index.dim() and index.shape[-1] > 1 and not index.is_meta:
            row = index.reshape(-1, index.shape[-1])[0]
            if bool((row.diff() == 1).all()):
                return len(table) - int(row[0])
    rows = getattr(text_config(config), "max_position_embeddings", None)
    return rows if isinstance(rows, int) and rows > 0 else None


def is_linear(module: nn.Module) -> bool:
    """Whether a module is a linear layer; GPT-2 calls its own ``Conv1D``."""
    return isinstance(module, nn.Linear) or type(module).__name__ == "Conv1D"


def linear_layers(block: nn.Module, name: str = "") -> list[str]:
    """List the names of a block's linear layers, without those of adapters.

    Args:
        block: A block.
        name: Its name on the model, which the others begin with; empty for names inside the block.
    """
    return [
        f"{name}.{inner}" if name else inner
        for inner, module in block.named_modules()
        if is_linear(module) and ".lora_" not in f".{inner}"
    ]


def lora_targets(blocks: Mapping[str, nn.Module]) -> list[str]:
    """List query and value of each block; else the fused projection; else all linear layers.

    Layers that share one weight (Zamba's) are left out: merging would add the adapters of both to it.
    """
    layers = {
        f"{name}.{inner}": block.get_submodule(inner)
        for name, block in blocks.items()
        for inner in linear_layers(block)
    }
    owners = Counter(id(layer.weight) for layer in {id(m): m for m in layers.values()}.values())
    chosen: list[str] = []
    for name in blocks:
        kinds = {
            full: full.rpartition(".")[2].lower()
            for full, layer in layers.items()
            if full.startswith(f"{name}.") and owners[id(layer.weight)] == 1
        }
        pair = [[n for n, kind in kinds.items() if kind in known] for known in (QUERY, VALUE)]
        fused = [n for n, kind in kinds.items() if kind in FUSED]
        own = {*pair[0], *pair[1]} if all(pair) else set(fused or kinds)
        chosen += [n for n in kinds if n in own]
    return chosen
