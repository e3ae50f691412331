import json
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from media import RATE, tone
from media import sound_file as saved

from mmgraph.features.audio import QUIET, ClassicalAudio, describe, log_mel
from mmgraph.features.decode_audio import resampled
from mmgraph.features.encoder import Encoder, Unreadable

soundfile = pytest.importorskip("soundfile")
torchaudio = pytest.importorskip("torchaudio")


def encode(wave, **arguments):
    return ClassicalAudio(**arguments).encode([torch.as_tensor(wave, dtype=torch.float32)])[0]


def test_keeps_the_protocol():
    encoder = ClassicalAudio(n_mels=32, n_mfcc=5)
    assert isinstance(encoder, Encoder)
    assert encoder.modality == "audio"
    assert json.loads(json.dumps(encoder.settings())) == {"sample_rate": 16_000, "n_mels": 32, "n_mfcc": 5,
                                                          "max_seconds": 60.0}
    assert encoder.fit([]) is encoder
    assert encoder.encode([]).shape == (0, 84)
    x = encoder.encode([encoder.decode(saved(tone()))])
    assert x.shape == (1, 84)
    assert x.dtype == torch.float32


# ---- what is measured

def test_log_mel_and_mfcc_are_those_of_torchaudio():
    wave = torch.from_numpy(np.random.default_rng(0).normal(0, 0.1, 8000).astype(np.float32))
    transform = torchaudio.transforms.MFCC(RATE, 20, log_mels=True, melkwargs={"n_fft": 512, "n_mels": 64})
    expected = transform(wave)
    mel = log_mel(wave, RATE, 64)
    dct = torchaudio.functional.create_dct(20, 64, norm="ortho").T
    ours = dct @ mel
    assert torch.allclose(ours[1:], expected[1:], atol=1e-3)
    # they take ln(E + 1e-6), we ln(E / 1e-6 + 1): a constant apart, which only coefficient 0 sees
    assert torch.allclose(ours[0], expected[0] - math.log(QUIET) * math.sqrt(64), atol=1e-3)


@pytest.mark.parametrize("hertz", [300, 1000, 2500, 6000])
def test_a_tone_is_loudest_in_its_band(hertz):
    mel = log_mel(torch.from_numpy(tone(hertz).astype(np.float32)), RATE, 64)
    step = 2595 * math.log10(1 + RATE / 2 / 700) / 65  # 64 triangles of equal width on the mel scale
    band = 2595 * math.log10(1 + hertz / 700) / step - 1
    assert abs(mel[:, 5:-5].mean(1).argmax().item() - band) <= 1


def test_blocks_by_hand():
    steps = [0.0, 1, 2, 3, 5, 4, 2, 1]
    mel = torch.tensor([steps, [1.0] * 8])  # DCT of (a, b): (a + b) / sqrt 2, (a - b) / sqrt 2
    row = describe(mel, 2).double()
    level = torch.tensor([2.25, 1, math.sqrt(2.4375), 0], dtype=torch.float64)  # squares: mean 7.5, less 2.25 squared
    timbre = torch.tensor([3.25, 1.25, math.sqrt(2.4375), math.sqrt(2.4375)], dtype=torch.float64) / math.sqrt(2)
    assert torch.allclose(row[:4], level / level.norm(), atol=1e-6)
    assert torch.allclose(row[4:8], timbre / timbre.norm(), atol=1e-6)
    # slope of least squares over five frames, the ends repeated
    x = [0, 0, *steps, 1, 1]
    slope = np.array([sum(n * x[t + 2 + n] for n in range(-2, 3)) / 10 for t in range(8)]) / math.sqrt(2)
    change = np.array([np.abs(slope).mean()] * 2 + [slope.std()] * 2)
    assert np.allclose(row[8:], change / np.linalg.norm(change), atol=1e-6)


def test_silence_is_a_row_of_zeros_and_a_whisper_is_not():
    assert not encode(np.zeros(RATE)).any()
    assert not encode(np.zeros(3)).any()
    whisper = encode(tone(loudness=1e-3))
    assert [part.norm().item() for part in whisper.split([128, 40, 40])] == pytest.approx([1, 1, 1], abs=1e-5)


def test_a_glide_changes_more_than_a_tone():
    t = np.arange(RATE) / RATE
    mel = {"tone": tone(880, 1), "glide": 0.5 * np.sin(2 * np.pi * (200 * t + 1500 * t**2))}
    dct = torchaudio.functional.create_dct(20, 64, norm="ortho").T
    slope = {name: torchaudio.functional.compute_deltas(dct @ log_mel(torch.from_numpy(w.astype(np.float32)), RATE, 64))
             .abs().mean() for name, w in mel.items()}
    assert slope["glide"] > 2 * slope["tone"]
    kinds = encode(mel["tone"]), encode(0.3 * np.roll(mel["tone"], 100)), encode(mel["glide"])
    assert (kinds[0] - kinds[1]).norm() < (kinds[0] - kinds[2]).norm()


@pytest.mark.parametrize("n_samples", [1, 2, 100, 511, 512, 513])
def test_short_recordings_have_a_row(n_samples):
    row = encode(np.full(n_samples, 0.5))
    assert row.isfinite().all()
    assert row.any()


# ---- decoding

def test_channels_are_averaged_and_a_path_is_as_good_as_bytes(tmp_path):
    content = saved(np.stack([np.full(64, 0.5), np.full(64, -0.25)], 1), subtype="FLOAT")
    (tmp_path / "a.wav").write_bytes(content)
    encoder = ClassicalAudio()
    assert encoder.decode(content).tolist() == pytest.approx([0.125] * 64)
    assert encoder.decode(str(tmp_path / "a.wav")).equal(encoder.decode(content))


