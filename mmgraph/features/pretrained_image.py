"""What pretrained vision models see in an image: any model of timm, any vision model of transformers."""

import copy
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from typing import Any, ClassVar, Literal

import torch
from jaxtyping import Float, UInt8
from PIL import Image
from torch import Tensor

from mmgraph.features.decode_image import MAX_PIXELS, read_image
from mmgraph.features.hub import locate
from mmgraph.features.lazy import Lazy
from mmgraph.features.pixels import (
    Pixels,
    cells,
    image_processor,
    is_blank,
    plain,
    preprocessing,
    processed,
    spatial,
    trimmed,
)
from mmgraph.features.vision_weights import (
    Untrained,
    described,
    timm_package,
    transformer,
    weights_hash,
    with_weights,
)

Feature = Literal["pooled", "map"]


class PretrainedImage(ABC):
    """A vision model with its preprocessing; its weights are loaded when ``model`` is first used.

    Pictures are scaled and cropped as the model's settings say; of those longer than 64 times their width only the
    middle is used.
    """

    modality = "image"
    libraries: ClassVar[tuple[str, ...]] = ("pillow",)
    _model = Lazy[Any]()

    def __init__(self, name: str, pixels: Pixels, max_pixels: int):
        if max_pixels < 1:
            raise ValueError(f"max_pixels must be at least 1, got {max_pixels}.")
        self.name, self.pixels, self.max_pixels = name, pixels, max_pixels
        self.device = torch.device("cpu")

    @abstractmethod
    def settings(self) -> dict[str, Any]: ...

    @abstractmethod
    def load(self) -> Any:
        """The model with its weights, on the CPU."""

    @abstractmethod
    def forward(self, x: Float[Tensor, "batch 3 height width"]) -> Float[Tensor, "batch dim"]:
        """The rows of normalised pictures."""

    @property
    def model(self) -> Any:
        """The model on its device, in evaluation mode; loaded once, whoever asks first."""
        return PretrainedImage._model.once(self, lambda: self.load().eval().to(self.device))

    def to(self, device: torch.device | str) -> "PretrainedImage":
        if torch.device(device) == self.device:
            return self
        moved = copy.copy(self)
        moved.device = torch.device(device)
        return moved

    def decode(self, content: str | bytes) -> UInt8[Tensor, "3 height width"]:
        """The image upright, on white where transparent, scaled and cropped for the model; not yet normalised."""
        return self.prepare(read_image(content, self.max_pixels, at_least=self.pixels.enough))

    def prepare(self, picture: Image.Image) -> UInt8[Tensor, "3 height width"]:
        return self.pixels.scaled(trimmed(picture))

    def remark(self, decoded: UInt8[Tensor, "3 height width"]) -> str | None:
        return "blank image" if is_blank(decoded.flatten(1)) else None

    def fit(self, decoded: Iterable[Any]) -> "PretrainedImage":
        return self

    def encode(self, batch: Sequence[UInt8[Tensor, "3 height width"]]) -> Float[Tensor, "batch dim"]:
        if not batch:
            return self.encode([self.prepare(Image.new("RGB", (8, 8)))])[:0]
        with torch.inference_mode():
            return self.rows(batch)

    def rows(self, batch: Sequence[UInt8[Tensor, "3 height width"]]) -> Float[Tensor, "batch dim"]:
        """As `encode`, with gradients."""
        return self.forward(self.pixels.normalised(torch.stack(list(batch)).to(self.device))).float()


