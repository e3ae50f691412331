import io
import wave
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmgraph.features.decode_video import Timeline, check_frames, evenly, on_screen, read_frames, scenes
from mmgraph.features.encoder import Unreadable

av = pytest.importorskip("av")


def film(frames, times=None, kind="mp4", codec="mpeg4", gop=100, rotation=0):
    """Encode uint8 frames of shape (frames, height, width, 3), ten per second or at these times in milliseconds."""
    file = io.BytesIO()
    with av.open(file, "w", format=kind) as container:
        stream = container.add_stream(codec, rate=10)
        stream.height, stream.width, stream.pix_fmt, stream.gop_size = *frames.shape[1:3], "yuv420p", gop
        stream.bit_rate = 4_000_000
        if rotation:
            stream.set_display_rotation(rotation)
        if times:
            stream.codec_context.time_base = stream.time_base = Fraction(1, 1000)
        for number, frame in enumerate(frames):
            picture = av.VideoFrame.from_ndarray(frame, format="rgb24")
            if times:
                picture.pts, picture.time_base = times[number], Fraction(1, 1000)
            container.mux(stream.encode(picture))
        container.mux(stream.encode())
    return file.getvalue()


def greys(levels, side=32):
    """One flat frame for each level."""
    return np.broadcast_to(np.array(levels, np.uint8)[:, None, None, None], (len(levels), side, side, 3)).copy()


def levels(content, n, **options):
    return [round(float(frame.mean())) for frame in read_frames(content, n, **options)]


def near(*expected):
    return pytest.approx(expected, abs=3)


SHADES = [20 + 5 * frame for frame in range(40)]


# ---- uniform

@pytest.mark.parametrize(("start", "end", "n", "expected"), [
    (0, 10, 1, [5]), (0, 10, 2, [2, 7]), (100, 112, 3, [102, 106, 110]), (0, 3, 6, [0, 0, 1, 1, 2, 2])])
def test_evenly_by_hand(start, end, n, expected):
    assert evenly(start, end, n) == expected


@pytest.mark.parametrize(("kind", "codec"), [("mp4", "mpeg4"), ("avi", "mpeg4"), ("mp4", "libx264"),
                                             ("h264", "libx264"), ("matroska", "ffv1"), ("webm", "libvpx-vp9")])
def test_constant_rate_gives_the_middles_of_equal_parts(kind, codec):
    content = film(greys(SHADES), kind=kind, codec=codec)
    assert levels(content, 4) == near(SHADES[5], SHADES[15], SHADES[25], SHADES[35])


@pytest.mark.parametrize(("kind", "codec"), [("mp4", "libx264"), ("matroska", "ffv1")])
def test_variable_rate_is_sampled_by_time_not_by_position(kind, codec):
    times = [0, 100, 200, 300, 400, 3000]  # five frames in the first half second, then one that stays
    content = film(greys([20, 50, 80, 110, 140, 200]), times, kind, codec)
    # The film ends at 3100 ms (3000 and the length of the last): parts' middles are 258, 775, 1291, ...
    assert levels(content, 6) == near(80, 140, 140, 140, 140, 140)
    assert levels(content, 31)[:5] == near(20, 50, 80, 110, 140)
    assert levels(content, 31)[-2:] == near(140, 200)


@pytest.mark.parametrize("kind", ["mp4", "h264"])
def test_with_many_keyframes_the_last_one_before_each_moment_is_taken(kind):
    content = film(greys(SHADES), kind=kind, codec="libx264", gop=3)  # keyframes: 0, 2, 4, ..., 38
    assert levels(content, 4) == near(SHADES[4], SHADES[14], SHADES[24], SHADES[34])
    assert levels(content, 6) == near(*(SHADES[n] for n in (3, 10, 16, 23, 30, 36)))  # 20 keyframes are too few


def test_only_the_needed_keyframes_are_decoded(monkeypatch):
    content, decoded = film(greys(SHADES), codec="libx264", gop=3), []
    monkeypatch.setattr("mmgraph.features.decode_video._intact", lambda packet: decoded.append(packet.size) or [])
    with pytest.raises(Unreadable, match="no frame can be decoded"):
        list(read_frames(content, 2))
    assert len([size for size in decoded if size]) == 2


@pytest.mark.parametrize("sampling", ["uniform", "scene"])
def test_frames_of_a_short_film_are_repeated_evenly(sampling):
    content = film(greys([50, 100, 150]))
    assert levels(content, 6, sampling=sampling) == near(50, 50, 100, 100, 150, 150)
    assert levels(film(greys([90])), 3, sampling=sampling) == near(90, 90, 90)


def test_on_screen_by_hand():
    frames = [(10, "a"), (20, "b"), (40, "c")]
    assert list(on_screen(iter(frames), [0, 10, 19, 20, 39, 40, 99])) == ["a", "a", "a", "b", "b", "c", "c"]


