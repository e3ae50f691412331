"""What a folder of sentence-transformers says about the way from a text to its vector, and its dense layers."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import normalize

from mmgraph.features.hub import Checkpoint

# How pooling is called in sentence-transformers' settings, in the order in which several are concatenated.
POOLINGS = {"pooling_mode_cls_token": "cls", "pooling_mode_max_tokens": "max", "pooling_mode_mean_tokens": "mean",
            "pooling_mode_mean_sqrt_len_tokens": "mean_sqrt_len_tokens",
            "pooling_mode_weightedmean_tokens": "weightedmean", "pooling_mode_lasttoken": "lasttoken"}
ACTIVATIONS = ("Identity", "Tanh", "ReLU", "GELU", "SiLU", "Sigmoid", "ELU", "LeakyReLU")
PLAIN_TEXT = {"method": "forward", "method_output_name": "last_hidden_state"}
OTHER = ("processing_kwargs", "model_args", "model_kwargs", "tokenizer_args", "processor_kwargs", "config_args",
         "config_kwargs", "query_expansion", "document_length", "truncate_dim")  # settings that change the output


@dataclass(frozen=True)
class Recipe:
    """What a folder says about the way from a text to its vector; the defaults are those of a plain folder.

    Args:
        model: where in the folder the transformer lies.
        max_tokens: length to which texts are cut; None where only the tokeniser and the model say it.
        lower: whether texts are put into lower case first.
        pooling: one or several of `pooled`'s ways.
        include_prompt: whether the prefix's tokens are pooled too.
        layers: after pooling: the place of a dense layer, or None for a normalisation between two.
        normalise: whether a normalisation comes last.
        prompts: the prompts that the folder names.
    """

    model: str = ""
    max_tokens: int | None = None
    lower: bool = False
    pooling: tuple[str, ...] = ("mean",)
    include_prompt: bool = True
    layers: tuple[str | None, ...] = ()
    normalise: bool = False
    prompts: Mapping[str, str] = field(default_factory=dict)


def recipe_of(checkpoint: Checkpoint) -> Recipe:
    """What ``modules.json`` and the settings beside it say; the defaults where there is none.

    Raises:
        ValueError: if it asks for what is not known here.
    """
    if not checkpoint.has("modules.json"):
        return Recipe()
    kinds, places = modules_of(checkpoint)
    if kinds[:2] != ["Transformer", "Pooling"] or not set(kinds[2:]) <= {"Dense", "Normalize"}:
        raise ValueError(f"{checkpoint.name} is made of {kinds}; known are a Transformer, a Pooling, then any number "
                         f"of Dense and Normalize.")
    settings = read(checkpoint, places[0], "sentence_*_config.json")
    if (settings.get("transformer_task", "feature-extraction") != "feature-extraction"
            or settings.get("modality_config", {"text": PLAIN_TEXT}) != {"text": PLAIN_TEXT}):
        raise ValueError(f"{checkpoint.name} is no plain text model: {settings}.")
    pooling = read(checkpoint, places[1], "config.json")
    layers = [checked_layer(checkpoint, *module) for module in zip(kinds[2:], places[2:], strict=True)]
    normalise = bool(layers) and layers[-1] is None
    prompts = read(checkpoint, "", "config_sentence_transformers.json").get("prompts") or {}
    return Recipe(places[0], settings.get("max_seq_length"), bool(settings.get("do_lower_case")),
                  ways_of(checkpoint, pooling), pooling.get("include_prompt", True),
                  tuple(layers[:-1] if normalise else layers), normalise, prompts)


def modules_of(checkpoint: Checkpoint) -> tuple[list[str], list[str]]:
    """Kind and place of each module; a kind that is not of sentence-transformers keeps its full name."""
    kinds, places = [], []
    for module in json.loads((checkpoint.folder / "modules.json").read_text(encoding="utf-8")):
        package, _, kind = str(module["type"]).rpartition(".")
        kinds.append(kind if package.startswith("sentence_transformers.") else module["type"])
        place = str(module["path"])
        if not (checkpoint.folder / place).resolve().is_relative_to(checkpoint.folder.resolve()):
            raise ValueError(f"modules.json of {checkpoint.name} names {place!r}, which lies outside of the folder.")
        places.append(place)
    return kinds, places


def read(checkpoint: Checkpoint, place: str, pattern: str) -> dict[str, Any]:
    """The first settings file of this name in a place of the folder; empty if there is none.

    Raises:
        ValueError: if it holds a setting that changes the output in a way that is not known here.
    """
    files = sorted((checkpoint.folder / place).glob(pattern))
    found = checkpoint.config(files[0].relative_to(checkpoint.folder).as_posix()) if files else {}
    if unknown := {key: found[key] for key in OTHER if found.get(key)}:
        raise ValueError(f"{files[0]} asks for {unknown}, which is not supported; remove it if it does not matter.")
    return found


def checked_layer(checkpoint: Checkpoint, kind: str, place: str) -> str | None:
    """The place of a dense layer, None for a normalisation; each must work on the vector of the whole text."""
    config = read(checkpoint, place, "config.json")
    ends = [config.get(end) or "sentence_embedding" for end in ("module_input_name", "module_output_name")]
    if ends != ["sentence_embedding"] * 2:
        raise ValueError(f"{checkpoint.name}: {kind} from {ends[0]} to {ends[1]} is not supported.")
    if kind == "Normalize":
        return None
    activation_of(config)
    if not checkpoint.has(f"{place}/model.safetensors"):
        raise ValueError(f"{checkpoint.name}: {place} has no model.safetensors; other formats can execute code.")
    return place


def ways_of(checkpoint: Checkpoint, config: Mapping[str, Any]) -> tuple[str, ...]:
    """The ways of pooling that a folder asks for, in the order in which they are concatenated."""
    named = config.get("pooling_mode") or [way for key, way in POOLINGS.items() if config.get(key)] or "mean"
    ways = (named,) if isinstance(named, str) else tuple(named)
    if unknown := set(ways) - set(POOLINGS.values()):
        raise ValueError(f"{checkpoint.name} asks for pooling by {sorted(unknown)}, known are {[*POOLINGS.values()]}.")
    return ways


def layer_of(checkpoint: Checkpoint, place: str | None) -> nn.Module:
    """A dense layer with its weights, or a normalisation."""
    if place is None:
        return Unit()
    from safetensors.torch import load_file

    layer = Dense(checkpoint.config(f"{place}/config.json"))
    layer.load_state_dict(load_file(checkpoint.folder / place / "model.safetensors"))
    return layer


class Unit(nn.Module):
    """Scales rows to unit length."""

    def forward(self, x: Float[Tensor, "batch dim"]) -> Float[Tensor, "batch dim"]:
        return normalize(x, dim=1)


class Dense(nn.Module):
    """A linear layer with an activation, as sentence-transformers stores it; with a residual where it asks for one."""

    def __init__(self, config: Mapping[str, Any]):
        super().__init__()
        size, width = config["in_features"], config["out_features"]
        self.linear = nn.Linear(size, width, bias=config.get("bias", True))
        self.activation = activation_of(config)()
        self.residual: nn.Module | None = None
        if config.get("use_residual"):
            self.residual = nn.Identity() if size == width else nn.Linear(size, width, bias=False)

    def forward(self, x: Float[Tensor, "batch size"]) -> Float[Tensor, "batch width"]:
        projected = self.activation(self.linear(x))
        return projected if self.residual is None else projected + self.residual(x)


def activation_of(config: Mapping[str, Any]) -> type[nn.Module]:
    """The activation that a dense layer's settings name, by its name only: a settings file must not import things."""
    package, _, name = str(config.get("activation_function", "torch.nn.Tanh")).rpartition(".")
    if not package.startswith("torch.nn") or name not in ACTIVATIONS:
        raise ValueError(f"the activation {package}.{name} is not known, only torch's {list(ACTIVATIONS)}.")
    return getattr(nn, name)