@pytest.mark.parametrize("rate", [8000, 11_025, 22_050, 44_100, 44_101, 48_000])
def test_any_rate_becomes_the_wanted_one(rate):
    wave = ClassicalAudio().decode(saved(tone(1000, 0.5, rate), rate)).numpy()
    assert len(wave) == pytest.approx(8000, abs=1)
    middle = slice(500, 7000)
    assert np.abs(wave[middle] - tone(1000, 0.5)[:len(wave)][middle]).max() < 0.01
    assert wave.dtype == np.float32


def test_resampling_drops_what_the_new_rate_cannot_hold():
    high = resampled(tone(7000, 0.5).astype(np.float32), RATE, 8000)
    assert np.abs(high[200:-200]).max() < 0.01  # would fold to 1000 Hz


def test_only_the_beginning_is_read():
    wave = np.concatenate([np.zeros(RATE), tone(440, 1)])
    assert not ClassicalAudio(max_seconds=1.0).decode(saved(wave)).any()
    assert len(ClassicalAudio(max_seconds=1.5).decode(saved(wave))) == 24_000
    assert len(ClassicalAudio().decode(saved(wave))) == 32_000


@pytest.mark.parametrize(("kind", "subtype"), [("WAV", "PCM_16"), ("WAV", "PCM_24"), ("FLAC", None),
                                               ("OGG", "VORBIS"), ("MP3", None)])
def test_formats_sound_alike(kind, subtype):
    encoder = ClassicalAudio()
    wave = tone(440, 1) * np.linspace(0.1, 1, RATE)
    assert (encoder.encode([encoder.decode(saved(wave, RATE, kind, subtype))])[0] - encode(wave)).norm() < 0.5
    assert (encode(tone(440, 1)) - encode(np.random.default_rng(0).normal(0, 0.1, RATE))).norm() > 0.6


def with_rate(rate):
    content = bytearray(saved(tone()))
    content[24:28] = rate.to_bytes(4, "little")
    return bytes(content)


@pytest.mark.parametrize(("content", "reason"), [
    (b"", "empty, zero bytes"),
    (b"<html>404</html>" * 9, "not a recording that libsndfile reads"),
    (saved(np.zeros(0)), "a recording of zero length"),
    (saved(tone())[:44], "a recording of zero length"),
    (saved(tone())[:30], "No 'data' chunk"),
    (saved(tone(), kind="FLAC")[:3000], "flac decoder lost sync"),
    (with_rate(2), "the header claims 2 Hz"),
    (with_rate(2_000_000_000), "the header claims 2000000000 Hz"),
    (saved(np.array([0.5, np.nan, np.inf]), subtype="FLOAT"), "2 of 3 samples are NaN or infinite"),
], ids=lambda of: of if isinstance(of, str) else f"{len(of)} bytes")  # libsndfile writes the time into some of them
def test_unreadable_says_what_and_where(content, reason, tmp_path):
    path = str(tmp_path / "a.wav")
    with open(path, "wb") as file:
        file.write(content)
    with pytest.raises(Unreadable, match=reason) as caught:
        ClassicalAudio().decode(path)
    assert str(caught.value).startswith(f"{path}: ")
    with pytest.raises(Unreadable, match=reason) as caught:
        ClassicalAudio().decode(content)
    assert str(caught.value).startswith(f"<{len(content)} bytes>: ")
    assert "object at" not in str(caught.value)


def test_a_missing_path_is_unreadable():
    with pytest.raises(Unreadable, match=r"none\.wav: no such file"):
        ClassicalAudio().decode("none.wav")


WHOLE = [saved(tone(seconds=0.05), RATE, kind) for kind in ("WAV", "FLAC", "OGG", "AIFF", "AU")]
CHANGES = st.lists(st.tuples(st.integers(0, 300), st.integers(0, 255)), max_size=6)


@given(st.sampled_from(WHOLE), st.integers(0, 2000), CHANGES)
@settings(max_examples=150, deadline=None)
def test_broken_bytes_are_unreadable_and_nothing_worse(whole, cut, changes):
    content = bytearray(whole)
    for at, value in changes:
        content[at % len(content)] = value
    encoder = ClassicalAudio(max_seconds=1.0)
    try:
        wave = encoder.decode(bytes(content[:cut]))
    except Unreadable:
        return
    assert encoder.encode([wave]).isfinite().all()


# ---- the encoder

def test_rows_do_not_depend_on_the_batch():
    rng = np.random.default_rng(0)
    waves = [torch.from_numpy(rng.normal(0, 0.1, n).astype(np.float32)) for n in (4000, 900, 16_000, 1, 7777)]
    encoder = ClassicalAudio()
    whole = encoder.encode(waves)
    for size in range(1, 5):
        assert torch.cat([encoder.encode(waves[start:start + size]) for start in range(0, 5, size)]).equal(whole)
    assert encoder.encode(waves[::-1]).equal(whole.flip(0))


@pytest.mark.parametrize(("arguments", "message"), [
    ({"sample_rate": 100}, "sample_rate must lie in"), ({"n_mfcc": 0}, "between 1 and n_mels=64, got 0"),
    ({"n_mfcc": 65}, "between 1 and n_mels=64, got 65"), ({"max_seconds": 0.0}, "positive and finite, got 0"),
    ({"max_seconds": math.inf}, "positive and finite, got inf")])
def test_refuses_arguments_out_of_range(arguments, message):
    with pytest.raises(ValueError, match=message):
        ClassicalAudio(**arguments)
