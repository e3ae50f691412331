"""Models with two towers and one space: CLIP and SigLIP (text, image), CLAP (text, audio)."""

import copy
from collections.abc import Iterable, Sequence
from typing import Any, ClassVar

import torch
from jaxtyping import Float
from PIL import Image
from torch import Tensor
from torch.nn.functional import normalize

from mmgraph.features.decode_audio import is_silent, read_audio
from mmgraph.features.decode_image import MAX_PIXELS, read_image
from mmgraph.features.encoder import text_of
from mmgraph.features.hub import locate
from mmgraph.features.lazy import LOADING, Lazy
from mmgraph.features.pixels import image_processor, is_blank, preprocessing, processed, trimmed
from mmgraph.features.vision_weights import transformer

KINDS = {"clip": ("text", "image"), "siglip": ("text", "image"), "siglip2": ("text", "image"),
         "clap": ("text", "audio")}


class Joint:
    """A model whose towers put texts and images (or recordings) into one space; rows have unit length.

    ``.text``, ``.image`` and ``.audio`` are its encoders. They share one model, loaded when the first of them encodes.

    Args:
        name: a local folder, or ``"provider/model"``.
        max_pixels: larger images are unreadable.
        max_seconds: of a recording only so much of the beginning is heard.
        revision: branch, tag or commit on the hub.

    Raises:
        ValueError: if the model is of another kind or an argument is out of range.

    Source: Radford et al. 2021, arXiv:2103.00020; Zhai et al. 2023, arXiv:2303.15343; Wu et al. 2023, arXiv:2211.06687.
    """

    _model = Lazy[Any]()

    def __init__(self, name: str, *, max_pixels: int = MAX_PIXELS, max_seconds: float = 60.0,
                 revision: str | None = None):
        if max_pixels < 1 or not 0 < max_seconds < float("inf"):
            raise ValueError(f"max_pixels must be at least 1 and max_seconds positive and finite, got {max_pixels} and "
                             f"{max_seconds}.")
        self.name, self.max_pixels, self.max_seconds = str(name), max_pixels, max_seconds
        self.checkpoint = locate(name, revision=revision)
        self.config = self.checkpoint.config()
        self.kind = str(self.config.get("model_type"))
        if self.kind not in KINDS:
            raise ValueError(f"{name} is a model of kind {self.kind!r}; joint ones are {sorted(KINDS)}.")
        self.device = torch.device("cpu")
        self._moved: dict[torch.device, Joint] = {self.device: self}

    def __getstate__(self) -> dict[str, Any]:
        """A copy has nobody that was moved with it."""
        return self.__dict__ | {"_moved": {}}

    @property
    def text(self) -> "JointText":
        return JointText(self)

    @property
    def image(self) -> "JointImage":
        return JointImage(self)

    @property
    def audio(self) -> "JointAudio":
        return JointAudio(self)

    @property
    def model(self) -> Any:
        """The model on its device, in evaluation mode; loaded once, whoever asks first."""
        return Joint._model.once(self, lambda: transformer(self.checkpoint).eval().to(self.device))

    def to(self, device: torch.device | str) -> "Joint":
        """The same model elsewhere; one for each device, however many towers ask."""
        place = torch.device(device)
        with LOADING:
            if place not in self._moved:
                moved = copy.copy(self)
                moved.device, moved._moved = place, self._moved
                self._moved[place] = moved
            return self._moved[place]

    def tower(self, modality: str) -> None:
        """Refuse a tower that the model has not, by an AttributeError."""
        if modality not in KINDS[self.kind]:
            raise AttributeError(f"{self.name} ({self.kind}) has no {modality} tower, only {KINDS[self.kind]}.")


class Tower:
    """What the towers of a `Joint` have in common."""

    libraries: ClassVar[tuple[str, ...]] = ("transformers",)
    modality: str

    def __init__(self, joint: Joint):
        joint.tower(self.modality)
        self.joint, self.name = joint, joint.name

    def fit(self, decoded: Iterable[Any]) -> Any:
        return self

    def to(self, device: torch.device | str) -> Any:
        """The same tower elsewhere."""
        return self if torch.device(device) == self.joint.device else type(self)(self.joint.to(device))

    def about(self, **more: Any) -> dict[str, Any]:
        return {"model": self.joint.kind, "tower": self.modality, **more, "weights": self.joint.checkpoint.sha256}

    def rows(self, method: str, **inputs: Tensor) -> Float[Tensor, "batch dim"]:
        """Unit vectors from one of the model's methods."""
        with torch.inference_mode():
            moved = {name: value.to(self.joint.device) for name, value in inputs.items()}
            return normalize(getattr(self.joint.model, method)(**moved).pooler_output.float(), dim=1)


