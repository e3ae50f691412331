"""The media of the generated world: what an item's factors look, sound, move and read like.

Every renderer takes the shown factors on the scale [0, 1] and a generator for all that means nothing: place,
turn, loudness, grain, choice of words.
"""

import hashlib
import io
import json
import math
import os
import tempfile
import wave
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from mmgraph.data.types import Floats

FACTORS = ("warmth", "roundness", "fineness", "pitch", "brilliance", "pace", "cheer", "speed")
SHOWS: Mapping[str, tuple[int, ...]] = {"text": (0, 3, 6), "image": (0, 1, 2), "audio": (3, 4, 5), "video": (1, 6, 7)}
SUFFIX: Mapping[str, str] = {"image": "png", "audio": "wav", "video": "mp4"}
SIDE, FRAMES, RATE = 64, 12, 8000  # pixels, frames in one second, samples in one second

# For each factor that text shows: words of its low end, words of its high end.
WORDS = (
    (("cold", "icy", "azure", "frosty", "marine", "wintry"),
     ("warm", "golden", "fiery", "sunny", "crimson", "tropical")),
    (("deep", "low", "booming", "rumbling", "heavy", "earthy"),
     ("high", "airy", "chirping", "piping", "light", "silvery")),
    (("sombre", "gloomy", "bleak", "grim", "mournful", "grave"),
     ("cheerful", "merry", "playful", "bright", "jolly", "funny")),
)
PHRASES = ("A {}, {} and {} {noun}.", "It feels {}, {} and {}.", "Think of a {noun}: {}, {}, {}.",
           "By turns {}, {} and {}.", "Some say {}, others {} or {}.")
NOUNS = ("tale", "harbour", "letter", "garden", "journey", "window", "mountain", "evening", "stranger", "river")


def shown(factors: Floats, modality: str) -> Floats:
    """The factors of one item that a modality shows, on the scale [0, 1]."""
    return factors[list(SHOWS[modality])] / math.sqrt(12) + 0.5


def place(modality: str, id_: str) -> str:
    """Where the file of an item lies in the folder."""
    return f"{modality}/{id_}.{SUFFIX[modality]}"


def text(shown: Floats, rng: np.random.Generator) -> str:
    """Six to eight phrases, in each one word per shown factor (warmth, pitch, cheer): the higher it is, the more often
    the word comes from its high end.
    """
    phrases = []
    for _ in range(rng.integers(6, 9)):
        ends, which = (rng.random(3) < 0.05 + 0.9 * shown).astype(int), rng.integers(0, 6, 3)
        words = [WORDS[f][ends[f]][which[f]] for f in rng.permutation(3)]
        noun = NOUNS[rng.integers(len(NOUNS))]
        phrases.append(PHRASES[rng.integers(len(PHRASES))].format(*words, noun=noun))
    return " ".join(phrases)


def image(shown: Floats, rng: np.random.Generator) -> bytes:
    """PNG, 64x64 RGB: a shape whose colour is the warmth (blue to red) and whose outline is the roundness (star to
    disc), before stripes that are the fineness (broad and level to narrow and upright).
    """
    warmth, roundness, fineness = shown
    y, x = np.mgrid[:SIDE, :SIDE]
    angle, period = fineness * math.pi / 2, 18 - 12 * fineness
    wave_ = np.sin(2 * math.pi * ((x * math.sin(angle) + y * math.cos(angle)) / period + rng.random()))
    ground = rng.uniform(0.6, 0.75) + 0.16 * np.tanh(3 * wave_)
    cover = shape(roundness, SIDE / 2 + rng.uniform(-5, 5, 2), 23.0, rng.uniform(0, 2 * math.pi))[..., None]
    colour = hue(240 * (1 - warmth), rng.uniform(0.75, 0.95))
    pixels = (1 - cover) * ground[..., None] + cover * colour + rng.normal(0, 0.02, (SIDE, SIDE, 3))
    file = io.BytesIO()
    Image.fromarray(bytes_of(pixels)).save(file, "png")
    return file.getvalue()


def audio(shown: Floats, rng: np.random.Generator) -> bytes:
    """WAV, one second, 8 kHz, 16 bit, mono: struck notes of a pitch (110 to 880 Hz), a brilliance (few to many
    overtones) and a pace (2 to 10 strokes a second).
    """
    pitch, brilliance, pace = shown
    seconds, base = np.arange(RATE) / RATE, 110 * 8**pitch
    overtones = np.arange(1, int(0.45 * RATE / base) + 1)
    loud = overtones ** -(3 - 2.6 * brilliance)
    phases = rng.uniform(0, 2 * math.pi, len(overtones))
    tone = loud @ np.sin(2 * math.pi * base * overtones[:, None] * seconds + phases[:, None])
    since = (seconds + rng.random()) * (2 + 8 * pace) % 1 / (2 + 8 * pace)  # seconds since the last stroke
    signal = tone / np.sqrt((loud**2).sum()) * np.exp(-since / 0.08) * rng.uniform(0.15, 0.25)
    samples = np.clip(signal + rng.normal(0, 0.002, RATE), -1, 1) * 32767
    file = io.BytesIO()
    with wave.open(file, "wb") as out:
        out.setparams((1, 2, RATE, RATE, "NONE", "not compressed"))
        out.writeframes(samples.astype("<i2").tobytes())
    return file.getvalue()


