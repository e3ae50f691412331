"""Frames of a film: spread evenly over its time or taken at its cuts, upright, without ever holding the whole film."""

from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
from jaxtyping import UInt8

from mmgraph.features.encoder import Unreadable, name_of, readable

MAX_PIXELS = 64_000_000
KEYFRAMES_ENOUGH = 4  # from this many keyframes per wanted frame on, only keyframes are decoded
LOCAL = {"protocol_whitelist": "file"}  # a playlist that poses as a film must not reach the network
THUMB = 16  # side in pixels of the grey thumbnails whose differences tell cuts
CUT = 0.1  # mean difference of thumbnails, of 1, from which on it counts as a cut

Sampling = Literal["uniform", "scene"]
Frame = UInt8[np.ndarray, "height width 3"]


def read_frames(content: str | bytes, n_frames: int, *, sampling: Sampling = "uniform",
                max_pixels: int = MAX_PIXELS) -> Iterator[Frame]:
    """Exactly ``n_frames`` RGB frames in the order of time, one after the other, of the film's own size.

    ``"uniform"``: what is on screen in the middle of ``n_frames`` equal parts of the film's time; where the file gives
    no times, of its frames. In a film with many keyframes the last keyframe before each of these moments.
    ``"scene"``: the first frame and those after the largest cuts; where there are fewer cuts than frames, the longest
    scenes are divided evenly. A cut is a mean difference of `CUT` between grey thumbnails of successive frames.

    A short film's frames are repeated, evenly. A cut-off film is what is left of it, damaged pictures are left out.
    Frames are turned by quarters as the file's rotation flag says; mirroring and sound are ignored.

    Args:
        content: path or bytes.
        n_frames: how many.
        sampling: which.
        max_pixels: films with larger frames are unreadable.

    Raises:
        ValueError: if an argument is out of range.
        Unreadable: while iterating, if no frame can be had.

    Source: pairwise comparison of reduced pictures, Zhang, Kankanhalli & Smoliar 1993, doi:10.1007/BF01210504.
    Deviation: the n−1 largest differences above a fixed threshold, not all above a fitted one.
    """
    check_frames(n_frames, sampling, max_pixels)
    return _frames(content, n_frames, sampling, max_pixels)


def check_frames(n_frames: int, sampling: str, max_pixels: int) -> None:
    """Refuse arguments that are out of range."""
    if n_frames < 1 or max_pixels < 1:
        raise ValueError(f"n_frames and max_pixels must be at least 1, got n_frames={n_frames}, "
                         f"max_pixels={max_pixels}.")
    if sampling not in get_args(Sampling):
        raise ValueError(f"sampling must be one of {list(get_args(Sampling))}, got {sampling!r}.")


def _frames(content: str | bytes, n_frames: int, sampling: Sampling, max_pixels: int) -> Iterator[Frame]:
    with opened(content, max_pixels) as (container, stream):
        line = Timeline.of(container, stream)
    wanted: Collection[int] = line.stamps
    if sampling == "scene":
        with opened(content, max_pixels) as (container, stream):
            moments = scenes(changes(line.decoded(container, stream, wanted, max_pixels)), line.end, n_frames)
    else:
        moments = evenly(line.stamps[0], line.end, n_frames)
        wanted = line.needed(moments)
    with opened(content, max_pixels) as (container, stream):
        for frame in on_screen(line.decoded(container, stream, wanted, max_pixels), moments):
            yield upright(frame)


@contextmanager
def opened(content: str | bytes, max_pixels: int) -> Iterator[tuple[Any, Any]]:
    """The open film and the stream of its pictures; all that goes wrong in the block is `Unreadable`, with the reason.

    Raises:
        Unreadable: if there is no film, no stream of pictures, too large ones, or the block fails.
    """
    av = _av()
    source = readable(content)
    try:
        with av.open(source, options=LOCAL) as container:
            yield container, _pictures(container, max_pixels)
    except Exception as error:  # on broken bytes PyAV raises more than its own errors
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        raise Unreadable(f"{name_of(content)}: {reason}") from error