def test_decoding_stops_after_the_last_moment():
    def frames():
        yield from ((0, "a"), (1, "b"))
        raise AssertionError("decoded further than needed")
    assert list(on_screen(frames(), [0])) == ["a"]


def test_film_keeps_its_size_and_colours():
    frames = np.zeros((2, 34, 98, 3), np.uint8)
    frames[:, :, :48], frames[:, :, 48:] = (200, 40, 40), (40, 40, 200)
    found = next(read_frames(film(frames), 1))
    assert found.shape == (34, 98, 3)
    assert np.abs(found[:, :40].astype(int) - (200, 40, 40)).max() < 12
    assert np.abs(found[:, 56:].astype(int) - (40, 40, 200)).max() < 12


@pytest.mark.skipif(not hasattr(av.VideoStream, "set_display_rotation"), reason="PyAV cannot write the flag")
@pytest.mark.parametrize(("rotation", "shape", "corner"), [
    (90, (64, 32), (-1, 0)), (-90, (64, 32), (0, -1)), (180, (32, 64), (-1, -1))])
def test_a_rotated_film_is_turned_upright(rotation, shape, corner):
    frames = np.zeros((3, 32, 64, 3), np.uint8)
    frames[:, :12, :12] = 255  # upper left as stored; where it goes when turned counterclockwise
    found = next(read_frames(film(frames, rotation=rotation), 1))
    assert found.shape == (*shape, 3)
    assert found[corner].min() > 200
    assert (found > 128).mean() == pytest.approx(144 / 2048, abs=0.02)


# ---- scenes

CUTS = [20] * 10 + [120] * 4 + [220] * 16 + [60] * 10


def test_scenes_are_the_first_frame_and_those_after_the_largest_cuts():
    content = film(greys(CUTS), codec="libx264")
    assert levels(content, 4, sampling="scene") == near(20, 120, 220, 60)
    assert levels(content, 2, sampling="scene") == near(20, 60)  # the change by 160 is the largest
    assert levels(content, 1, sampling="scene") == near(20)


def test_scenes_by_hand():
    changed = [(0, 0.0), (10, 0.5), (20, 0.09), (30, 0.7), (40, 0.5)]
    assert scenes(changed, 100, 1) == [0]
    assert scenes(changed, 100, 2) == [0, 30]
    assert scenes(changed, 100, 3) == [0, 10, 30]            # of equal cuts the earlier
    assert scenes(changed, 100, 4) == [0, 10, 30, 40]
    assert scenes(changed, 100, 6) == [0, 10, 30, 40, 60, 80]  # the change of 0.09 is no cut: the longest is divided
    assert scenes([(5, 0.0), (6, 0.01)], 25, 4) == [5, 10, 15, 20]


@given(st.lists(st.floats(0, 1), min_size=1, max_size=30), st.integers(1, 40))
def test_scenes_are_as_many_as_wanted_in_order(differences, n):
    moments = scenes([(3 * at, change) for at, change in enumerate(differences)], 3 * len(differences), n)
    assert len(moments) == n
    assert moments == sorted(moments)
    assert moments[0] == 0
    assert moments[-1] < 3 * len(differences)


def test_a_film_without_cuts_is_divided_evenly():
    assert levels(film(greys(SHADES)), 4, sampling="scene") == near(SHADES[0], SHADES[10], SHADES[20], SHADES[30])


# ---- what cannot be read, and what can

def sound():
    file = io.BytesIO()
    with wave.open(file, "wb") as out:
        out.setparams((1, 2, 8000, 0, "NONE", ""))
        out.writeframes(bytes(4000))
    return file.getvalue()


def huge(width, height):
    """An uncompressed film whose header claims frames of this size, where there are 32×32."""
    content = bytearray(film(greys([9, 9]), kind="avi", codec="rawvideo"))
    at = content.index(b"strf") + 12
    content[at:at + 8] = width.to_bytes(4, "little") + height.to_bytes(4, "little")
    return bytes(content)


PLAYLIST = b"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nhttp://127.0.0.1:9/a.ts\n#EXT-X-ENDLIST\n"
NOISE = np.random.default_rng(0).integers(0, 256, (5, 32, 32, 3), dtype=np.uint8)


@pytest.mark.parametrize("sampling", ["uniform", "scene"])
@pytest.mark.parametrize(("content", "reason"), [
    (b"", "empty, zero bytes"), (b"<html>404</html>" * 9, "Invalid data"),
    (b"%PDF-1.7\n" + film(NOISE)[400:2000], "Invalid data"), (sound(), "no video stream"),
    (film(NOISE)[:2000], "Invalid data"), (PLAYLIST, "."),
    (huge(8_000, 9_000), "frames of 72000000 pixels are more than max_pixels=64000000"),
    (huge(8_000, 7_000), "no frame can be decoded"),      # claimed frames that are not there
    (huge(20_000, 20_000), "no frame can be decoded")])   # refused by FFmpeg itself
