"""Pretrained audio models of torchaudio's pipelines: wav2vec 2.0, HuBERT, WavLM."""

import hashlib
import os
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar
from urllib.request import urlopen

import torch
from jaxtyping import Float
from safetensors.torch import load_file
from torch import Tensor
from torch.nn.functional import layer_norm, pad

from mmgraph.features.hub import NO_DOWNLOAD
from mmgraph.features.windowed_audio import WINDOW, WindowedAudio, layer_number, least, n_frames

ADDRESS = "https://download.pytorch.org/torchaudio/models/"


class TorchaudioAudio(WindowedAudio):
    """A model of ``torchaudio.pipelines``, e.g. "WAV2VEC2_BASE", "HUBERT_LARGE", "WAVLM_BASE_PLUS".

    Its row is the mean over time of one layer's output. Downloaded weights are torch files; they are read by torch's
    restricted loader, which takes tensors only and executes nothing.

    Args:
        bundle: name of the pipeline.
        layer: 1 is the first layer's output, -1 the last one's.
        weights: a safetensors file with the state of the pipeline's model. If not given, they are taken from torch
            hub's cache or downloaded into it.
        window_seconds: length of a window.
        max_seconds: only the beginning is read.

    Raises:
        ValueError: if there is no such pipeline or an argument is out of range.
        FileNotFoundError: if the weights' file is not there.
        ConnectionError: if they cannot be downloaded.

    Source: Baevski et al. 2020, arXiv:2006.11477; Hsu et al. 2021, arXiv:2106.07447; Chen et al. 2021,
    arXiv:2110.13900.
    """

    libraries: ClassVar[tuple[str, ...]] = ("torchaudio", "soundfile", "scipy")

    def __init__(self, bundle: str, *, layer: int = -1, weights: str | os.PathLike[str] | None = None,
                 window_seconds: float = WINDOW, max_seconds: float = 120.0):
        found = bundle_of(bundle)
        self.model_type, self.normalize = str(found._model_type), bool(found._normalize_waveform)
        self.params = {**found._params, "aux_num_out": None}  # the letters of a speech recogniser are not needed
        super().__init__(bundle, self.params["encoder_embed_dim"], int(found.sample_rate), window_seconds, max_seconds,
                         layer_number(layer, 1, self.params["encoder_num_layers"]))
        self.file = fetched(found._path) if weights is None else safetensors_file(weights)

    def settings(self) -> dict[str, Any]:
        return {"bundle": self.name, "weights": self._sha256, "layer": self.layer,
                "window_seconds": self.window_seconds, "max_seconds": self.max_seconds}

    @cached_property
    def _sha256(self) -> str:
        with open(self.file, "rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()

    def _steps(self) -> list[tuple[int, int]]:
        return [(kernel, stride) for _, kernel, stride in self.params["extractor_conv_layer_config"]]

    def _prepared(self, wave: Float[Tensor, " samples"]) -> Float[Tensor, " padded"]:
        ready = layer_norm(wave, wave.shape) if self.normalize else wave
        return pad(ready, (0, max(0, least(self._steps()) - len(wave))))

    @property
    def _mixes(self) -> bool:
        # A group norm over time sees the padding, and torchaudio's WavLM takes no mask.
        return self.model_type == "Wav2Vec2" and self.params["extractor_mode"] == "layer_norm"

    def _rows(self, model: Any, windows: Sequence[tuple[Tensor, int]]) -> Float[Tensor, "windows dim"]:
        longest = max(len(x) for x, _ in windows)
        waves = torch.stack([pad(x, (0, longest - len(x))) for x, _ in windows]).to(self.device)
        uneven = any(len(x) < longest for x, _ in windows)
        lengths = torch.tensor([len(x) for x, _ in windows], device=self.device) if uneven else None
        states = model.extract_features(waves, lengths, self.layer)[0][-1]
        return torch.stack([x[:n_frames(len(wave), self._steps())].float().mean(0)
                            for x, (wave, _) in zip(states, windows, strict=True)])

    def _load(self) -> Any:
        from torchaudio import models

        model = (models.wavlm_model if self.model_type == "WavLM" else models.wav2vec2_model)(**self.params)
        state = {name: value for name, value in state_of(self.file).items() if not name.startswith("aux.")}
        try:
            model.load_state_dict(state)
        except RuntimeError as error:
            raise ValueError(f"the weights in {self.file} are not those of {self.name}: {error}") from error
        return model


def bundle_of(name: str) -> Any:
    """A pipeline of torchaudio by its name.

    Raises:
        ValueError: if there is none.
        ImportError: if torchaudio is missing.
    """
    try:
        from torchaudio import pipelines
    except ImportError as error:
        raise ImportError('audio pipelines need torchaudio: pip install "mmgraph[audio]"') from error
    known = {key: value for key, value in vars(pipelines).items() if isinstance(value, pipelines.Wav2Vec2Bundle)}
    if name not in known:
        raise ValueError(f"torchaudio has no pipeline {name!r} that encodes audio, only {sorted(known)}.")
    return known[name]


def safetensors_file(weights: str | os.PathLike[str]) -> Path:
    """A local file of weights.

    Raises:
        FileNotFoundError: if it is not there.
        ValueError: if it is no safetensors file.
    """
    file = Path(weights).expanduser()
    if file.suffix != ".safetensors":
        raise ValueError(f"{file} is not a safetensors file; other formats can execute code and are not read.")
    if not file.is_file():
        raise FileNotFoundError(f"there are no weights at {file}.")
    return file


def fetched(path: str) -> Path:
    """The file with a pipeline's weights in torch hub's cache, where it is downloaded if need be.

    Args:
        path: address, or file name at torchaudio's own.

    Raises:
        ConnectionError: if it cannot be downloaded; at once, naming the cache and what needs no download.
    """
    url = path if "://" in path else ADDRESS + path
    folder = Path(torch.hub.get_dir()) / "checkpoints"
    file = folder / url.rsplit("/", 1)[-1]
    if file.is_file():
        return file
    try:
        with urlopen(url, timeout=5):  # one short request before the download, which knows no limit
            folder.mkdir(parents=True, exist_ok=True)
        torch.hub.download_url_to_file(url, str(file))  # writes beside it and renames
    except OSError as error:
        raise ConnectionError(f"{url} is not in the cache {folder} and cannot be downloaded ({error}). Put it there "
                              f"on a machine with a network, pass weights=, or use what needs no download: "
                              f"{NO_DOWNLOAD}.") from error
    return file


def state_of(file: Path) -> dict[str, Tensor]:
    """The tensors in a file of weights.

    Raises:
        ValueError: if it holds anything else or is damaged.
    """
    try:
        if file.suffix == ".safetensors":
            return load_file(file)
        return torch.hub.load_state_dict_from_url(file.resolve().as_uri(), str(file.parent), map_location="cpu",
                                                  file_name=file.name, weights_only=True)
    except Exception as error:  # the restricted loader raises its own errors on what is not a tensor
        raise ValueError(f"{file} is damaged or holds more than tensors ({error}); remove it.") from error
