"""Recordings and the sound tracks of films as one channel at one sample rate, or the reason why not."""

from collections.abc import Iterator
from math import ceil, gcd
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from mmgraph.features.encoder import Unreadable, name_of, readable

RATES = (1_000, 768_000)  # Hz; a header that claims another rate is broken
BLOCK = 2**20  # numbers read at once: a header that claims more than there is must not fill the memory
LOUDEST = 2.0**31  # full scale is 1; even integers stored as floats by mistake stay below
SILENT = 1e-4  # of full scale, -80 dB: the noise of a muted microphone, the dither of 16 bits
FORMATS = "mov,mp4,m4a,matroska,webm,avi,mpegts,mpeg,mpegvideo,flv,asf,aac,ogg"
SAFE = {"protocol_whitelist": "file", "format_whitelist": FORMATS}  # no playlist, nothing from a network


def read_audio(content: str | bytes, sample_rate: int, max_seconds: float) -> Float[Tensor, " samples"]:
    """The mean of the channels at ``sample_rate``, full scale = 1, at least one sample, all finite.

    Recordings are read by libsndfile (WAV, FLAC, OGG, MP3, AIFF, …), the first sound track of films and of MP4, WebM or
    AAC files by PyAV. A cut WAV file is what is left of it.

    Args:
        content: path or bytes.
        sample_rate: Hz of the result.
        max_seconds: only the beginning is read.

    Raises:
        Unreadable: if there is no sound in it, or it is damaged.
        ImportError: if the package that decodes it is missing.
    """
    readable(content)
    film = is_film(_head(content))
    blocks, package = (_track, _av()) if film else (_recording, _soundfile())
    try:
        wave, rate = _joined(blocks(package, content), max_seconds)
    except Exception as error:  # on broken bytes the decoders raise more than their own errors
        raise Unreadable(f"{name_of(content)}: {_reason(error)}") from error
    return torch.from_numpy(resampled(wave, rate, sample_rate))


def is_silent(wave: Float[Tensor, " samples"]) -> bool:
    """Whether nothing can be heard: the wave stays within 80 dB below full scale around some constant."""
    return bool(wave.max() - wave.min() <= 2 * SILENT)


def resampled(wave: Float[np.ndarray, " samples"], rate: int, wanted: int) -> Float[np.ndarray, " resampled"]:
    """A wave at another sample rate, float32."""
    from scipy.signal import resample_poly

    common = gcd(rate, wanted)
    return np.ascontiguousarray(resample_poly(wave, wanted // common, rate // common), dtype=np.float32)


def is_film(head: bytes) -> bool:
    """Whether a file that begins so is a container that libsndfile cannot read, e.g. MP4, WebM, AVI, AAC."""
    if head[4:8] in (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip"):
        return True
    if head.startswith((b"\x1aE\xdf\xa3", b"FLV\x01", b"0&\xb2u\x8ef\xcf\x11", b"\0\0\1\xba", b"\0\0\1\xb3")):
        return True
    if head.startswith(b"RIFF"):
        return head[8:12] == b"AVI "
    if head.startswith(b"OggS"):
        return b"theora" in head[:64]
    if len(head) > 1 and head[0] == 0xFF and head[1] & 0xF6 == 0xF0:  # AAC; in MP3 these layer bits are never zero
        return True
    return len(head) > 376 and {head[0], head[188], head[376]} == {0x47}  # MPEG transport stream


def _joined(blocks: Iterator[tuple[np.ndarray, int]], max_seconds: float) -> tuple[Float[np.ndarray, " samples"], int]:
    """The first ``max_seconds`` of (samples, channels) blocks as one channel, and its rate."""
    waves: list[np.ndarray] = []
    n, bad, total, loudest, rate = 0, 0, 0, 0.0, RATES[0]
    for block, rate in blocks:
        enough = max(1, int(max_seconds * rate))
        block, finite = block[:enough - n], np.isfinite(block[:enough - n])
        n, bad, total = n + len(block), bad + int((~finite).sum()), total + block.size
        loudest = max(loudest, float(np.abs(block).max(initial=0, where=finite)))
        if not bad and loudest <= LOUDEST:
            waves.append(block.mean(1))
        if n >= enough:
            break
    if not n:
        raise Unreadable("a recording of zero length")
    if bad:
        raise Unreadable(f"{bad} of {total} samples are NaN or infinite")
    if loudest > LOUDEST:
        raise Unreadable(f"samples up to {loudest:.3g}, where full scale is 1")
    return np.concatenate(waves), rate


def _recording(soundfile: Any, content: str | bytes) -> Iterator[tuple[np.ndarray, int]]:
    """What libsndfile reads, block by block, with its rate."""
    with soundfile.SoundFile(readable(content)) as file:
        rate = _checked(int(file.samplerate))
        while len(block := file.read(ceil(BLOCK / file.channels), dtype="float32", always_2d=True)):
            yield block, rate


def _track(av: Any, content: str | bytes) -> Iterator[tuple[np.ndarray, int]]:
    """The first sound track of a film, block by block, with its rate."""
    with av.open(readable(content), options=SAFE) as container:
        if not container.streams.audio:
            raise Unreadable("no sound track")
        floats = av.AudioResampler(format="fltp")
        rate = None
        for frame in container.decode(container.streams.audio[0]):
            rate = rate or _checked(frame.sample_rate)
            if frame.sample_rate != rate:
                raise Unreadable(f"the sample rate changes from {rate} to {frame.sample_rate} Hz")
            for part in floats.resample(frame):
                yield part.to_ndarray().T, rate


def _checked(rate: int) -> int:
    if not RATES[0] <= rate <= RATES[1]:
        raise Unreadable(f"the header claims {rate} Hz")
    return rate


def _head(content: str | bytes) -> bytes:
    if isinstance(content, bytes):
        return content[:512]
    with open(content, "rb") as file:
        return file.read(512)


def _soundfile() -> Any:
    try:
        import soundfile
    except ImportError as error:
        raise ImportError('audio is decoded by soundfile: pip install "mmgraph[audio]"') from error
    return soundfile


def _av() -> Any:
    try:
        import av
    except ImportError as error:
        raise ImportError('the sound of films is decoded by PyAV: pip install "mmgraph[video]"') from error
    return av


def _reason(error: Exception) -> str:
    """The decoder's own words, without the place."""
    reason = str(getattr(error, "error_string", None) or getattr(error, "strerror", None) or error)
    return "not a recording that libsndfile reads" if "Format not recognised" in reason else reason
