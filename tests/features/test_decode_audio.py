import io
import math
import socket
import sys
import tracemalloc

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from media import RATE, tone
from media import sound_file as saved

from mmgraph.features import decode_audio
from mmgraph.features.decode_audio import LOUDEST, SILENT, is_film, is_silent, read_audio
from mmgraph.features.encoder import Unreadable

soundfile = pytest.importorskip("soundfile")


def film(kind="mp4", codec="aac", wave=None, rate=44_100, layout="mono", picture=True):
    """A film of half a second, its sound of shape (channels, samples)."""
    av = pytest.importorskip("av")
    file = io.BytesIO()
    with av.open(file, "w", format=kind) as container:
        frames = []
        if picture:
            video = container.add_stream("mpeg4", rate=10)
            video.width = video.height = 32
            frames = [video.encode(av.VideoFrame.from_ndarray(np.full((32, 32, 3), 50 * t, np.uint8), format="rgb24"))
                      for t in range(5)] + [video.encode(None)]
        if wave is not None:
            audio = container.add_stream(codec, rate=rate, layout=layout)
            sound = av.AudioFrame.from_ndarray(np.ascontiguousarray(wave, np.float32), format="fltp", layout=layout)
            sound.sample_rate = rate
            audio.codec_context.open()
            parts = av.AudioResampler(format=audio.codec_context.format, layout=layout, rate=rate,
                                      frame_size=audio.codec_context.frame_size or 1000)
            packets = [packet for whole in (sound, None) for part in parts.resample(whole)
                       for packet in audio.encode(part)]
            frames += [packets, audio.encode(None)]
        for packets in frames:
            container.mux(packets)
    return file.getvalue()


def loudest_hertz(wave, rate=RATE):
    spectrum = np.abs(np.fft.rfft(wave * np.hanning(len(wave))))
    return spectrum.argmax() * rate / len(wave)


def refusal(content):
    with pytest.raises(Unreadable) as caught:
        read_audio(content, RATE, 60.0)
    return str(caught.value)


# ---- what is heard

@pytest.mark.parametrize("rate", [8_000, 44_100, 96_000, 192_000])
@pytest.mark.parametrize(("kind", "subtype"), [("WAV", "PCM_24"), ("WAV", "PCM_U8"), ("WAV", "FLOAT"),
                                               ("FLAC", "PCM_24"), ("AIFF", "PCM_16")])
def test_a_tone_keeps_frequency_and_loudness_at_every_rate_and_depth(rate, kind, subtype):
    wave = read_audio(saved(tone(1000, 0.5, rate), rate, kind, subtype), RATE, 60.0)
    assert wave.dtype == torch.float32
    assert len(wave) == 8000
    assert np.abs(wave.numpy()[500:-500] - tone(1000)[500:-500]).max() < 0.01


@pytest.mark.parametrize(("kind", "subtype"), [("OGG", "VORBIS"), ("OGG", "OPUS"), ("MP3", None)])
def test_lossy_formats_keep_the_tone(kind, subtype):
    wave = read_audio(saved(tone(1000, 1.0, 48_000), 48_000, kind, subtype), RATE, 60.0).numpy()
    assert loudest_hertz(wave) == pytest.approx(1000, abs=2)
    assert np.sqrt((wave[2000:-2000] ** 2).mean()) == pytest.approx(0.5 / math.sqrt(2), rel=0.1)


@pytest.mark.parametrize("channels", [1, 2, 6])
def test_channels_are_averaged(channels):
    waves = np.stack([np.full(100, (channel + 1) / 16) for channel in range(channels)], 1)
    expected = (channels + 1) / 2 / 16
    assert read_audio(saved(waves, RATE, "WAV", "FLOAT"), RATE, 60.0).tolist() == pytest.approx([expected] * 100)


@pytest.mark.parametrize(("kind", "codec"), [("mp4", "aac"), ("matroska", "ac3"), ("webm", "libopus"), ("avi", "mp3"),
                                             ("mpegts", "aac"), ("mov", "pcm_s16le"), ("flv", "aac"),
                                             ("adts", "aac"), ("ipod", "aac")])
def test_the_sound_track_of_a_film_is_heard(kind, codec, tmp_path):
    rate = 48_000 if codec == "libopus" else 44_100
    picture = kind not in ("adts", "ipod", "webm", "flv")
    content = film(kind, codec, tone(1000, 0.5, rate)[None], rate, picture=picture)
    wave = read_audio(content, RATE, 60.0)
    assert len(wave) == pytest.approx(8000, abs=1300)  # codecs add a few milliseconds of silence at the ends
    middle = wave.numpy()[2000:6000]
    assert loudest_hertz(middle) == pytest.approx(1000, abs=8)
    assert np.sqrt((middle ** 2).mean()) == pytest.approx(0.5 / math.sqrt(2), rel=0.1)
    (tmp_path / "clip.bin").write_bytes(content)
    assert read_audio(str(tmp_path / "clip.bin"), RATE, 60.0).equal(wave)


