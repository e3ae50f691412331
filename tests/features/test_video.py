import io
import json
import math
import wave

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mmgraph.features import image
from mmgraph.features.encoder import Encoder, Unreadable
from mmgraph.features.video import ClassicalVideo, describe, middles, motion

av = pytest.importorskip("av")


def film(frames, kind="mp4", codec="mpeg4", gop=12):
    """Encode uint8 frames of shape (frames, height, width, 3)."""
    file = io.BytesIO()
    with av.open(file, "w", format=kind) as container:
        stream = container.add_stream(codec, rate=10)
        stream.height, stream.width, stream.pix_fmt, stream.gop_size = *frames.shape[1:3], "yuv420p", gop
        stream.bit_rate = 4_000_000
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())
    return file.getvalue()


def greys(levels, side=32):
    """One flat frame for each level."""
    return np.broadcast_to(np.array(levels, np.uint8)[:, None, None, None], (len(levels), side, side, 3)).copy()


def levels(encoder, content):
    return encoder.decode(content).mean((1, 2, 3)).round().astype(int).tolist()


def noise(n=5, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (n, 32, 32, 3), dtype=np.uint8)


def test_keeps_the_protocol():
    encoder = ClassicalVideo(n_frames=3, size=48, grid=3)
    assert isinstance(encoder, Encoder)
    assert encoder.modality == "video"
    assert json.loads(json.dumps(encoder.settings())) == {"n_frames": 3, "size": 48, "grid": 3,
                                                          "max_pixels": 64_000_000}
    assert encoder.fit([]) is encoder
    assert encoder.encode([]).shape == (0, 2 * image.width(3) + 8)
    x = encoder.encode([encoder.decode(film(noise()))])
    assert x.shape == (1, 2 * 243 + 8)
    assert x.dtype == torch.float32


# ---- what is measured

def test_descriptors_over_time_by_hand():
    frames = noise(3)
    looks = [image.describe(frame, 2).astype(np.float64) for frame in frames]
    row, size = describe(frames, 2), image.width(2)
    mean = sum(looks) / 3
    assert np.allclose(row[:size], mean, atol=1e-6)
    assert np.allclose(row[size:-8], np.sqrt(sum((look - mean) ** 2 for look in looks) / 3), atol=1e-6)
    assert np.allclose(row[-8:], motion(frames))


def test_motion_by_hand():
    frames = greys([0, 0, 0], side=4)
    frames[1, :2, :2] = 255  # upper left: on, then off: changes 1, 1
    frames[2, :2, 2:] = 51   # upper right: 0, then 0.2
    frames[1:, 2, :2] = 255  # lower left: half of the pixels once: root of 1 / 2, then 0
    expected = [1, 0.1, math.sqrt(0.5) / 2, 0, 0, 0.1, math.sqrt(0.5) / 2, 0]
    assert motion(frames) == pytest.approx(expected, abs=1e-6)


def test_motion_of_a_still_and_of_one_frame_is_zero():
    assert not motion(greys([7, 7, 7])).any()
    assert not motion(noise(1)).any()
    assert np.isfinite(describe(noise(1), 2)).all()


# ---- decoding

@pytest.mark.parametrize(("n", "parts", "expected"), [
    (10, 1, {5}), (10, 2, {2, 7}), (12, 3, {2, 6, 10}), (3, 3, {0, 1, 2}), (2, 5, {0, 1}), (1, 8, {0}), (0, 8, set())])
def test_middles_by_hand(n, parts, expected):
    assert middles(n, parts) == expected


@given(st.integers(1, 200), st.integers(1, 50))
def test_middles_are_as_many_as_can_be(n, parts):
    chosen = middles(n, parts)
    assert len(chosen) == min(n, parts)
    assert chosen <= set(range(n))


SHADES = [20 + 5 * frame for frame in range(40)]


@pytest.mark.parametrize(("kind", "codec"), [("mp4", "mpeg4"), ("avi", "mpeg4"), ("mp4", "libx264"),
                                             ("h264", "libx264"), ("matroska", "ffv1"), ("webm", "libvpx-vp9")])
def test_frames_are_the_middles_in_order(kind, codec):
    found = levels(ClassicalVideo(n_frames=4, size=16, grid=2), film(greys(SHADES), kind, codec, gop=12))
    assert found == pytest.approx([SHADES[5], SHADES[15], SHADES[25], SHADES[35]], abs=3)


def test_where_keyframes_are_plenty_only_they_are_decoded():
    content = film(greys(SHADES), codec="libx264", gop=12)
    with av.open(io.BytesIO(content)) as container:
        keys = [n for n, packet in enumerate(container.demux(video=0)) if packet.is_keyframe]
    assert keys == [0, 11, 22, 33]
    assert levels(ClassicalVideo(n_frames=1, size=16, grid=2), content) == pytest.approx([SHADES[22]], abs=3)
    two = levels(ClassicalVideo(n_frames=2, size=16, grid=2), content)
    assert two == pytest.approx([SHADES[10], SHADES[30]], abs=3)


