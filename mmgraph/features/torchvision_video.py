"""Clip models of torchvision: convolutions and transformers trained to tell what people do."""

import contextlib
import hashlib
import os
import sys
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from mmgraph.features.clip_model import ClipModel
from mmgraph.features.decode_video import MAX_PIXELS
from mmgraph.features.hub import NO_DOWNLOAD

ARCHITECTURES: Mapping[str, tuple[int, int]] = {  # frames of a clip, width of the penultimate layer
    "r3d_18": (16, 512), "mc3_18": (16, 512), "r2plus1d_18": (16, 512), "mvit_v1_b": (16, 768), "mvit_v2_s": (16, 768),
    "swin3d_t": (32, 768)}


class TorchvisionVideo(ClipModel):
    """A clip model of torchvision up to its penultimate layer, with the preprocessing of its published weights.

    Args:
        architecture: one of `ARCHITECTURES`.
        weights: a safetensors file with a state dict; without it those that torchvision publishes (Kinetics-400), from
            torch hub's cache or its address, read by torch's restricted loader, which executes nothing.
        clips: clips per film.
        max_pixels: films with larger frames are unreadable.

    Raises:
        ValueError: if there is no such architecture, or ``weights`` is not in safetensors.
        FileNotFoundError: if ``weights`` is not there.
        ConnectionError: at the first `encode`, if weights must be downloaded and cannot be.
    """

    def __init__(self, architecture: str, *, weights: str | os.PathLike[str] | None = None, clips: int = 1,
                 max_pixels: int = MAX_PIXELS):
        if architecture not in ARCHITECTURES:
            raise ValueError(f"architecture must be one of {sorted(ARCHITECTURES)}, got {architecture!r}.")
        super().__init__(f"torchvision/{architecture}", *ARCHITECTURES[architecture], clips, max_pixels)
        self.architecture = architecture
        self.seed: int | None = None
        self.weights = None if weights is None else _checked(Path(weights).expanduser())
        self.published = _video_models().get_model_weights(architecture).DEFAULT
        self.preset = self.published.transforms()

    @classmethod
    def untrained(cls, architecture: str, seed: int = 0) -> "TorchvisionVideo":
        """One with random weights, the same for the same seed; for tests and benchmarks."""
        encoder = cls(architecture)
        encoder.seed = seed
        return encoder

    def settings(self) -> dict[str, Any]:
        return {"architecture": self.architecture, "n_frames": self.n_frames, "clips": self.clips,
                "max_pixels": self.max_pixels, "weights": self._origin}

    @cached_property
    def _origin(self) -> str:
        if self.seed is not None:
            return f"untrained, seed {self.seed}"
        return _sha256(self.weights) if self.weights else self.published.url.rpartition("/")[2]  # the name has its hash

    def prepare(self, frame: UInt8[Tensor, "3 h w"]) -> UInt8[Tensor, "3 height width"]:
        from torchvision.transforms import functional

        resized = functional.resize(frame, self.preset.resize_size, self.preset.interpolation, antialias=False)
        return functional.center_crop(resized, self.preset.crop_size)

    def load(self) -> Any:
        """The model without its classifier.

        Raises:
            ConnectionError: if its weights must be downloaded and cannot be.
            ValueError: if the weights are not of this architecture.
        """
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed or 0)
            model = _video_models().get_model(self.architecture, weights=None)
        if self.seed is None:
            state = _load_safetensors(self.weights) if self.weights else fetched(self.published.url)
            try:
                model.load_state_dict(state)
            except RuntimeError as error:
                raise ValueError(f"{self.weights or self.published.url} does not hold {self.architecture}: "
                                 f"{error}") from error
        setattr(model, "fc" if hasattr(model, "fc") else "head", torch.nn.Identity())
        return model

    def rows(self, model: Any, clips: UInt8[Tensor, "clips frames 3 height width"]) -> Float[Tensor, "clips dim"]:
        mean, std = (torch.tensor(x, device=clips.device)[:, None, None] for x in (self.preset.mean, self.preset.std))
        return model(((clips / 255 - mean) / std).transpose(1, 2))


def fetched(url: str) -> Mapping[str, Tensor]:
    """Published weights from torch hub's cache, or downloaded into it; the hash in their name is checked.

    Raises:
        ConnectionError: if they must be downloaded and cannot be.
        ValueError: if the file in the cache is damaged.
    """
    file = Path(torch.hub.get_dir()) / "checkpoints" / url.rpartition("/")[2]
    try:
        if not file.exists():
            urlopen(Request(url, method="HEAD"), timeout=5).close()  # one short request before the download
        elif not _sha256(file).startswith(file.stem.rpartition("-")[2]):
            raise ValueError(f"{file} is damaged: its hash is not the one in its name; remove it.")
        with contextlib.redirect_stdout(sys.stderr):  # it tells of the download
            return torch.hub.load_state_dict_from_url(url, map_location="cpu", check_hash=True, weights_only=True)
    except OSError as error:
        raise ConnectionError(f"{file.name} is not in torch hub's cache {file.parent} and cannot be downloaded "
                              f"({error}). Put it there on a machine with a network, give weights=file.safetensors, "
                              f"or use what needs no download: {NO_DOWNLOAD}.") from error


def _checked(file: Path) -> Path:
    if not file.is_file():
        raise FileNotFoundError(f"there are no weights at {file}.")
    if file.suffix != ".safetensors":
        raise ValueError(f"{file} is not in safetensors; other formats can execute code and are not read. "
                         f"safetensors.torch.save_file(model.state_dict(), file) writes it.")
    return file


def _load_safetensors(file: Path) -> Mapping[str, Tensor]:
    from safetensors.torch import load_file

    return load_file(file)


def _sha256(file: Path) -> str:
    with open(file, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _video_models() -> Any:
    try:
        from torchvision import models
    except ImportError as error:
        raise ImportError('models of clips are run by torchvision: pip install "mmgraph[video,image]"') from error
    return models