@dataclass(frozen=True)
class Timeline:
    """When each picture of a film begins, as its packets say, without decoding them.

    Args:
        stamps: ascending; in units of the stream's time base, or positions where not every packet has its own time.
        keys: those of the keyframes.
        end: when the last picture ends.
        timed: whether stamps are times.
    """

    stamps: Sequence[int]
    keys: Sequence[int]
    end: int
    timed: bool

    @classmethod
    def of(cls, container: Any, stream: Any) -> "Timeline":
        """Read the packets.

        Raises:
            Unreadable: if there are none.
        """
        found = [(p.pts, p.is_keyframe, p.duration or 0) for p in container.demux(stream) if p.size]
        if not found:
            raise Unreadable("no frame can be decoded")
        times = {pts for pts, _, _ in found}
        if None in times or len(times) < len(found):
            positions = range(len(found))
            return cls(positions, [n for n in positions if found[n][1]], len(found), False)
        found.sort()
        last, _, lasts = found[-1]
        end = last + (lasts or max((last - found[0][0]) // max(len(found) - 1, 1), 1))
        return cls([pts for pts, _, _ in found], [pts for pts, key, _ in found if key], end, True)

    def needed(self, moments: Sequence[int]) -> Collection[int]:
        """The pictures to decode: where keyframes are plenty, the last one before each moment, otherwise all."""
        if len(self.keys) < KEYFRAMES_ENOUGH * len(moments):
            return self.stamps
        return {self.keys[max(place - 1, 0)] for place in np.searchsorted(self.keys, moments, side="right").tolist()}

    def decoded(self, container: Any, stream: Any, wanted: Collection[int],
                max_pixels: int) -> Iterator[tuple[int, Any]]:
        """The wanted pictures as PyAV's frames, each with its stamp; damaged ones are left out.

        Raises:
            Unreadable: if one is larger than the header said and than ``max_pixels``.
        """
        order, stamp, position = sorted(wanted), self.stamps[0], 0
        for frame in self._fed(container, stream, frozenset(wanted)):
            _check_size(frame, max_pixels)
            if not self.timed:
                stamp = order[min(position, len(order) - 1)]
                position += 1
            elif frame.pts is not None:
                stamp = frame.pts
            yield stamp, frame

    def _fed(self, container: Any, stream: Any, wanted: frozenset[int]) -> Iterator[Any]:
        position = 0
        for packet in container.demux(stream):
            if not packet.size or (packet.pts if self.timed else position) in wanted:  # the empty one ends the stream
                yield from _intact(packet)
            position += bool(packet.size)


def evenly(start: int, end: int, n: int) -> list[int]:
    """The middles of n equal parts."""
    return [start + (2 * part + 1) * (end - start) // (2 * n) for part in range(n)]


def scenes(changed: Sequence[tuple[int, float]], end: int, n: int) -> list[int]:
    """The first moment and those of the n−1 largest cuts; longest scenes divided evenly until there are n moments.

    Args:
        changed: moment of each picture and how much it differs from the one before, in [0, 1].
        end: when the last one ends.
        n: moments wanted.

    Raises:
        Unreadable: if there are no pictures.
    """
    if not changed:
        raise Unreadable("no frame can be decoded")
    cuts = sorted((-change, moment) for moment, change in changed[1:] if change >= CUT)[: n - 1]
    starts = sorted([changed[0][0], *(moment for _, moment in cuts)])
    lengths = [after - before for before, after in zip(starts, [*starts[1:], end], strict=True)]
    shares = [1] * len(starts)
    for _ in range(n - len(starts)):
        shares[max(range(len(starts)), key=lambda scene: lengths[scene] / shares[scene])] += 1
    return [start + part * length // share
            for start, length, share in zip(starts, lengths, shares, strict=True) for part in range(share)]


def changes(frames: Iterator[tuple[int, Any]]) -> list[tuple[int, float]]:
    """For each frame its stamp and the mean difference of its thumbnail from the one before, in [0, 1]; first 0."""
    found, before = [], None
    for stamp, frame in frames:
        thumb = frame.to_ndarray(format="gray", width=THUMB, height=THUMB, interpolation="AREA").astype(np.int16)
        found.append((stamp, 0.0 if before is None else float(np.abs(thumb - before).mean()) / 255))
        before = thumb
    return found


def on_screen(frames: Iterator[tuple[int, Any]], moments: Sequence[int]) -> Iterator[Any]:
    """For each of the ascending moments the last frame that began by then; the first one for moments before it.

    Raises:
        Unreadable: if there are no frames.
    """
    shown, done = None, 0
    for stamp, frame in frames:
        while shown is not None and done < len(moments) and moments[done] < stamp:
            yield shown
            done += 1
        if done == len(moments):
            return
        shown = frame
    if shown is None:
        raise Unreadable("no frame can be decoded")
    for _ in moments[done:]:
        yield shown


def upright(frame: Any) -> Frame:
    """A frame as RGB, turned by quarters as its rotation flag says."""
    return np.ascontiguousarray(np.rot90(frame.to_ndarray(format="rgb24"), round(frame.rotation / 90)))


def _pictures(container: Any, max_pixels: int) -> Any:
    """The first stream of pictures that is not the cover of a recording."""
    cover = _av().stream.Disposition.attached_pic
    streams = [stream for stream in container.streams.video if not stream.disposition & cover]
    if not streams:
        raise Unreadable("no video stream" + (", only a cover picture" if container.streams.video else ""))
    _check_size(streams[0], max_pixels)
    return streams[0]


def _check_size(frame: Any, max_pixels: int) -> None:
    if (pixels := frame.width * frame.height) > max_pixels:
        raise Unreadable(f"frames of {pixels} pixels are more than max_pixels={max_pixels}")


def _intact(packet: Any) -> list[Any]:
    try:
        return list(packet.decode())
    except _av().error.FFmpegError:
        return []


def _av() -> Any:
    try:
        import av
    except ImportError as error:
        raise ImportError('films are decoded by PyAV: pip install "mmgraph[video]"') from error
    return av