class TimmImage(PretrainedImage):
    """Features of any timm model, from its folder (``config.json``, ``model.safetensors``) or the hub ("timm/…").

    Args:
        name: a local folder or ``"timm/model"``; or an `Untrained` architecture.
        features: "pooled" (what the classifier would see), or "map": the last feature map, averaged to ``grid`` cells
            per side and flattened, channels slowest.
        grid: cells per side of "map".
        max_pixels: larger images are unreadable.
        revision: branch, tag or commit on the hub.

    Raises:
        ValueError: if an argument is out of range or the folder is not one of timm's.
    """

    libraries: ClassVar[tuple[str, ...]] = ("timm", "torchvision", "pillow")

    def __init__(self, name: str | Untrained, *, features: Feature = "pooled", grid: int = 2,
                 max_pixels: int = MAX_PIXELS, revision: str | None = None):
        timm = timm_package()
        check_features(features, grid)
        self.features, self.grid = features, grid
        self.source = name if isinstance(name, Untrained) else locate(name, revision=revision)
        self.architecture, known = described(timm, self.source)
        self.preprocessing = plain(timm.data.resolve_data_config(pretrained_cfg=known))
        if self.preprocessing["input_size"][0] != 3:
            raise ValueError(f"{name} takes {self.preprocessing['input_size'][0]} channels; only models of colour "
                             f"images can be used.")
        scaled = timm.data.create_transform(**self.preprocessing, is_training=False, normalize=False)
        side = round(max(self.preprocessing["input_size"][1:]) / self.preprocessing["crop_pct"])
        pixels = Pixels(scaled, side, self.preprocessing["mean"], self.preprocessing["std"])
        super().__init__(self.architecture if isinstance(name, Untrained) else str(name), pixels, max_pixels)

    @classmethod
    def untrained(cls, architecture: str, *, seed: int = 0, features: Feature = "pooled", grid: int = 2) -> "TimmImage":
        """Random weights, for benchmarks and tests."""
        return cls(Untrained(architecture, seed), features=features, grid=grid)

    def settings(self) -> dict[str, Any]:
        if isinstance(self.source, Untrained):
            weights = {"seed": self.source.seed, "weights": weights_hash(self.model)}
        else:
            weights = {"weights": self.source.sha256}
        return {"architecture": self.architecture, "preprocessing": self.preprocessing,
                **chosen(self.features, self.grid), "jpeg_draft": self.pixels.enough,
                "max_pixels": self.max_pixels, **weights}

    def load(self) -> Any:
        timm = timm_package()
        if isinstance(self.source, Untrained):
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(self.source.seed)
                return timm.create_model(self.architecture, pretrained=False, num_classes=0)
        model = timm.create_model(f"local-dir:{self.source.folder}", pretrained=False, num_classes=0)
        return with_weights(model, self.source)

    def forward(self, x: Float[Tensor, "batch 3 height width"]) -> Float[Tensor, "batch dim"]:
        if self.features == "pooled":
            return self.model(x)
        if not hasattr(self.model, "forward_intermediates"):
            raise ValueError(f"{self.architecture} has no feature map; use features='pooled'.")
        maps = self.model.forward_intermediates(x, indices=1, norm=True, output_fmt="NCHW", intermediates_only=True)
        return cells(maps[-1], self.grid)


class TransformerImage(PretrainedImage):
    """Features of any vision model of transformers (ViT, DINOv2, ResNet, ConvNeXt, Swin, …).

    Pictures are scaled by the model's own processor in its Pillow form, which gives the same bytes whether or not
    torchvision is there.

    Args:
        name: a local folder or ``"provider/model"``.
        features: "pooled": the model's pooled output, or, if it has none or no weights for it, the mean over its
            patches. "map": the last feature map, averaged to ``grid`` cells per side and flattened, channels slowest.
        grid: cells per side of "map".
        max_pixels: larger images are unreadable.
        revision: branch, tag or commit on the hub.

    Raises:
        ValueError: if an argument is out of range or the model is not one of images alone.
        FileNotFoundError: if the folder does not say how images are prepared.
    """

    libraries: ClassVar[tuple[str, ...]] = ("transformers", "pillow")

    def __init__(self, name: str, *, features: Feature = "pooled", grid: int = 2, max_pixels: int = MAX_PIXELS,
                 revision: str | None = None):
        check_features(features, grid)
        self.features, self.grid = features, grid
        self.checkpoint = locate(name, revision=revision)
        self.config = self.checkpoint.config()
        if "text_config" in self.config:
            raise ValueError(f"{name} ({self.config.get('model_type')}) has a text tower too; use Joint(name).image.")
        self.processor = image_processor(self.checkpoint)
        super().__init__(str(name), processed(self.processor), max_pixels)

    def settings(self) -> dict[str, Any]:
        return {"model": self.config.get("model_type"), "preprocessing": preprocessing(self.processor),
                **chosen(self.features, self.grid), "jpeg_draft": self.pixels.enough, "max_pixels": self.max_pixels,
                "weights": self.checkpoint.sha256}

    def load(self) -> Any:
        return transformer(self.checkpoint)

    def forward(self, x: Float[Tensor, "batch 3 height width"]) -> Float[Tensor, "batch dim"]:
        out = self.model(pixel_values=x)
        if self.features == "pooled" and getattr(out, "pooler_output", None) is not None:
            return out.pooler_output.flatten(1)
        found = spatial(out.last_hidden_state, self.config, (x.shape[2], x.shape[3]))
        return found.mean((2, 3)) if self.features == "pooled" else cells(found, self.grid)


def check_features(features: str, grid: int) -> None:
    """Refuse features that there are not."""
    if features not in ("pooled", "map") or grid < 1:
        raise ValueError(f"features must be 'pooled' or 'map' and grid at least 1, got {features!r} and {grid}.")


def chosen(features: Feature, grid: int) -> dict[str, Any]:
    """The features as settings; the grid of pooled ones does not matter."""
    return {"features": features} | ({"grid": grid} if features == "map" else {})
