import copy
import io
import json
import os
import struct
import threading
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.reduction import ForkingPickler

import numpy as np
import pytest
import torch

from mmgraph.features import pretrained_torchaudio, windowed_audio
from mmgraph.features.encoder import Encoder, Measured, Movable, Remarking, Unreadable
from mmgraph.features.pretrained_audio import AST, WAVES, WHISPER, TorchaudioAudio, TransformerAudio
from mmgraph.features.windowed_audio import grouped, layer_number, least, n_frames

soundfile = pytest.importorskip("soundfile")
transformers = pytest.importorskip("transformers")
torchaudio = pytest.importorskip("torchaudio")
safetensors = pytest.importorskip("safetensors.torch")

RATE = 16_000
STEPS = [(10, 5), (8, 4), (4, 4)]
SMALL = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 48}
KIN = {"wav2vec2": "Wav2Vec2", "wav2vec2-conformer": "Wav2Vec2Conformer", "hubert": "Hubert", "wavlm": "WavLM",
       "unispeech": "UniSpeech", "unispeech-sat": "UniSpeechSat", "data2vec-audio": "Data2VecAudio"}


@pytest.fixture(autouse=True)
def offline(monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")


def noise(samples, seed=0):
    return (np.random.default_rng(seed).normal(0, 0.1, samples) * np.linspace(0.2, 1, samples)).astype(np.float32)


def saved(wave, rate=RATE, kind="WAV", subtype="FLOAT"):
    file = io.BytesIO()
    soundfile.write(file, wave, rate, format=kind, subtype=subtype)
    return file.getvalue()


def shaken(model):
    """Every weight moved, so that no bias, norm or embedding is at a value that hides an error."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for weights in model.parameters():
            weights.add_(0.05 * torch.randn(weights.shape, generator=generator))
    return model.eval()


def wave_folder(folder, kind="wav2vec2", norm="group", **more):
    torch.manual_seed(0)
    name = KIN[kind]
    config = getattr(transformers, f"{name}Config")(
        **SMALL, conv_dim=(16, 16, 16), conv_kernel=tuple(k for k, _ in STEPS), conv_stride=tuple(s for _, s in STEPS),
        feat_extract_norm=norm, num_conv_pos_embeddings=16, num_conv_pos_embedding_groups=2,
        do_stable_layer_norm=norm == "layer", **more)
    shaken(getattr(transformers, f"{name}Model")(config)).save_pretrained(folder)
    transformers.Wav2Vec2FeatureExtractor(return_attention_mask=norm == "layer").save_pretrained(folder)
    return folder


def ast_folder(folder):
    torch.manual_seed(0)
    config = transformers.ASTConfig(**SMALL, max_length=100, num_mel_bins=32)
    shaken(transformers.ASTModel(config)).save_pretrained(folder)
    transformers.ASTFeatureExtractor(num_mel_bins=32, max_length=100).save_pretrained(folder)
    return folder


def whisper_folder(folder):
    torch.manual_seed(0)
    config = transformers.WhisperConfig(
        vocab_size=60, num_mel_bins=20, d_model=32, encoder_layers=2, decoder_layers=1, encoder_attention_heads=2,
        decoder_attention_heads=2, encoder_ffn_dim=48, decoder_ffn_dim=48, max_source_positions=100,
        pad_token_id=0, bos_token_id=1, eos_token_id=2, decoder_start_token_id=1)
    shaken(transformers.WhisperModel(config)).save_pretrained(folder)
    transformers.WhisperFeatureExtractor(feature_size=20, chunk_length=2).save_pretrained(folder)
    return folder


def plant(monkeypatch, kind="Wav2Vec2", mode="group_norm", normalize=False, path="tiny.pth", aux=None):
    """A small pipeline under the name TINY; returns the model of its architecture."""
    params = {"extractor_mode": mode, "extractor_conv_layer_config": [(16, k, s) for k, s in STEPS],
              "extractor_conv_bias": False, "encoder_embed_dim": 32, "encoder_projection_dropout": 0.1,
              "encoder_pos_conv_kernel": 16, "encoder_pos_conv_groups": 2, "encoder_num_layers": 2,
              "encoder_num_heads": 2, "encoder_attention_dropout": 0.1, "encoder_ff_interm_features": 48,
              "encoder_ff_interm_dropout": 0.0, "encoder_dropout": 0.1, "encoder_layer_drop": 0.05,
              "encoder_layer_norm_first": mode == "layer_norm", "aux_num_out": aux}
    if kind == "WavLM":
        params |= {"encoder_num_buckets": 32, "encoder_max_distance": 80}
    bundle = torchaudio.pipelines.Wav2Vec2Bundle(path, params, RATE, normalize, kind)
    monkeypatch.setattr(torchaudio.pipelines, "TINY", bundle, raising=False)
    torch.manual_seed(0)
    model = torchaudio.models.wavlm_model if kind == "WavLM" else torchaudio.models.wav2vec2_model
    return shaken(model(**params))


def stored(model, folder):
    safetensors.save_file({name: value.contiguous() for name, value in model.state_dict().items()},
                          folder / "tiny.safetensors")
    return folder / "tiny.safetensors"


PLANTS = {"torchaudio-group": ("Wav2Vec2", "group_norm", False), "torchaudio-layer": ("Wav2Vec2", "layer_norm", True),
          "torchaudio-wavlm": ("WavLM", "layer_norm", True)}
FAMILIES = [*(f"{kind}-layer" for kind in WAVES), "wav2vec2-group", "hubert-group", "wavlm-group", AST, WHISPER,
            *PLANTS]


@pytest.fixture
def make(tmp_path, monkeypatch):
    """A tiny encoder of each family, from disk."""
    def made(family, **arguments):
        if family in PLANTS:
            weights = stored(plant(monkeypatch, *PLANTS[family]), tmp_path)
            return TorchaudioAudio("TINY", weights=weights, **arguments)
        if not (tmp_path / "config.json").exists():
            if family in (AST, WHISPER):
                {AST: ast_folder, WHISPER: whisper_folder}[family](tmp_path)
            else:
                wave_folder(tmp_path, *family.rsplit("-", 1))
        return TransformerAudio(tmp_path, **arguments)
    return made


def rows(encoder, *waves):
    return encoder.encode([encoder.decode(saved(wave)) for wave in waves])


# ---- every family

@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_keeps_the_protocol_and_no_row_depends_on_its_batch(family, make):
    encoder = make(family)
    assert isinstance(encoder, Encoder)
    assert isinstance(encoder, Movable)
    assert isinstance(encoder, Measured)
    assert isinstance(encoder, Remarking)
    assert encoder.modality == "audio"
    assert encoder.encode([]).shape == (0, 32)
    assert encoder._loaded is None
    waves = [noise(n, seed) for seed, n in enumerate((8000, 5003, 1, 40_000, 8000, 300, 16_000))]
    whole = rows(encoder, *waves)
    assert whole.shape == (7, 32)
    assert whole.dtype == torch.float32
    assert whole.isfinite().all()
    assert not whole.requires_grad
    assert torch.pdist(whole).min() > 1e-3  # other sound, other row
    for size in (1, 2, 3):
        parts = torch.cat([rows(encoder, *waves[at:at + size]) for at in range(0, 7, size)])
        assert (parts - whole).abs().max() < 1e-5
    assert (rows(encoder, *waves[::-1]).flip(0) - whole).abs().max() < 1e-5


@pytest.mark.parametrize("family", FAMILIES)
def test_a_long_recording_is_the_mean_of_its_windows_by_length(family, make):
    encoder = make(family, window_seconds=0.25, max_seconds=0.9)
    wave = noise(RATE)
    parts = [wave[at:min(at + 4000, 14_400)] for at in range(0, 14_400, 4000)]
    assert [len(part) for part in parts] == [4000, 4000, 4000, 2400]
    by_hand = (4000 * rows(encoder, *parts[:3]).sum(0) + 2400 * rows(encoder, parts[3])[0]) / 14_400
    assert torch.allclose(rows(encoder, wave)[0], by_hand, atol=1e-5)


# ---- parity with the libraries

@pytest.mark.parametrize("norm", ["group", "layer"])
@pytest.mark.parametrize("kind", ["wav2vec2", "hubert", "wavlm"])
@pytest.mark.parametrize("layer", [0, 1, -1])
def test_wave_models_equal_transformers(kind, norm, layer, tmp_path):
    wave_folder(tmp_path, kind, norm)
    encoder, wave = TransformerAudio(tmp_path, layer=layer), noise(9001)
    model = getattr(transformers, f"{KIN[kind]}Model").from_pretrained(tmp_path, dtype=torch.float32).eval()
    scaled = torch.from_numpy((wave - wave.mean()) / np.sqrt(wave.var() + 1e-7))[None]
    with torch.no_grad():
        states = model(scaled, output_hidden_states=True)
    expected = states.last_hidden_state if layer == -1 else states.hidden_states[layer]
    assert torch.allclose(rows(encoder, wave)[0], expected[0].mean(0), atol=1e-5)


@pytest.mark.parametrize("samples", [3000, 8000, 16_240])
def test_ast_equals_transformers(samples, tmp_path):
    ast_folder(tmp_path)
    wave = noise(samples)
    model = transformers.ASTModel.from_pretrained(tmp_path, dtype=torch.float32).eval()
    inputs = transformers.ASTFeatureExtractor.from_pretrained(tmp_path)(wave, sampling_rate=RATE, return_tensors="pt")
    with torch.no_grad():
        states = model(**inputs)
    assert torch.allclose(rows(TransformerAudio(tmp_path), wave)[0], states.pooler_output[0], atol=1e-5)
    # patches of 16 every 10: 2 bands; 9 times, of which those that begin before the sound ends are averaged
    patches = states.last_hidden_state[0, 2:].reshape(2, 9, 32)
    heard = {3000: 2, 8000: 5, 16_240: 9}[samples]  # 18.75, 50 and 101.5 frames of 10 ms
    mean = rows(TransformerAudio(tmp_path, pooling="mean"), wave)[0]
    assert torch.allclose(mean, patches[:, :heard].mean((0, 1)), atol=1e-5)


@pytest.mark.parametrize(("samples", "frames"), [(32_000, 100), (16_000, 50), (16_001, 51), (1, 1)])
def test_whisper_averages_the_frames_that_hold_sound(samples, frames, tmp_path):
    whisper_folder(tmp_path)
    wave = noise(samples)
    encoder = transformers.WhisperModel.from_pretrained(tmp_path, dtype=torch.float32).eval().get_encoder()
    extract = transformers.WhisperFeatureExtractor.from_pretrained(tmp_path)
    with torch.no_grad():
        states = encoder(**extract(wave, sampling_rate=RATE, return_tensors="pt")).last_hidden_state[0]
    assert states.shape == (100, 32)
    assert torch.allclose(rows(TransformerAudio(tmp_path), wave)[0], states[:frames].mean(0), atol=1e-5)


@pytest.mark.parametrize("layer", [1, 2, -1])
@pytest.mark.parametrize("family", PLANTS)
def test_pipelines_equal_torchaudio(family, layer, tmp_path, monkeypatch):
    model = plant(monkeypatch, *PLANTS[family])
    wave = torch.from_numpy(noise(9001))[None]
    if PLANTS[family][2]:
        wave = torch.nn.functional.layer_norm(wave, wave.shape)
    with torch.no_grad():
        expected = model.extract_features(wave)[0][layer - 1 if layer > 0 else -1][0].mean(0)
    encoder = TorchaudioAudio("TINY", weights=stored(model, tmp_path), layer=layer)
    assert torch.allclose(rows(encoder, noise(9001))[0], expected, atol=1e-5)


def test_weights_stored_in_half_precision_compute_in_full(tmp_path):
    wave_folder(tmp_path)
    model = transformers.Wav2Vec2Model.from_pretrained(tmp_path).half()
    model.save_pretrained(tmp_path)
    with torch.no_grad():
        wave = torch.from_numpy(noise(4000))[None]
        expected = model.float().eval()((wave - wave.mean()) / (wave.var(correction=0) + 1e-7).sqrt())
    assert torch.allclose(rows(TransformerAudio(tmp_path), noise(4000))[0], expected.last_hidden_state[0].mean(0),
                          atol=1e-5)


def test_stereo_of_another_rate_is_the_mono_of_the_models_rate(make):
    encoder = make("wav2vec2-group")
    t = np.arange(48_000) / 48_000
    left, right = np.sin(2 * np.pi * 440 * t), np.sin(2 * np.pi * 660 * t)
    mono = (np.sin(2 * np.pi * 440 * t[::3] * 1) + np.sin(2 * np.pi * 660 * t[::3])) / 2
    stereo = encoder.encode([encoder.decode(saved(np.stack([left, right], 1) * 0.5, 48_000, "FLAC", "PCM_24"))])
    assert (stereo - rows(encoder, mono * 0.5)).abs().max() < 0.05
    assert (stereo - rows(encoder, noise(16_000))).abs().max() > 0.1


# ---- the small functions by hand

def test_frames_and_the_least_samples_of_convolutions():
    published = list(zip([10, 3, 3, 3, 3, 2, 2], [5, 2, 2, 2, 2, 2, 2], strict=True))
    assert least(published) == 400  # 25 ms, as the paper says
    assert n_frames(400, published) == 1
    assert n_frames(399, published) == 0
    assert n_frames(16_000, published) == 49
    wave = torch.zeros(1, 1, 1234)
    for kernel, stride in STEPS:
        wave = torch.nn.functional.conv1d(wave, torch.zeros(1, 1, kernel), stride=stride)
    assert wave.shape[-1] == n_frames(1234, STEPS)


def test_windows_are_grouped_by_length_and_bounded():
    assert list(grouped([5, 3, 5, 5, 3], 2, False)) == [[1, 4], [0, 2], [3]]
    assert list(grouped([5, 3, 5, 5, 3], 2, True)) == [[1, 4], [0, 2], [3]]
    assert list(grouped([5, 3, 4], 8, True)) == [[1, 2, 0]]
    assert list(grouped([5, 3, 4], 8, False)) == [[1], [2], [0]]
    assert list(grouped([], 8, True)) == []


def test_layers_are_counted_from_either_end():
    assert [layer_number(n, 0, 2) for n in (0, 2, -1, -3)] == [0, 2, 2, 0]
    assert layer_number(-2, 1, 2) == 1
    for wrong in (3, -4):
        with pytest.raises(ValueError, match=rf"layer must lie in 0\.\.2, or count from the end, got {wrong}"):
            layer_number(wrong, 0, 2)


def test_never_more_windows_at_once_than_recordings(make, monkeypatch):
    encoder, seen = make("wav2vec2-group", window_seconds=0.1), []
    inner = encoder._rows
    monkeypatch.setattr(encoder, "_rows", lambda model, windows: seen.append(len(windows)) or inner(model, windows))
    rows(encoder, noise(RATE), noise(RATE))
    assert seen == [2] * 10


# ---- settings, copies, threads

def test_settings_say_all_that_matters_and_no_path(make, tmp_path):
    encoder = make("wav2vec2-group", layer=-2, window_seconds=2.0, max_seconds=9.0)
    assert json.loads(json.dumps(encoder.settings())) == {
        "weights": encoder.checkpoint.sha256, "pooling": "mean", "layer": 1, "window_seconds": 2.0, "max_seconds": 9.0}
    assert encoder.name == str(tmp_path)
    assert make("wav2vec2-group", layer=1, window_seconds=2.0, max_seconds=9.0).settings() == encoder.settings()
    assert make("wav2vec2-group", layer=2).settings() != encoder.settings()


def test_settings_of_a_pipeline_change_with_its_weights(tmp_path, monkeypatch):
    model = plant(monkeypatch)
    first = TorchaudioAudio("TINY", weights=stored(model, tmp_path)).settings()
    assert first["bundle"] == "TINY"
    assert str(tmp_path) not in json.dumps(first)
    assert TorchaudioAudio("TINY", weights=stored(model, tmp_path)).settings() == first
    with torch.no_grad():
        next(model.parameters()).add_(1e-3)
    assert TorchaudioAudio("TINY", weights=stored(model, tmp_path)).settings() != first


@pytest.mark.parametrize("family", ["hubert-layer", "torchaudio-group"])
def test_a_copy_for_another_device_or_process_loads_its_own_weights(family, make):
    encoder = make(family)
    expected = rows(encoder, noise(4000))
    moved = encoder.to(torch.device("cpu"))
    assert moved is not encoder
    assert moved._loaded is None
    assert encoder._loaded is not None
    assert moved.settings() == encoder.settings()
    assert rows(moved, noise(4000)).equal(expected)
    assert len(ForkingPickler.dumps(encoder)) < 20_000
    assert copy.deepcopy(encoder)._loaded is None
    decoded = encoder.decode(saved(noise(4000)))
    assert encoder.encode([decoded]).equal(expected)


def test_two_threads_load_once(make, monkeypatch):
    encoder, loads = make("wavlm-group"), []
    inner, barrier = encoder._load, threading.Barrier(2)
    monkeypatch.setattr(encoder, "_load", lambda: loads.append(1) or inner())

    def work(seed):
        barrier.wait()
        return rows(encoder, noise(4000, seed))

    with ThreadPoolExecutor(2) as threads:
        found = list(threads.map(work, [0, 0]))
    assert loads == [1]
    assert found[0].equal(found[1])


def test_decoding_needs_no_weights(make, tmp_path):
    encoder = make("wav2vec2-group")
    (tmp_path / "model.safetensors").unlink()
    windows, silent = encoder.decode(saved(noise(4000)))
    assert not silent
    assert [(tuple(x.shape), n) for x, n in windows] == [((4000,), 4000)]


def test_silence_is_remarked_and_cost_grows_with_the_file(make, tmp_path):
    encoder = make("wav2vec2-group")
    assert encoder.remark(encoder.decode(saved(np.zeros(9000)))) == "silent audio"
    assert encoder.remark(encoder.decode(saved(noise(9000)))) is None
    assert rows(encoder, np.zeros(9000)).isfinite().all()
    (tmp_path / "a.wav").write_bytes(saved(noise(9000)))
    assert encoder.cost(str(tmp_path / "a.wav")) == encoder.cost(saved(noise(9000))) == os.path.getsize(
        tmp_path / "a.wav")
    assert encoder.cost("no such file") >= 0


@pytest.mark.parametrize("family", ["wav2vec2-group", AST, WHISPER, "torchaudio-layer"])
def test_bad_recordings_are_named_and_odd_ones_encoded(family, make):
    encoder = make(family)
    for content in (b"", b"text", saved(noise(0)), saved(np.array([np.nan, 1.0])), saved(noise(900))[:30]):
        with pytest.raises(Unreadable):
            encoder.decode(content)
    odd = [saved(np.stack([noise(9000)] * 6, 1), 8000), saved(noise(9000), 96_000, "WAV", "PCM_24"),
           saved(noise(9000), 44_100, "OGG", "VORBIS"), saved(noise(9000), 44_100, "MP3", None),
           saved(noise(2), 44_100), saved(noise(9000))[:-3333], saved(np.ones(900))]
    assert encoder.encode([encoder.decode(content) for content in odd]).isfinite().all()


# ---- what is refused

@pytest.mark.parametrize(("family", "arguments", "message"), [
    ("wav2vec2-group", {"pooling": "max"}, "pooling must be 'mean', or for AST 'pooled'; got 'max' for a wav2vec2"),
    ("wav2vec2-group", {"pooling": "pooled"}, "got 'pooled' for a wav2vec2"),
    ("wav2vec2-group", {"layer": 3}, r"layer must lie in 0\.\.2"),
    ("wav2vec2-group", {"window_seconds": 0.0}, "window_seconds must be positive and finite, got 0.0"),
    ("wav2vec2-group", {"max_seconds": float("inf")}, "max_seconds must be positive and finite, got inf"),
    (WHISPER, {"window_seconds": 2.5}, "window_seconds must be at most 2.0 for this whisper, got 2.5"),
    (AST, {"window_seconds": 2.0}, "window_seconds must be at most 1.015"),
    ("torchaudio-group", {"layer": 0}, r"layer must lie in 1\.\.2, .* got 0"),
    ("torchaudio-group", {"window_seconds": -1.0}, "window_seconds must be positive"),
])
def test_arguments_out_of_range_are_refused(family, arguments, message, make):
    with pytest.raises(ValueError, match=message):
        make(family, **arguments)


def test_a_model_of_another_type_is_refused(tmp_path):
    wave_folder(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | {"model_type": "bert"}))
    with pytest.raises(ValueError, match=r"is a model of type 'bert'; audio encoders are .*whisper"):
        TransformerAudio(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps(config | {"add_adapter": True}))
    with pytest.raises(ValueError, match="has an adapter"):
        TransformerAudio(tmp_path)
    (tmp_path / "preprocessor_config.json").unlink()
    with pytest.raises(FileNotFoundError, match=r"preprocessor_config\.json is missing"):
        TransformerAudio(tmp_path)


def test_missing_weights_are_not_made_up(tmp_path):
    wave_folder(tmp_path)
    state = safetensors.load_file(tmp_path / "model.safetensors")
    del state["encoder.layers.1.attention.k_proj.weight"]
    safetensors.save_file(state, tmp_path / "model.safetensors", {"format": "pt"})
    encoder = TransformerAudio(tmp_path)
    with pytest.raises(ValueError, match=r"lacks weights of a wav2vec2: \['encoder\.layers\.1\.attention\.k_proj"):
        rows(encoder, noise(4000))


def test_a_pipeline_must_exist_and_its_weights_must_fit(tmp_path, monkeypatch):
    with pytest.raises(ValueError, match=r"no pipeline 'CONVTASNET_BASE_LIBRI2MIX' that encodes audio, only .*HUBERT"):
        TorchaudioAudio("CONVTASNET_BASE_LIBRI2MIX")
    model = plant(monkeypatch)
    with pytest.raises(ValueError, match="not a safetensors file"):
        TorchaudioAudio("TINY", weights=tmp_path / "a.pth")
    with pytest.raises(FileNotFoundError, match="no weights at"):
        TorchaudioAudio("TINY", weights=tmp_path / "a.safetensors")
    weights = stored(model, tmp_path)
    plant(monkeypatch, "WavLM")
    with pytest.raises(ValueError, match="are not those of TINY"):
        rows(TorchaudioAudio("TINY", weights=weights), noise(4000))
    weights.write_bytes(b"rubbish")
    with pytest.raises(ValueError, match="damaged or holds more than tensors"):
        rows(TorchaudioAudio("TINY", weights=weights), noise(4000))


# ---- downloads

def published(model, file):
    """Weights as torchaudio publishes them (written by torch itself)."""
    getattr(torch, "save")(model.state_dict(), file)  # noqa: B009 - the word is forbidden in the package only
    return file.as_uri()


def test_published_weights_are_fetched_once_and_a_recognisers_letters_left_out(tmp_path, monkeypatch):
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "hub"))
    model = plant(monkeypatch, aux=29)
    address = published(model, tmp_path / "tiny.pth")
    plant(monkeypatch, path=address, aux=29)
    encoder = TorchaudioAudio("TINY")
    expected = rows(TorchaudioAudio("TINY", weights=stored(model, tmp_path)), noise(4000))
    assert rows(encoder, noise(4000)).equal(expected)
    (tmp_path / "tiny.pth").unlink()
    again = TorchaudioAudio("TINY")
    assert rows(again, noise(4000)).equal(expected)
    assert again.settings() == encoder.settings()
    assert [file.name for file in (tmp_path / "hub" / "checkpoints").iterdir()] == ["tiny.pth"]


def test_a_malicious_file_executes_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "hub"))

    class Bomb:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "executed"),)

    evil = tmp_path / "evil.pth"
    getattr(torch, "save")({"weight": Bomb()}, evil)  # noqa: B009
    plant(monkeypatch, path=evil.as_uri())
    encoder = TorchaudioAudio("TINY")
    with pytest.raises(ValueError, match=r"evil\.pth is damaged or holds more than tensors"):
        rows(encoder, noise(4000))
    assert not (tmp_path / "executed").exists()
    getattr(torch, "load")(evil, weights_only=False)  # noqa: B009 - the bomb is a live one
    assert (tmp_path / "executed").exists()


def test_without_a_network_the_error_comes_at_once_and_says_what_to_do(tmp_path, monkeypatch):
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "hub"))
    asked = []

    def refused(url, timeout):
        asked.append((url, timeout))
        raise OSError("no route")

    monkeypatch.setattr(pretrained_torchaudio, "urlopen", refused)
    with pytest.raises(ConnectionError, match=r"cannot be downloaded .no route.") as caught:
        TorchaudioAudio("WAV2VEC2_BASE")
    assert str(tmp_path / "hub" / "checkpoints") in str(caught.value)
    assert "'classical'" in str(caught.value)
    assert asked == [("https://download.pytorch.org/torchaudio/models/wav2vec2_fairseq_base_ls960.pth", 5)]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["WAV2VEC2_BASE", "WAVLM_BASE"])
def test_a_real_architecture_with_random_weights(name, tmp_path):
    bundle = getattr(torchaudio.pipelines, name)
    torch.manual_seed(0)
    build = torchaudio.models.wavlm_model if name.startswith("WAVLM") else torchaudio.models.wav2vec2_model
    model = build(**bundle._params).eval()
    encoder = TorchaudioAudio(name, weights=stored(model, tmp_path))
    with torch.inference_mode():
        expected = model.extract_features(torch.from_numpy(noise(RATE))[None])[0][-1][0].mean(0)
    assert torch.allclose(rows(encoder, noise(RATE), noise(999))[0], expected, atol=1e-5)
    assert encoder.window_seconds == windowed_audio.WINDOW


def test_a_header_of_safetensors_that_lies_is_refused(tmp_path, monkeypatch):
    plant(monkeypatch)
    (tmp_path / "a.safetensors").write_bytes(struct.pack("<Q", 2**60) + b"{}")
    with pytest.raises(ValueError, match="damaged"):
        rows(TorchaudioAudio("TINY", weights=tmp_path / "a.safetensors"), noise(4000))
