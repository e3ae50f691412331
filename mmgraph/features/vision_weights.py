"""Vision models with their weights, from a folder: safetensors only, and every weight accounted for."""

import hashlib
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

from mmgraph.features.hub import Checkpoint


@dataclass(frozen=True)
class Untrained:
    """A timm architecture with the random weights of a seed."""

    architecture: str
    seed: int = 0


def described(timm: Any, source: Checkpoint | Untrained) -> tuple[str, Mapping[str, Any]]:
    """A timm model's architecture and what is known of its weights, e.g. size and mean of its input."""
    if isinstance(source, Untrained):
        architecture: Any = source.architecture
        found = timm.models.get_pretrained_cfg(architecture)
        known = found.to_dict() if found else {"architecture": architecture}
    else:
        config = source.config()
        architecture, known = config.get("architecture"), config.get("pretrained_cfg", config)
    if not isinstance(architecture, str) or not timm.is_model(architecture):
        raise ValueError(f"{source} is no model that timm {timm.__version__} knows: its architecture is "
                         f"{architecture!r}; a model of transformers is read by TransformerImage.")
    return architecture, known


def with_weights(model: Any, source: Checkpoint) -> Any:
    """A timm model without classifier, with the weights of its folder; converted as timm does if they are of old.

    Raises:
        ValueError: if they do not fit.
    """
    from safetensors.torch import load_file

    state = load_file(source.folder / "model.safetensors")
    heads = model.pretrained_cfg.get("classifier") or ()
    heads = tuple(f"{head}." for head in ([heads] if isinstance(heads, str) else heads))
    convert = getattr(sys.modules[type(model).__module__], "checkpoint_filter_fn", None)
    if convert and {k for k in state if not k.startswith(heads)} != set(model.state_dict()):
        state = convert(state, model)
    missing, unexpected = model.load_state_dict(state, strict=False)
    if wrong := [*missing, *(k for k in unexpected if not k.startswith(heads))]:
        raise ValueError(f"the weights of {source.name} do not fit {model.pretrained_cfg.get('architecture')}: "
                         f"{len(wrong)} are missing or too many, e.g. {wrong[:3]}.")
    return model


def transformer(checkpoint: Checkpoint) -> Any:
    """A model of transformers with all its weights; without its pooler where there are none for that.

    Raises:
        ValueError: if weights are missing.
    """
    from transformers import AutoModel

    model, report = AutoModel.from_pretrained(checkpoint.folder, use_safetensors=True, trust_remote_code=False,
                                              local_files_only=True, dtype=torch.float32, output_loading_info=True)
    missing = sorted(report["missing_keys"])
    if missing and all(key.startswith("pooler.") for key in missing):
        model.pooler, missing = None, []
    if missing:
        raise ValueError(f"the weights of {checkpoint.name} lack {len(missing)} of {type(model).__name__}, "
                         f"e.g. {missing[:3]}; a model with random weights in it would say nothing.")
    return model


def weights_hash(model: Any) -> str:
    """Hash of a model's names and values."""
    digest = hashlib.sha256()
    for name, value in model.state_dict().items():
        digest.update(name.encode() + b"\0" + value.cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def timm_package() -> Any:
    """The package timm, imported late."""
    try:
        import timm
        import timm.data
    except ImportError as error:
        raise ImportError('timm models need timm and torchvision: pip install "mmgraph[image]"') from error
    return timm
