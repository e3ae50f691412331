"""Small recordings and pictures, made on the spot, and the bytes of their files."""

import io

import numpy as np
from PIL import Image

RATE = 16_000


def tone(hertz=440.0, seconds=0.5, rate=RATE, loudness=0.5):
    return loudness * np.sin(2 * np.pi * hertz * np.arange(int(seconds * rate)) / rate)


def sound_file(wave, rate=RATE, kind="WAV", subtype=None):
    import soundfile

    file = io.BytesIO()
    soundfile.write(file, wave, rate, format=kind, subtype=subtype)
    return file.getvalue()


def picture(height=40, width=30, seed=0):
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8))


def picture_file(image, kind="PNG", **options):
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()
