"""Pictures as input of vision models: scaled as bytes, normalised by the batch; and what becomes of their output."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from math import ceil
from typing import Any

import torch
from jaxtyping import Float, Shaped
from PIL import Image
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d

from mmgraph.features.hub import Checkpoint

LONGEST = 64  # models scale the short side to a fixed length: a line of pixels would become a giant


@dataclass(frozen=True)
class Pixels:
    """How a picture becomes a model's input: scaled as bytes by `decode`, which travel; normalised by the batch.

    Args:
        scaled: an RGB picture → 8-bit tensor (3, height, width), the same size for all.
        side: length to which the short (or every) side is scaled, if known; JPEG need only be read at twice it.
        mean: per channel, of pixels in [0, 1] after ``factor``.
        std: likewise.
        factor: what bytes are multiplied by.
    """

    scaled: Callable[[Image.Image], Tensor]
    side: int | None
    mean: Sequence[float]
    std: Sequence[float]
    factor: float = 1 / 255

    @property
    def enough(self) -> int | None:
        return None if self.side is None else 2 * self.side

    def normalised(self, x: Tensor) -> Float[Tensor, "..."]:
        """``(factor * x - mean) / std``; channels are the third axis from the end."""
        mean, std = (torch.tensor(each, dtype=torch.float64).view(-1, 1, 1) for each in (self.mean, self.std))
        slope, shift = (self.factor / std).float(), (-mean / std).float()
        return x.float().mul_(slope.to(x.device)).add_(shift.to(x.device))


def trimmed(picture: Image.Image) -> Image.Image:
    """The picture; its middle, if it is longer than 64 times its width."""
    width, height = picture.size
    most = LONGEST * min(width, height)
    if max(width, height) <= most:
        return picture
    left, top = max(width - most, 0) // 2, max(height - most, 0) // 2
    return picture.crop((left, top, left + min(width, most), top + min(height, most)))


def is_blank(values: Shaped[Tensor, "channels pixels"]) -> bool:
    """Whether every channel is constant."""
    return bool((values == values[:, :1]).all())


def cells(maps: Float[Tensor, "batch channels height width"], grid: int) -> Float[Tensor, "batch dim"]:
    """The means of grid × grid cells, flattened, channels slowest.

    Raises:
        ValueError: if the map is smaller than the grid.
    """
    if min(maps.shape[2:]) < grid:
        raise ValueError(f"the feature map has {maps.shape[2]}x{maps.shape[3]} cells, fewer than grid={grid}.")
    return adaptive_avg_pool2d(maps, grid).flatten(1)


def spatial(last: Float[Tensor, "..."], config: Mapping[str, Any],
            size: tuple[int, int]) -> Float[Tensor, "batch channels height width"]:
    """The last hidden state of a vision model as a map: patch tokens in their places, others left out.

    Args:
        last: a map already, or (batch, tokens, channels).
        config: the model's settings.
        size: of the input, in pixels.

    Raises:
        ValueError: if it cannot be known where the tokens lie.
    """
    if last.ndim == 4:
        return last
    patch = config.get("patch_size")
    if last.ndim != 3 or not patch:
        raise ValueError(f"the output of {config.get('model_type')} is no map, of shape {tuple(last.shape)}; use a "
                         f"model with a pooled output, and features='pooled'.")
    steps = (patch, patch) if isinstance(patch, int) else tuple(patch)[-2:]
    height, width = size[0] // steps[0], size[1] // steps[1]
    while height * width > last.shape[1]:  # each stage of a hierarchical model halves the map
        height, width = ceil(height / 2), ceil(width / 2)
    extra = last.shape[1] - height * width
    if extra > 2 + config.get("num_register_tokens", 0):
        raise ValueError(f"{config.get('model_type')} gives {last.shape[1]} tokens for {height}x{width} patches; where "
                         f"they lie is not known, use features='pooled'.")
    return last[:, extra:].transpose(1, 2).unflatten(2, (height, width))


def image_processor(checkpoint: Checkpoint) -> Any:
    """A model's own image processor, in its Pillow form.

    Raises:
        FileNotFoundError: if the folder has none.
    """
    try:
        from transformers import AutoImageProcessor
    except ImportError as error:
        raise ImportError('models of transformers need it: pip install "mmgraph[text]"') from error
    if not (checkpoint.has("preprocessor_config.json") or checkpoint.has("processor_config.json")):
        raise FileNotFoundError(f"{checkpoint.name} does not say how images are prepared: preprocessor_config.json is "
                                f"missing; AutoImageProcessor.from_pretrained(…).save_pretrained(folder) writes it.")
    return AutoImageProcessor.from_pretrained(checkpoint.folder, backend="pil", trust_remote_code=False,
                                              local_files_only=True)


def processed(processor: Any) -> Pixels:
    """Preprocessing by a processor of transformers, its last two steps (rescale, normalise) put off."""
    size = dict(processor.size or {})
    sides = [size[key] for key in ("shortest_edge", "height", "width") if size.get(key)]
    mean, std = (processor.image_mean, processor.image_std) if processor.do_normalize else ((0.0,) * 3, (1.0,) * 3)
    factor = processor.rescale_factor if processor.do_rescale else 1.0
    return Pixels(partial(scaled_by, processor), max(sides, default=None), tuple(mean), tuple(std), factor)


def scaled_by(processor: Any, picture: Image.Image) -> Tensor:
    """A picture scaled and cropped, not rescaled or normalised."""
    return processor(images=picture, do_rescale=False, do_normalize=False, return_tensors="pt")["pixel_values"][0]


def preprocessing(processor: Any) -> dict[str, Any]:
    """A processor's settings; its class first, as it decides how pictures are scaled."""
    known = plain({k: v for k, v in processor.to_dict().items() if k != "processor_class" and not k.startswith("_")})
    return {"class": type(processor).__name__} | known


def plain(settings: Any) -> dict[str, Any]:
    """As JSON would return it."""
    return json.loads(json.dumps(settings))