def test_unreadable_says_what_and_where(content, reason, sampling, tmp_path):
    path = str(tmp_path / "a.mp4")
    (tmp_path / "a.mp4").write_bytes(content)
    for given_, name in ((path, path), (content, f"<{len(content)} bytes>")):
        with pytest.raises(Unreadable, match=reason) as caught:
            list(read_frames(given_, 3, sampling=sampling))
        assert str(caught.value).startswith(f"{name}: ")
        assert str(caught.value).count(name) == 1


def test_missing_paths_and_frames_above_the_limit_are_unreadable():
    with pytest.raises(Unreadable, match=r"^none\.mp4: no such file$"):
        list(read_frames("none.mp4", 3))
    with pytest.raises(Unreadable, match="frames of 1024 pixels are more than max_pixels=1023"):
        list(read_frames(film(NOISE), 3, max_pixels=1023))
    assert len(list(read_frames(film(NOISE), 3, max_pixels=1024))) == 3


def test_a_recording_with_a_cover_picture_is_no_film():
    cover = io.BytesIO()
    with av.open(cover, "w", format="mp4") as container:
        music = container.add_stream("aac", rate=8000)
        picture = container.add_stream("mjpeg", rate=1)
        picture.width = picture.height = 32
        picture.pix_fmt = "yuvj420p"
        picture.disposition = av.stream.Disposition.attached_pic
        container.mux(picture.encode(av.VideoFrame.from_ndarray(NOISE[0], format="rgb24")))
        for _ in range(4):
            silence = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
            silence.rate = 8000
            container.mux(music.encode(silence))
        container.mux(music.encode())
    with pytest.raises(Unreadable, match="no video stream, only a cover picture"):
        list(read_frames(cover.getvalue(), 2))


@pytest.mark.parametrize(("kind", "codec"), [("matroska", "ffv1"), ("matroska", "libx264"), ("mpegts", "mpeg2video")])
@pytest.mark.parametrize("sampling", ["uniform", "scene"])
def test_a_cut_film_is_what_is_left_of_it(kind, codec, sampling):
    noisy = greys(SHADES) // 2 + np.random.default_rng(0).integers(0, 99, (40, 32, 32, 3), dtype=np.uint8)
    whole = film(noisy, kind=kind, codec=codec, gop=5)
    found, full = levels(whole[: len(whole) * 6 // 10], 4, sampling=sampling), levels(whole, 4, sampling=sampling)
    assert len(found) == 4
    assert found == sorted(found)
    assert found[-1] < full[-1]


def test_a_damaged_picture_is_left_out():
    content = film(greys([60] * 10 + [120] * 10), kind="matroska", codec="ffv1", gop=1)
    with av.open(io.BytesIO(content)) as container:
        packet = next(p for n, p in enumerate(container.demux(video=0)) if n == 3)
        place = content.index(bytes(packet))
    damaged = bytearray(content)
    damaged[place:place + packet.size] = b"\xff" * packet.size
    assert levels(bytes(damaged), 20) == near(*[60] * 10, *[120] * 10)


WHOLE = [film(NOISE, kind="mp4"), film(NOISE, kind="matroska", codec="ffv1"), film(NOISE, kind="avi")]
CHANGES = st.lists(st.tuples(st.integers(0, 20_000), st.integers(0, 255)), max_size=6)


@given(st.sampled_from(WHOLE), st.integers(0, 40_000), CHANGES, st.sampled_from(["uniform", "scene"]))
@settings(max_examples=60, deadline=None)
def test_broken_bytes_are_unreadable_and_nothing_worse(whole, cut, changed, sampling):
    content = bytearray(whole)
    for at, value in changed:
        content[at % len(content)] = value
    try:
        frames = list(read_frames(bytes(content[:cut]), 3, sampling=sampling, max_pixels=10_000))
    except Unreadable:
        return
    assert len(frames) == 3
    assert all(frame.size <= 30_000 for frame in frames)


def test_one_picture_without_a_time():
    assert levels(film(greys([90]), kind="h264", codec="libx264"), 2) == near(90, 90)


def test_times_that_are_not_all_known_are_not_used():
    content = film(greys(SHADES), kind="h264", codec="libx264")
    with av.open(io.BytesIO(content)) as container:
        line = Timeline.of(container, container.streams.video[0])
    assert (line.timed, line.end, list(line.keys)) == (False, 40, [0])


@pytest.mark.parametrize(("arguments", "message"), [
    ({"n_frames": 0}, "n_frames=0"), ({"n_frames": 1, "max_pixels": 0}, "max_pixels=0")])
def test_refuses_arguments_out_of_range_at_once(arguments, message):
    with pytest.raises(ValueError, match=message):
        read_frames(b"", **arguments)


def test_refuses_an_unknown_sampling():
    with pytest.raises(ValueError, match=r"sampling must be one of \['uniform', 'scene'\], got 'all'"):
        check_frames(1, "all", 1)