def test_a_short_film_gives_every_frame():
    content = film(greys([50, 100, 150]))
    assert levels(ClassicalVideo(size=16, grid=2), content) == pytest.approx([50, 100, 150], abs=3)
    assert levels(ClassicalVideo(n_frames=1, size=16, grid=2), content) == pytest.approx([100], abs=3)


def test_frames_are_scaled_without_cropping_and_keep_their_colours():
    frames = np.zeros((2, 32, 96, 3), np.uint8)
    frames[:, :, :48] = (200, 40, 40)
    frames[:, :, 48:] = (40, 40, 200)
    decoded = ClassicalVideo(size=16, grid=2).decode(film(frames)).astype(int)
    assert decoded.shape == (2, 16, 16, 3)
    assert np.abs(decoded[:, :, :7] - (200, 40, 40)).max() < 12
    assert np.abs(decoded[:, :, 9:] - (40, 40, 200)).max() < 12


def test_path_and_bytes_are_the_same(tmp_path):
    content = film(noise())
    (tmp_path / "a.mp4").write_bytes(content)
    encoder = ClassicalVideo(size=16, grid=2)
    assert (encoder.decode(str(tmp_path / "a.mp4")) == encoder.decode(content)).all()


def sound():
    file = io.BytesIO()
    with wave.open(file, "wb") as out:
        out.setnchannels(1)
        out.setsampwidth(2)
        out.setframerate(8000)
        out.writeframes(bytes(4000))
    return file.getvalue()


PLAYLIST = b"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nhttp://127.0.0.1:9/a.ts\n#EXT-X-ENDLIST\n"


@pytest.mark.parametrize(("content", "reason"), [
    (b"", "empty, zero bytes"), (b"<html>404</html>" * 9, "Invalid data"), (sound(), "no video stream"),
    (film(noise())[:2000], "Invalid data"), (film(noise(), "matroska", "ffv1")[:300], "."), (PLAYLIST, ".")])
def test_unreadable_says_what_and_where(content, reason, tmp_path):
    path = str(tmp_path / "a.mp4")
    with open(path, "wb") as file:
        file.write(content)
    for given_, name in ((path, path), (content, f"<{len(content)} bytes>")):
        with pytest.raises(Unreadable, match=reason) as caught:
            ClassicalVideo().decode(given_)
        assert str(caught.value).startswith(f"{name}: ")
        assert str(caught.value).count(name) == 1


def test_large_frames_and_missing_paths_are_unreadable():
    with pytest.raises(Unreadable, match="frames of 1024 pixels are more than max_pixels=1023"):
        ClassicalVideo(max_pixels=1023).decode(film(noise()))
    assert len(ClassicalVideo(max_pixels=1024).decode(film(noise()))) == 5
    with pytest.raises(Unreadable, match=r"^none\.mp4: no such file$"):
        ClassicalVideo().decode("none.mp4")


def test_a_cut_film_is_what_is_left_of_it():
    whole = film(greys(SHADES), "matroska", "ffv1")
    found = levels(ClassicalVideo(n_frames=4, size=16, grid=2), whole[: len(whole) // 2])
    assert len(found) == 4
    assert found == sorted(found)
    assert found[-1] < SHADES[25]


WHOLE = [film(noise(), "mp4"), film(noise(), "matroska", "ffv1"), film(noise(), "avi")]
CHANGES = st.lists(st.tuples(st.integers(0, 20_000), st.integers(0, 255)), max_size=6)


@given(st.sampled_from(WHOLE), st.integers(0, 40_000), CHANGES)
@settings(max_examples=60, deadline=None)
def test_broken_bytes_are_unreadable_and_nothing_worse(whole, cut, changes):
    content = bytearray(whole)
    for at, value in changes:
        content[at % len(content)] = value
    try:
        frames = ClassicalVideo(size=16, grid=2, max_pixels=10_000).decode(bytes(content[:cut]))
    except Unreadable:
        return
    assert frames.shape[1:] == (16, 16, 3)


# ---- the encoder

def test_rows_do_not_depend_on_the_batch():
    encoder = ClassicalVideo(n_frames=3, size=24, grid=2)
    films = [encoder.decode(film(noise(n, seed=n))) for n in (1, 2, 3, 6, 9)]
    whole = encoder.encode(films)
    for size in range(1, 5):
        assert torch.cat([encoder.encode(films[start:start + size]) for start in range(0, 5, size)]).equal(whole)
    assert encoder.encode(films[::-1]).equal(whole.flip(0))


@pytest.mark.parametrize(("arguments", "message"), [
    ({"n_frames": 0}, "n_frames=0"), ({"max_pixels": 0}, "max_pixels=0"), ({"size": 9, "grid": 3}, "size=9"),
    ({"size": 10, "grid": 4}, "multiple of grid")])
def test_refuses_arguments_out_of_range(arguments, message):
    with pytest.raises(ValueError, match=message):
        ClassicalVideo(**arguments)