def video(shown: Floats, rng: np.random.Generator) -> bytes:
    """MP4 (H.264), 64x64, twelve frames in a second: a dark shape of some roundness (star to disc) circles with some
    speed (0.3 to 7 pixels a frame) over a ground whose colour is the cheer (slate to yellow).
    """
    roundness, cheer, speed = shown
    sombre, cheerful = np.array([0.45, 0.5, 0.7]), np.array([0.95, 0.8, 0.25])
    ground, dark = sombre + cheer * (cheerful - sombre), hue(rng.uniform(0, 360), 0.3)
    turns = rng.uniform(0, 2 * math.pi) + rng.choice([-1, 1]) * (0.3 + 6.7 * speed) / 16 * np.arange(FRAMES)
    tilt, frames = rng.uniform(0, 2 * math.pi), []
    for turn in turns:
        centre = SIDE / 2 + 16 * np.array([math.cos(turn), math.sin(turn)])
        cover = shape(roundness, centre, 14.0, tilt)[..., None]
        frames.append(bytes_of((1 - cover) * ground + cover * dark))
    return mp4(frames)


def mp4(frames: list[Any]) -> bytes:
    """RGB frames (height, width, 3; uint8) as an H.264 file that any browser plays; the same frames, the same bytes."""
    try:
        import av
    except ImportError as error:
        raise ImportError('video files are written with PyAV, which is not installed: pip install "mmgraph[video]", '
                          'or leave "video" out of modalities.') from error
    # Without cpu-independent, x264 gives other bytes now and then for the same frames, even on one thread.
    options = {"preset": "veryfast", "crf": "20", "threads": "1", "x264-params": "cpu-independent=1"}
    file = io.BytesIO()
    with av.open(file, "w", format="mp4") as out:
        stream = out.add_stream("libx264", rate=FRAMES, options=options)
        (stream.height, stream.width), stream.pix_fmt = frames[0].shape[:2], "yuv420p"
        for frame in frames:
            out.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        out.mux(stream.encode())
    return file.getvalue()


def shape(roundness: float, centre: Floats, radius: float, tilt: float) -> Floats:
    """How much of each pixel a shape covers, in [0, 1], (64, 64): star, triangle, square, hexagon or disc, which are
    in this order of area at the same radius.
    """
    corners, dent = ((10, 0.42), (3, 1.0), (4, 1.0), (6, 1.0), (48, 1.0))[min(int(roundness * 5), 4)]
    angles = tilt + 2 * math.pi * np.arange(corners) / corners
    reach = radius * np.where(np.arange(corners) % 2, dent, 1)
    points = np.stack([centre[0] + reach * np.cos(angles), centre[1] + reach * np.sin(angles)], axis=1)
    fine = Image.new("L", (4 * SIDE, 4 * SIDE))
    ImageDraw.Draw(fine).polygon([(float(x), float(y)) for x, y in 4 * points], fill=255)
    return np.asarray(fine.resize((SIDE, SIDE), Image.Resampling.BOX)) / 255


def hue(degrees: float, value: float) -> Floats:
    """RGB in [0, 1] of a colour of saturation 0.85."""
    k = (np.array([5, 3, 1]) + degrees / 60) % 6
    return value * (1 - 0.85 * np.clip(np.minimum(k, 4 - k), 0, 1))


def bytes_of(pixels: Floats) -> Any:
    """Values in [0, 1] as uint8."""
    return (np.clip(pixels, 0, 1) * 255).round().astype(np.uint8)


RENDER: Mapping[str, Callable[[Floats, np.random.Generator], bytes]] = {"image": image, "audio": audio, "video": video}


def damage(content: bytes, modality: str, rng: np.random.Generator) -> bytes:
    """Corrupt a file: the first half of the PNG, nothing of the WAV, noise in place of the MP4."""
    return {"image": content[: len(content) // 2], "audio": b"", "video": rng.bytes(len(content))}[modality]


def store(folder: Path, parameters: Mapping[str, Any], render: Callable[[], Iterable[tuple[str, bytes]]]) -> None:
    """Write files and a manifest as one new folder, whole or not at all; a folder made earlier with the same
    parameters is checked and left as it is.

    Args:
        folder: where; it may be there already, empty.
        parameters: what determines the files, as plain JSON.
        render: makes the files, relative path and content; called only where the folder is not there yet.

    Raises:
        FileExistsError: if the folder holds something else, or files that have changed since they were written.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        return check(folder, parameters)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}.") as scratch:
        new, hashes = Path(scratch) / "world", {}
        for name, content in render():
            (new / name).parent.mkdir(parents=True, exist_ok=True)
            (new / name).write_bytes(content)
            hashes[name] = hashlib.sha256(content).hexdigest()
        (new / "world.json").write_text(json.dumps({"parameters": parameters, "files": hashes}, indent=1))
        if folder.exists():
            folder.rmdir()  # empty; not every system renames onto an empty folder
        os.replace(new, folder)


def check(folder: Path, parameters: Mapping[str, Any]) -> None:
    """Refuse a folder that is not the finished world of these parameters."""
    manifest = folder / "world.json"
    if not manifest.is_file():
        raise FileExistsError(f"{folder} is not an empty folder and holds no world.json; choose another folder.")
    found = json.loads(manifest.read_text())
    if found["parameters"] != json.loads(json.dumps(parameters)):
        raise FileExistsError(f"{folder} holds a world made with {found['parameters']}, asked for was {parameters}; "
                              f"choose another folder or delete this one.")
    changed = [name for name, sha in found["files"].items() if not (folder / name).is_file()
               or hashlib.sha256((folder / name).read_bytes()).hexdigest() != sha]
    if changed:
        raise FileExistsError(f"{len(changed)} files of the world in {folder} have changed or are gone since it was "
                              f"written, e.g. {changed[:3]}; delete the folder to have it written again.")