class JointText(Tower):
    """The text tower. Texts longer than the model's limit (CLIP: 77 tokens, SigLIP: 64) are cut."""

    modality = "text"

    def __init__(self, joint: Joint):
        from transformers import AutoTokenizer

        super().__init__(joint)
        self.tokenizer = AutoTokenizer.from_pretrained(joint.checkpoint.folder, trust_remote_code=False,
                                                       local_files_only=True)
        places = joint.config["text_config"].get("max_position_embeddings", 77 if joint.kind == "clip" else 64)
        if joint.kind == "clap":  # RoBERTa counts positions from behind its padding token
            places = joint.config["text_config"].get("max_position_embeddings", 514) - self.tokenizer.pad_token_id - 1
        self.max_tokens = min(places, self.tokenizer.model_max_length)
        self.full = joint.kind.startswith("siglip")  # was trained on texts filled up to the limit, without a mask

    def settings(self) -> dict[str, Any]:
        return self.about(max_tokens=self.max_tokens, padding="max_length" if self.full else "longest")

    def decode(self, content: str | bytes) -> str:
        """The text itself; bytes are UTF-8."""
        return text_of(content)

    def remark(self, decoded: str) -> str | None:
        return None if decoded.strip() else "empty text"

    def cost(self, content: str | bytes) -> int:
        return len(content)

    def encode(self, batch: Sequence[str]) -> Float[Tensor, "batch dim"]:
        if not batch:
            return self.encode([""])[:0]
        tokens = self.tokenizer(list(batch), padding="max_length" if self.full else True, truncation=True,
                                max_length=self.max_tokens, return_tensors="pt", return_attention_mask=not self.full)
        wanted = ("input_ids",) if self.full else ("input_ids", "attention_mask")
        return self.rows("get_text_features", **{name: tokens[name] for name in wanted})


class JointImage(Tower):
    """The image tower: an `ImageEncoder`."""

    modality = "image"

    def __init__(self, joint: Joint):
        super().__init__(joint)
        self.processor = image_processor(joint.checkpoint)
        self.pixels = processed(self.processor)
        self.patches = joint.kind == "siglip2"  # any aspect ratio: as many patches as the shape asks for

    def settings(self) -> dict[str, Any]:
        return self.about(preprocessing=preprocessing(self.processor), jpeg_draft=self.pixels.enough,
                          max_pixels=self.joint.max_pixels)

    def decode(self, content: str | bytes) -> Any:
        """Bytes (3, height, width), scaled and cropped; for SigLIP 2 patches, their mask and shape."""
        return self.prepare(read_image(content, self.joint.max_pixels, at_least=self.pixels.enough))

    def prepare(self, picture: Image.Image) -> Any:
        """What `decode` makes of an upright RGB picture."""
        if not self.patches:
            return self.pixels.scaled(trimmed(picture))
        found = self.processor(images=trimmed(picture), return_tensors="pt")
        return tuple(found[name][0] for name in ("pixel_values", "pixel_attention_mask", "spatial_shapes"))

    def remark(self, decoded: Any) -> str | None:
        pixels = decoded[0][decoded[1].bool()].reshape(-1, 3).T if self.patches else decoded.flatten(1)
        return "blank image" if is_blank(pixels) else None

    def encode(self, batch: Sequence[Any]) -> Float[Tensor, "batch dim"]:
        if not batch:
            return self.encode([self.prepare(Image.new("RGB", (8, 8)))])[:0]
        if self.patches:
            values, mask, shapes = (torch.stack(each) for each in zip(*batch, strict=True))
            return self.rows("get_image_features", pixel_values=values, pixel_attention_mask=mask,
                             spatial_shapes=shapes)
        x = self.pixels.normalised(torch.stack(list(batch)).to(self.joint.device))
        return self.rows("get_image_features", pixel_values=x)


class JointAudio(Tower):
    """The audio tower. Long recordings are heard in windows of the model's length; the vector is that of their mean.

    The last window ends with the recording and may overlap the one before; a short recording is repeated, as in
    training.
    """

    modality = "audio"
    libraries: ClassVar[tuple[str, ...]] = ("transformers", "soundfile", "scipy")

    def __init__(self, joint: Joint):
        from transformers import AutoFeatureExtractor

        super().__init__(joint)
        self.extractor = AutoFeatureExtractor.from_pretrained(joint.checkpoint.folder, trust_remote_code=False,
                                                              local_files_only=True)

    def settings(self) -> dict[str, Any]:
        known = {k: v for k, v in self.extractor.to_dict().items() if k != "processor_class"}
        return self.about(preprocessing=known, max_seconds=self.joint.max_seconds)

    def decode(self, content: str | bytes) -> tuple[Float[Tensor, "windows mels frames bands"], bool]:
        """The log-mel spectra of its windows, and whether it is silent."""
        wave = read_audio(content, self.extractor.sampling_rate, self.joint.max_seconds)
        spectra = [self.extractor(window.numpy(), sampling_rate=self.extractor.sampling_rate,
                                  return_tensors="pt")["input_features"][0].float()
                   for window in windows(wave, int(self.extractor.nb_max_samples))]
        return torch.stack(spectra), is_silent(wave)

    def remark(self, decoded: Any) -> str | None:
        return "silent audio" if decoded[1] else None

    def encode(self, batch: Sequence[Any]) -> Float[Tensor, "batch dim"]:
        if not batch:
            return torch.zeros(0, int(self.joint.config.get("projection_dim", 512)), device=self.joint.device)
        spectra = torch.cat([each for each, _ in batch])
        counts = [len(each) for each, _ in batch]
        parts = [self.rows("get_audio_features", input_features=part, is_longer=torch.zeros(len(part), 1).bool())
                 for part in spectra.split(len(batch))]  # as many at once as there are recordings
        return normalize(torch.stack([of.mean(0) for of in torch.cat(parts).split(counts)]), dim=1)


def windows(wave: Float[Tensor, " samples"], length: int) -> list[Tensor]:
    """Consecutive windows of a length; the last one ends with the wave. A shorter wave is one window."""
    starts = [*range(0, len(wave) - length, length), max(len(wave) - length, 0)]
    return [wave[start:start + length] for start in starts]
