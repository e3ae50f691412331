"""What a recording sounds like, without a pretrained model: its spectrum, its timbre, and how they change."""

from collections.abc import Iterable, Sequence
from math import gcd, inf
from typing import Any, ClassVar

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from mmgraph.features.encoder import Unreadable
from mmgraph.features.image import name_of, readable

QUIET = 1e-6  # mel energies well below this count as silence
RATES = (1_000, 768_000)  # Hz; a header that claims another rate is broken


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
        """The channels' mean at ``sample_rate``, full scale = 1. A cut WAV file is what is left of it."""
        try:
            import soundfile
        except ImportError as error:
            raise ImportError('audio is decoded by soundfile: pip install "mmgraph[audio]"') from error
        source = readable(content)
        try:
            with soundfile.SoundFile(source) as file:
                rate = int(file.samplerate)
                if not RATES[0] <= rate <= RATES[1]:
                    raise Unreadable(f"the header claims {rate} Hz")
                wave = file.read(int(self.max_seconds * rate), dtype="float32", always_2d=True)
        except (soundfile.LibsndfileError, RuntimeError, Unreadable, OSError) as error:
            raise Unreadable(f"{name_of(content)}: {_reason(error)}") from error
        check_wave(wave, name_of(content))
        return torch.from_numpy(resampled(wave.mean(1), rate, self.sample_rate))

    def fit(self, decoded: Iterable[Any]) -> "ClassicalAudio":
        return self

    def encode(self, batch: Sequence[Float[Tensor, " _"]]) -> Float[Tensor, "batch dim"]:
        rows = [describe(log_mel(wave, self.sample_rate, self.n_mels), self.n_mfcc) for wave in batch]
        return torch.stack(rows) if rows else torch.zeros(0, 2 * self.n_mels + 4 * self.n_mfcc)


def check_wave(wave: Float[np.ndarray, "samples channels"], name: str) -> None:
    """Refuse a recording that holds no sound at all.

    Raises:
        Unreadable: if it has no samples, or samples that are not finite.
    """
    if not wave.size:
        raise Unreadable(f"{name}: a recording of zero length")
    if bad := int((~np.isfinite(wave)).sum()):
        raise Unreadable(f"{name}: {bad} of {wave.size} samples are NaN or infinite")


def resampled(wave: Float[np.ndarray, " samples"], rate: int, wanted: int) -> Float[np.ndarray, " resampled"]:
    """A wave at another sample rate, float32."""
    from scipy.signal import resample_poly

    common = gcd(rate, wanted)
    return np.ascontiguousarray(resample_poly(wave, wanted // common, rate // common), dtype=np.float32)


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


def _reason(error: Exception) -> str:
    reason = str(getattr(error, "error_string", error))  # libsndfile's own words, without the place
    return "not a recording that libsndfile reads" if "Format not recognised" in reason else reason
