"""Pretrained audio models of transformers: a recording in windows, one vector for each recording."""

import os
from collections.abc import Sequence
from math import ceil, inf
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.nn.functional import pad

from mmgraph.features.hub import Checkpoint, locate
from mmgraph.features.pretrained_torchaudio import TorchaudioAudio
from mmgraph.features.windowed_audio import WINDOW, WindowedAudio, layer_number, least, n_frames

__all__ = ["TorchaudioAudio", "TransformerAudio"]

MASKED = ("wav2vec2", "hubert", "wavlm", "unispeech", "unispeech-sat")  # a mask can keep padding out of these
WAVES = (*MASKED, "wav2vec2-conformer", "data2vec-audio")
AST, WHISPER = "audio-spectrogram-transformer", "whisper"
FRAME, SHIFT = 25, 10  # ms, of the spectrograms that AST sees
TRAINING = {"masked_spec_embed"}  # weights that only training uses


class TransformerAudio(WindowedAudio):
    """An audio model of transformers: wav2vec 2.0 and its kin, HuBERT, WavLM; AST; the encoder of Whisper.

    Args:
        name: ``"provider/model"`` or a local folder, see `locate`.
        pooling: "mean" over the frames (of AST: the patches) that hold sound; "pooled": what AST itself makes of its
            two class tokens, the default there.
        layer: 0 is what enters the first layer, -1 the model's output.
        window_seconds: by default 30, for AST and Whisper the length they take.
        max_seconds: only the beginning is read.
        revision: branch, tag or commit on the hub.

    Raises:
        ValueError: if the model is of another type or an argument out of range.
        FileNotFoundError: if there is no such model.
        ConnectionError: if it is not here and the hub cannot be reached.

    Source: Baevski et al. 2020, arXiv:2006.11477; Hsu et al. 2021, arXiv:2106.07447; Chen et al. 2021,
    arXiv:2110.13900; Gong et al. 2021, arXiv:2104.01778; Radford et al. 2022, arXiv:2212.04356.
    """

    libraries: ClassVar[tuple[str, ...]] = ("transformers", "torchaudio", "soundfile", "scipy")

    def __init__(self, name: str | os.PathLike[str], *, pooling: str | None = None, layer: int = -1,
                 window_seconds: float | None = None, max_seconds: float = 120.0, revision: str | None = None):
        self.checkpoint = locate(name, revision=revision)
        self.kind = str(self.checkpoint.config().get("model_type"))
        if self.kind not in (*WAVES, AST, WHISPER):
            raise ValueError(f"{name} is a model of type {self.kind!r}; audio encoders are {[*WAVES, AST, WHISPER]}.")
        self.config, self.extract = settings_of(self.checkpoint)
        self.pooling = pooling or ("pooled" if self.kind == AST else "mean")
        if self.pooling not in ("mean", "pooled") or (self.pooling == "pooled" and self.kind != AST):
            raise ValueError(f"pooling must be 'mean', or for AST 'pooled'; got {pooling!r} for a {self.kind}.")
        rate, longest = self.extract.sampling_rate, self._longest()
        if window_seconds is not None and window_seconds > longest:
            raise ValueError(f"window_seconds must be at most {longest} for this {self.kind}, got {window_seconds}.")
        super().__init__(str(name), self.config.hidden_size, rate,
                         min(longest, WINDOW) if window_seconds is None else window_seconds, max_seconds,
                         layer_number(layer, 0, self.config.num_hidden_layers))

    def settings(self) -> dict[str, Any]:
        return {"weights": self.checkpoint.sha256, "pooling": self.pooling, "layer": self.layer,
                "window_seconds": self.window_seconds, "max_seconds": self.max_seconds}

    def _longest(self) -> float:
        """Seconds of sound that the model's input holds."""
        if self.kind == WHISPER:
            return float(self.extract.chunk_length)
        return ((self.extract.max_length - 1) * SHIFT + FRAME) / 1000 if self.kind == AST else inf

    def _prepared(self, wave: Tensor) -> Tensor:
        if self.kind == AST:  # one frame needs so much
            wave = pad(wave, (0, max(0, ceil(FRAME * self.sample_rate / 1000) - len(wave))))
        found = self.extract(wave.numpy(), sampling_rate=self.sample_rate, return_tensors="pt")
        ready: Tensor = found["input_features" if self.kind == WHISPER else "input_values"][0]
        return pad(ready, (0, max(0, least(self._steps()) - len(ready)))) if self.kind in WAVES else ready

    def _steps(self) -> list[tuple[int, int]]:
        return list(zip(self.config.conv_kernel, self.config.conv_stride, strict=True))

    def _tokens(self, samples: int) -> Any:
        """Which of a window's hidden states are averaged: those of sound, not of padding."""
        if self.kind in WAVES:
            return slice(n_frames(max(samples, least(self._steps())), self._steps()))
        if self.kind == WHISPER:  # its second convolution halves the frames
            return slice(ceil(samples / (2 * self.extract.hop_length)))
        if self.pooling == "pooled":
            return slice(2)
        size, config = self.config.patch_size, self.config
        times = (config.max_length - size) // config.time_stride + 1
        heard = ceil(samples * 1000 / (SHIFT * self.sample_rate * config.time_stride))
        bands = (config.num_mel_bins - size) // config.frequency_stride + 1
        return [2 + band * times + time for band in range(bands) for time in range(min(heard, times))]

    @property
    def _mixes(self) -> bool:
        # A group norm over time sees the padding; so do the convolutions between the layers of conformers.
        return self.kind not in WAVES or (self.kind in MASKED and self.config.feat_extract_norm == "layer")

    def _rows(self, model: Any, windows: Sequence[tuple[Tensor, int]]) -> Tensor:
        longest = max(x.shape[-1] for x, _ in windows)
        inputs = torch.stack([pad(x, (0, longest - x.shape[-1])) for x, _ in windows]).to(self.device)
        masks = {}
        if self.kind in WAVES and any(len(x) < longest for x, _ in windows):
            lengths = torch.tensor([len(x) for x, _ in windows], device=self.device)
            masks["attention_mask"] = (torch.arange(longest, device=self.device) < lengths[:, None]).long()
        last = self.layer == self.config.num_hidden_layers
        found = model(inputs, output_hidden_states=not last, **masks)
        states = found.last_hidden_state if last else found.hidden_states[self.layer]
        return torch.stack([x[self._tokens(n)].float().mean(0) for x, (_, n) in zip(states, windows, strict=True)])

    def _load(self) -> Any:
        from transformers import AutoModel

        model, report = AutoModel.from_pretrained(
            self.checkpoint.folder, dtype=torch.float32, use_safetensors=True, trust_remote_code=False,
            local_files_only=True, output_loading_info=True)
        if missing := sorted(set(report["missing_keys"]) - TRAINING):
            raise ValueError(f"{self.name} lacks weights of a {self.kind}: {missing[:5]}; fetch the model again.")
        return model.get_encoder() if self.kind == WHISPER else model


def settings_of(checkpoint: Checkpoint) -> tuple[Any, Any]:
    """A model's configuration and what turns a wave into its input.

    Raises:
        ImportError: if a package is missing.
        ValueError: if the model has an adapter, which changes the number of frames.
    """
    try:
        import torchaudio  # noqa: F401 - without it transformers computes other spectrograms
        from transformers import AutoConfig, AutoFeatureExtractor
    except ImportError as error:
        raise ImportError('audio models need transformers and torchaudio: pip install "mmgraph[audio]"') from error
    checkpoint.config("preprocessor_config.json")  # says what is wrong with it
    config = AutoConfig.from_pretrained(checkpoint.folder, local_files_only=True, trust_remote_code=False)
    if getattr(config, "add_adapter", False):
        raise ValueError(f"{checkpoint.name} has an adapter after its encoder, which is not supported.")
    return config, AutoFeatureExtractor.from_pretrained(checkpoint.folder, local_files_only=True,
                                                        trust_remote_code=False)
