"""What a recording sounds like, without a pretrained model: its spectrum, its timbre, and how they change."""

from collections.abc import Iterable, Sequence
from math import inf
from typing import Any, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from mmgraph.features.decode_audio import RATES, is_silent, read_audio

QUIET = 1e-6  # mel energies well below this count as silence


class ClassicalAudio:
    r"""Statistics over time of log-mel bands and of mel-frequency cepstral coefficients (MFCC). Learns nothing.

    .. math:: l = \ln(1 + E / 10^{-6}), \qquad c = \mathrm{DCT}(l)

    :math:`E`: energy by mel band and window. Three blocks, each of unit length: mean and deviation of :math:`l`
    (2 n_mels), mean and deviation of :math:`c` (2 n_mfcc), mean magnitude and deviation of the slopes of :math:`c`
    (2 n_mfcc). Silence is a row of zeros.

    Args:
        sample_rate: Hz to which recordings are converted.
        n_mels: bands from 0 to half the sample rate.
        n_mfcc: coefficients, at most ``n_mels``.
        max_seconds: only the beginning is read.

    Raises:
        ValueError: if an argument is out of range.

    Source: Davis & Mermelstein 1980, doi:10.1109/TASSP.1980.1163420.
    """

    modality = "audio"
    libraries: ClassVar[tuple[str, ...]] = ("torchaudio", "soundfile", "scipy")

    def __init__(self, *, sample_rate: int = 16_000, n_mels: int = 64, n_mfcc: int = 20, max_seconds: float = 60.0):
        if not RATES[0] <= sample_rate <= RATES[1]:
            raise ValueError(f"sample_rate must lie in {RATES} Hz, got {sample_rate}.")
        if not 1 <= n_mfcc <= n_mels:
            raise ValueError(f"n_mfcc must lie between 1 and n_mels={n_mels}, got {n_mfcc}.")
        if not 0 < max_seconds < inf:
            raise ValueError(f"max_seconds must be positive and finite, got {max_seconds}.")
        self.sample_rate, self.n_mels, self.n_mfcc, self.max_seconds = sample_rate, n_mels, n_mfcc, max_seconds

    def settings(self) -> dict[str, Any]:
        return {"sample_rate": self.sample_rate, "n_mels": self.n_mels, "n_mfcc": self.n_mfcc,
                "max_seconds": self.max_seconds}

    def decode(self, content: str | bytes) -> Float[Tensor, " samples"]:
        """The channels' mean at ``sample_rate``, full scale = 1, see `read_audio`."""
        return read_audio(content, self.sample_rate, self.max_seconds)

    def fit(self, decoded: Iterable[Any]) -> "ClassicalAudio":
        return self

    def encode(self, batch: Sequence[Float[Tensor, " _"]]) -> Float[Tensor, "batch dim"]:
        rows = [describe(log_mel(wave, self.sample_rate, self.n_mels), self.n_mfcc) for wave in batch]
        return torch.stack(rows) if rows else torch.zeros(0, 2 * self.n_mels + 4 * self.n_mfcc)

    def remark(self, decoded: Float[Tensor, " samples"]) -> str | None:
        return "silent audio" if is_silent(decoded) else None


def log_mel(wave: Float[Tensor, " samples"], sample_rate: int, n_mels: int) -> Float[Tensor, "mels frames"]:
    """Logarithm of the energy in mel bands, in windows of 32 ms every 16 ms, >= 0; zero in silence."""
    transform = _transforms().MelSpectrogram(sample_rate, n_fft=_window(sample_rate), n_mels=n_mels)
    short = max(_window(sample_rate) - len(wave), 0)
    return (transform(torch.nn.functional.pad(wave, (0, short))) / QUIET).log1p()


def describe(log_mels: Float[Tensor, "mels frames"], n_mfcc: int) -> Float[Tensor, " dim"]:
    """The three blocks of `ClassicalAudio` in one vector."""
    from torchaudio.functional import compute_deltas, create_dct

    mfcc = create_dct(n_mfcc, len(log_mels), norm="ortho").T @ log_mels
    slopes = compute_deltas(mfcc)
    blocks = [torch.cat([log_mels.mean(1), log_mels.std(1, correction=0)]),
              torch.cat([mfcc.mean(1), mfcc.std(1, correction=0)]),
              torch.cat([slopes.abs().mean(1), slopes.std(1, correction=0)])]
    return torch.cat([block / block.norm().clamp(min=QUIET) for block in blocks])


def _window(sample_rate: int) -> int:
    return 2 * round(0.016 * sample_rate)


def _transforms() -> Any:
    try:
        import torchaudio
    except ImportError as error:
        raise ImportError('audio is described by torchaudio: pip install "mmgraph[audio]"') from error
    return torchaudio.transforms