@pytest.mark.parametrize(("layout", "channels"), [("stereo", 2), ("5.1", 6)])
def test_channels_of_a_film_are_averaged_alike(layout, channels):
    waves = np.zeros((channels, RATE))
    waves[0] = tone(1000, 1.0)
    content = film("matroska", "pcm_f32le", waves, RATE, layout)
    assert np.abs(read_audio(content, RATE, 60.0).numpy() - tone(1000, 1.0) / channels).max() < 1e-6


@pytest.mark.parametrize("make", [lambda wave: saved(wave, RATE, "WAV", "FLOAT"),
                                  lambda wave: film("matroska", "pcm_f32le", wave[None], RATE)], ids=["wav", "mkv"])
@pytest.mark.parametrize("seconds", [0.25, 1.0, 1.4])
def test_reading_stops_at_max_seconds(make, seconds):
    wave = np.concatenate([np.zeros(RATE // 4), tone(seconds=1.0)]).astype(np.float32)
    assert read_audio(make(wave), RATE, seconds).tolist() == wave[:int(seconds * RATE)].tolist()


def test_a_long_recording_is_read_in_blocks_without_a_seam():
    wave = np.random.default_rng(0).uniform(-0.5, 0.5, (2**19 + 777, 3)).astype(np.float32)
    found = read_audio(saved(wave, RATE, "WAV", "FLOAT"), RATE, 1e6)
    assert np.array_equal(found, wave.mean(1))


# ---- what is refused

def with_bytes(content, at, value):
    return content[:at] + value + content[at + len(value):]


WAV = saved(tone())


@pytest.mark.parametrize(("content", "reason"), [
    (b"", "empty, zero bytes"),
    (b"once upon a time there was a text called song.wav", "not a recording that libsndfile reads"),
    (b"<html>404</html>" * 99, "not a recording that libsndfile reads"),
    (b"#EXTM3U\nhttp://localhost:9/a.ts\n", "not a recording that libsndfile reads"),
    (b"\x89PNG\r\n\x1a\n" + bytes(99), "not a recording that libsndfile reads"),
    (saved(np.zeros(0)), "a recording of zero length"),
    (WAV[:44], "a recording of zero length"),
    (WAV[:30], "No 'data' chunk"),
    (with_bytes(WAV, 24, (2).to_bytes(4, "little")), "the header claims 2 Hz"),
    (with_bytes(WAV, 24, (2_000_000_000).to_bytes(4, "little")), "the header claims 2000000000 Hz"),
    (saved(np.array([0.5, np.nan, np.inf]), subtype="FLOAT"), "2 of 3 samples are NaN or infinite"),
    (saved(np.array([0.5, 3e38, 3e38]), subtype="FLOAT"), "samples up to 3e+38, where full scale is 1"),
    (saved(np.full((9, 2), 3e38), subtype="FLOAT"), "samples up to 3e+38, where full scale is 1"),
    (b"\0\0\0\x18ftypisom" + bytes(200), "Invalid data found"),
    (b"\x1aE\xdf\xa3" + b"text" * 99, "End of file|Invalid data found"),
], ids=lambda of: of if isinstance(of, str) else f"{len(of)} bytes")  # libsndfile writes the time into some of them
def test_unreadable_says_why_and_where(content, reason, tmp_path):
    path = tmp_path / "song.wav"
    path.write_bytes(content)
    for place, name in ((str(path), str(path)), (content, f"<{len(content)} bytes>")):
        told = refusal(place)
        assert told.startswith(f"{name}: ")
        assert any(each in told for each in reason.split("|")), told
        assert "object at" not in told


def test_a_film_without_sound_says_so():
    assert refusal(film("mp4")).endswith(": no sound track")
    assert refusal(film("matroska")).endswith(": no sound track")


def test_a_cut_recording_is_what_is_left_of_it_or_unreadable():
    assert len(read_audio(WAV[:44 + 2000], RATE, 60.0)) == 1000
    assert "flac" in refusal(saved(tone(), kind="FLAC")[:3000])
    whole = film("matroska", "pcm_s16le", tone(seconds=1.0)[None], RATE, picture=False)
    assert 0 < len(read_audio(whole[:len(whole) // 2], RATE, 60.0)) < RATE
    assert "Invalid data" in refusal(film(wave=tone(rate=44_100)[None])[:2000])  # an MP4 has its index at the end


@pytest.mark.parametrize("channels", [1, 255])
def test_a_header_that_lies_about_its_length_fills_no_memory(channels):
    content = with_bytes(WAV, 4, b"\xff\xff\xff\x7f")
    content = with_bytes(content, 40, b"\xff\xff\xff\x7f")  # 2 GB of samples
    content = with_bytes(with_bytes(content, 22, channels.to_bytes(2, "little")), 32,
                         (2 * channels).to_bytes(2, "little"))
    tracemalloc.start()
    try:
        wave = read_audio(content, RATE, 1e5)
        assert tracemalloc.get_traced_memory()[1] < 30e6
    finally:
        tracemalloc.stop()
    assert len(wave) == 8000 // channels


def test_a_missing_package_is_named_with_its_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "av", None)
    monkeypatch.setitem(sys.modules, "soundfile", None)
    with pytest.raises(ImportError, match=r"mmgraph\[audio\]"):
        read_audio(WAV, RATE, 60.0)
    with pytest.raises(ImportError, match=r"mmgraph\[video\]"):
        read_audio(b"\0\0\0\x18ftypisom" + bytes(200), RATE, 60.0)
    monkeypatch.undo()
    monkeypatch.setitem(sys.modules, "av", None)
    assert "not a recording" in refusal(b"plain text")  # one bad file needs no package


def test_only_containers_are_given_to_the_film_decoder():
    for kind, subtype in [("WAV", None), ("FLAC", None), ("OGG", "VORBIS"), ("OGG", "OPUS"), ("MP3", None),
                          ("AIFF", None), ("AU", None), ("CAF", None), ("W64", None)]:
        assert not is_film(saved(tone(), kind=kind, subtype=subtype)[:512]), kind
    assert not is_film(b"")
    assert not is_film(b"G" + b"ood text " * 60)


def test_a_playlist_that_poses_as_a_film_reaches_neither_the_network_nor_another_file(tmp_path, monkeypatch):
    pytest.importorskip("av")
    monkeypatch.setattr(decode_audio, "is_film", lambda head: True)  # suppose one came so far
    (tmp_path / "private.ts").write_bytes(film("mpegts", "aac", tone(rate=44_100)[None]))
    assert len(read_audio(str(tmp_path / "private.ts"), RATE, 9.0)) > 7000
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0.2)
        for number, target in enumerate([f"http://127.0.0.1:{server.getsockname()[1]}/a.ts", "private.ts"]):
            playlist = tmp_path / f"{number}.m3u8"
            playlist.write_text(f"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n{target}\n#EXT-X-ENDLIST\n")
            assert "Invalid" in refusal(str(playlist))
            assert "Invalid" in refusal(playlist.read_bytes())
        with pytest.raises(TimeoutError):
            server.accept()


CLIPS = [saved(tone(seconds=0.05), kind=kind) for kind in ("WAV", "FLAC", "OGG", "MP3")]
CHANGES = st.lists(st.tuples(st.integers(0, 5000), st.integers(0, 255)), max_size=6)


@given(st.integers(0, 6), st.none() | st.integers(100, 6000), CHANGES)
@settings(max_examples=120, deadline=None)
def test_broken_bytes_are_unreadable_and_nothing_worse(which, cut, changes):
    content = bytearray(clips()[which])
    for at, value in changes:
        content[at % len(content)] = value
    try:
        wave = read_audio(bytes(content[:cut]), RATE, 1.0)
    except Unreadable:
        return
    assert 0 < len(wave) <= RATE
    assert wave.isfinite().all()


def clips(made=[]):  # noqa: B006 - films are made once
    if not made:
        wave = tone(seconds=0.05)[None]
        made += [*CLIPS, film("mp4", "aac", wave, RATE), film("matroska", "pcm_s16le", wave, RATE),
                 film("mpegts", "aac", wave, RATE)]
    return made


# ---- silence

def test_silence_is_a_wave_that_stays_within_80_decibels_below_full_scale():
    assert is_silent(torch.zeros(100))
    assert is_silent(torch.full((100,), 0.3))  # a constant cannot be heard
    assert is_silent(torch.zeros(1))
    assert is_silent(torch.tensor([SILENT, -SILENT]) * 0.99)
    assert not is_silent(torch.tensor([SILENT, -SILENT]) * 1.01)
    assert is_silent(read_audio(saved(np.random.default_rng(0).uniform(-2**-15, 2**-15, 999)), 8000, 9.0))
    assert not is_silent(read_audio(saved(tone(loudness=1e-3)), 8000, 9.0))


def test_integers_stored_as_floats_are_still_a_recording():
    loud = tone(loudness=32_000)
    assert np.abs(read_audio(saved(loud, subtype="FLOAT"), RATE, 9.0).numpy() - loud).max() < 0.01
    assert LOUDEST > 32_000
