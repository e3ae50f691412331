"""Which weights of a pretrained module train: its last layers or LoRA adapters; and these on disk."""

import hashlib
import os
from collections.abc import Mapping, Sequence
from itertools import chain
from pathlib import Path

import torch
from torch import Tensor, nn

from mmgraph.data.folder import read_meta, whole_folder, write_json
from mmgraph.models.saved import load_tensors, save_tensors

KIND, VERSION = "mmgraph-tuned", 1


def tune_last_layers(module: nn.Module, n: int, blocks: str | None = None) -> list[str]:
    """Freeze all but the last n blocks and what is registered after them (a final norm, a pooler, a head).

    Args:
        module: changed in place.
        n: number of blocks that train; 0 leaves only what follows them.
        blocks: name of the list of blocks, e.g. ``"encoder.layer"``; found by itself where there is only one.

    Returns:
        Names of the parameters that train.

    Raises:
        ValueError: if there are several lists of blocks or none, or not n blocks.
    """
    name = _only_list(module) if blocks is None else blocks
    children = [f"{name}.{child}." for child, _ in module.get_submodule(name).named_children()]
    if not 0 <= n <= len(children):
        raise ValueError(f"{name!r} has {len(children)} blocks, asked for the last {n}.")
    names = [key for key, _ in module.named_parameters()]
    inside = [at for at, key in enumerate(names) if key.startswith(tuple(children[:len(children) - n]))]
    before = [at for at, key in enumerate(names) if key.startswith(f"{name}.")]
    first = max(inside, default=min(before, default=0) - 1) + 1
    for at, parameter in enumerate(module.parameters()):
        parameter.requires_grad_(at >= first)
    return names[first:]


def _only_list(module: nn.Module) -> str:
    """The name of the only list of blocks of one class, lists inside of blocks aside."""
    found: list[str] = []
    for name, part in module.named_modules():
        kinds = {type(child) for child in part.children()}
        if (isinstance(part, nn.ModuleList | nn.Sequential) and len(part) > 1 and len(kinds) == 1
                and not any(name.startswith(f"{outer}.") for outer in found)):
            found.append(name)
    if len(found) != 1:
        raise ValueError(f"{type(module).__name__} has {len(found)} lists of blocks: {found}; name the one whose last "
                         f"blocks shall train: blocks=.")
    return found[0]


def lora(module: nn.Module, *, rank: int, targets: Sequence[str], seed: int = 0) -> list[str]:
    """Freeze a module and put low-rank adapters beside some of its linear layers; at first they change nothing.

    Args:
        module: changed in place.
        rank: of the adapters.
        targets: the linear layers, by the end of their names, e.g. ``["query", "value"]``.
        seed: of the adapters' weights.

    Returns:
        Names of the parameters that train.

    Raises:
        ValueError: if there are no such layers.

    Source: Hu et al. 2022, arXiv:2106.09685.
    """
    try:
        from peft import LoraConfig, inject_adapter_in_model
    except ImportError as error:
        raise ImportError('LoRA needs peft: pip install "mmgraph[finetune]"') from error
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        inject_adapter_in_model(LoraConfig(r=rank, lora_alpha=2 * rank, target_modules=list(targets)), module)
    return list(trained_parameters(module))


def trained_parameters(module: nn.Module) -> dict[str, nn.Parameter]:
    """The parameters that require a gradient, by name."""
    return {name: p for name, p in module.named_parameters() if p.requires_grad}


def fingerprint(tensors: Mapping[str, Tensor]) -> str:
    """Sha256 of names and values."""
    digest = hashlib.sha256()
    for name, tensor in sorted(tensors.items()):
        digest.update(name.encode() + b"\0")
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def save_tuned(folder: str | os.PathLike[str], module: nn.Module) -> None:
    """Write what trains of a module (adapters, last layers), whole or not at all, and a hash of what is frozen."""
    with whole_folder(folder, KIND) as new:
        save_tensors(trained_parameters(module), new / "trained.safetensors")
        write_json(new / "meta.json", {"format": KIND, "version": VERSION, "frozen": _frozen(module)})


def load_tuned(folder: str | os.PathLike[str], module: nn.Module) -> None:
    """Put what was saved into a module that was prepared in the same way (`tune_last_layers`, `lora`).

    Raises:
        FileNotFoundError: if the folder holds no tuned weights.
        ValueError: if they are damaged, or belong to a module that was prepared otherwise or has other frozen weights.
    """
    meta, state = read_meta(folder, KIND, VERSION), load_tensors(Path(folder).expanduser() / "trained.safetensors")
    own = trained_parameters(module)
    if {n: t.shape for n, t in state.items()} != {n: p.shape for n, p in own.items()}:
        raise ValueError(f"{folder} holds other parameters than train in this module, e.g. "
                         f"{sorted(state.keys() ^ own.keys())[:3]}; prepare it as it was when it was saved.")
    if meta.get("frozen") != _frozen(module):
        raise ValueError(f"{folder} was trained on other frozen weights; load the pretrained model it started from.")
    module.load_state_dict(state, strict=False)


def _frozen(module: nn.Module) -> str:
    own = trained_parameters(module)
    return fingerprint({name: t for name, t in chain(module.named_parameters(), module.named_buffers())
                        if name not in own})
