"""What pretrained models see in a film: frame by frame through any image encoder, or in clips that show motion."""

import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar, Literal, get_args

import torch
from jaxtyping import Float, UInt8
from PIL import Image
from torch import Tensor

from mmgraph.features.clip_model import ClipModel
from mmgraph.features.decode_video import MAX_PIXELS, Sampling, check_frames, read_frames
from mmgraph.features.encoder import ImageEncoder, Movable
from mmgraph.features.hub import locate
from mmgraph.features.torchvision_video import TorchvisionVideo

__all__ = ["FrameVideo", "TorchvisionVideo", "TransformerVideo"]

Pooling = Literal["mean", "max", "mean+std"]
FRAMES_AT_ONCE = 64  # given to the model together, whatever the batch
TOKENS: Mapping[str, str] = {"videomae": "mean", "timesformer": "cls", "vivit": "cls"}  # what is taken of the output
PROCESSORS = ("video_preprocessor_config.json", "preprocessor_config.json", "processor_config.json")


class FrameVideo:
    """Some frames of a film through an image encoder, pooled over time without regard to their order.

    Args:
        image: any encoder of images that takes pictures in memory.
        n_frames: frames that are looked at; see `read_frames` for which, and for short films.
        sampling: ``"uniform"`` in time, or ``"scene"``: after cuts.
        pooling: over frames; ``"mean+std"`` is twice as wide.
        max_pixels: films with larger frames are unreadable.

    Raises:
        ValueError: if an argument is out of range.
        TypeError: if ``image`` cannot take pictures in memory.
    """

    modality = "video"

    def __init__(self, image: ImageEncoder, *, n_frames: int = 8, sampling: Sampling = "uniform",
                 pooling: Pooling = "mean", max_pixels: int = MAX_PIXELS):
        check_frames(n_frames, sampling, max_pixels)
        if not isinstance(image, ImageEncoder):
            raise TypeError(f"image must be an ImageEncoder, one with prepare(picture); {type(image).__name__} is not.")
        if pooling not in get_args(Pooling):
            raise ValueError(f"pooling must be one of {list(get_args(Pooling))}, got {pooling!r}.")
        self.image, self.n_frames, self.sampling, self.pooling = image, n_frames, sampling, pooling
        self.max_pixels, self.name = max_pixels, getattr(image, "name", type(image).__name__)
        self.libraries = ("av", *getattr(image, "libraries", ()))

    def settings(self) -> dict[str, Any]:
        return {"n_frames": self.n_frames, "sampling": self.sampling, "pooling": self.pooling,
                "max_pixels": self.max_pixels, "image": {"encoder": type(self.image).__name__, **self.image.settings()}}

    def decode(self, content: str | bytes) -> tuple[tuple[Any, ...], bool]:
        """The frames as the image encoder prepares them, and whether all their pixels are equal."""
        prepared, blank, colour = [], True, None
        for frame in read_frames(content, self.n_frames, sampling=self.sampling, max_pixels=self.max_pixels):
            colour = frame[0, 0] if colour is None else colour
            blank = blank and bool((frame == colour).all())
            prepared.append(self.image.prepare(Image.fromarray(frame)))
        return tuple(prepared), blank

    def remark(self, decoded: tuple[tuple[Any, ...], bool]) -> str | None:
        return "blank video" if decoded[1] else None

    def fit(self, decoded: Iterable[tuple[tuple[Any, ...], bool]]) -> "FrameVideo":
        """Lets the image encoder learn from all frames."""
        return self._with(self.image.fit(frame for frames, _ in decoded for frame in frames))

    def to(self, device: torch.device) -> "FrameVideo":
        return self._with(self.image.to(device)) if isinstance(self.image, Movable) else self

    def encode(self, batch: Sequence[tuple[tuple[Any, ...], bool]]) -> Float[Tensor, "batch dim"]:
        frames = [frame for prepared, _ in batch for frame in prepared]
        parts = [self.image.encode(frames[start:start + FRAMES_AT_ONCE])
                 for start in range(0, len(frames), FRAMES_AT_ONCE)] or [self.image.encode([])]
        return over_time(torch.cat(parts).float().unflatten(0, (-1, self.n_frames)), self.pooling)

    def _with(self, image: Any) -> "FrameVideo":
        if image is self.image:
            return self
        return FrameVideo(image, n_frames=self.n_frames, sampling=self.sampling, pooling=self.pooling,
                          max_pixels=self.max_pixels)


def over_time(x: Float[Tensor, "batch frames dim"], pooling: Pooling) -> Float[Tensor, "batch pooled"]:
    """One row per film; deviations are those of the frames at hand (divided by their number)."""
    if pooling == "max":
        return x.amax(1)
    mean = x.mean(1)
    return mean if pooling == "mean" else torch.cat([mean, (x - mean[:, None]).square().mean(1).sqrt()], 1)


class TransformerVideo(ClipModel):
    """VideoMAE, TimeSformer or ViViT of transformers, with the preprocessing in its folder.

    A row is the mean over all tokens for VideoMAE, which has no other summary, and the CLS token for TimeSformer and
    ViViT. A clip has ``num_frames`` frames.

    Args:
        name: a folder or ``"provider/model"``, see `locate`.
        clips: clips per film.
        max_pixels: films with larger frames are unreadable.
        revision: branch, tag or commit on the hub.

    Raises:
        ValueError: if it is a model of another kind, or says nothing of its preprocessing.
        FileNotFoundError, ConnectionError: see `locate`.
    """

    libraries: ClassVar[tuple[str, ...]] = ("av", "torchvision", "transformers")

    def __init__(self, name: str | os.PathLike[str], *, clips: int = 1, max_pixels: int = MAX_PIXELS,
                 revision: str | None = None):
        self.checkpoint = locate(name, revision=revision)
        config = self.checkpoint.config()
        self.kind = config.get("model_type", "")
        if self.kind not in TOKENS:
            raise ValueError(f"{name} is a model of type {self.kind!r}; clips are encoded by {sorted(TOKENS)}. "
                             f"Models of images see films through FrameVideo.")
        super().__init__(str(name), config["num_frames"], config["hidden_size"], clips, max_pixels)
        self.processor = self._processor()

    def settings(self) -> dict[str, Any]:
        return {"tokens": TOKENS[self.kind], "n_frames": self.n_frames, "clips": self.clips,
                "max_pixels": self.max_pixels, "processor": type(self.processor).__name__,
                "weights": self.checkpoint.sha256}  # also of the settings of model and processor

    def _processor(self) -> Any:
        if not any(map(self.checkpoint.has, PROCESSORS)):
            raise ValueError(f"{self.name} says nothing of its preprocessing: none of {list(PROCESSORS)} is there; "
                             f"processor.save_pretrained(folder) writes it.")
        return _transformers().AutoVideoProcessor.from_pretrained(self.checkpoint.folder, local_files_only=True,
                                                                  trust_remote_code=False)

    def prepare(self, frame: UInt8[Tensor, "3 h w"]) -> UInt8[Tensor, "3 height width"]:
        return self.processor(frame[None], do_rescale=False, do_normalize=False, input_data_format="channels_first",
                              return_tensors="pt")["pixel_values"][0, 0]

    def load(self) -> Any:
        """The model.

        Raises:
            ValueError: if the file lacks some of its weights: they would be random.
        """
        options = {"add_pooling_layer": False} if self.kind == "vivit" else {}
        model, about = _transformers().AutoModel.from_pretrained(
            self.checkpoint.folder, local_files_only=True, use_safetensors=True, trust_remote_code=False,
            dtype=torch.float32, output_loading_info=True, **options)
        if about["missing_keys"]:
            raise ValueError(f"the weights of {self.name} lack {sorted(about['missing_keys'])}, which would stay "
                             f"random; the file is damaged or of another model.")
        return model

    def rows(self, model: Any, clips: UInt8[Tensor, "clips frames 3 height width"]) -> Float[Tensor, "clips dim"]:
        take = self.processor
        pixels = take.rescale_and_normalize(clips, take.do_rescale, take.rescale_factor, take.do_normalize,
                                            tuple(take.image_mean), tuple(take.image_std))
        tokens = model(pixel_values=pixels).last_hidden_state
        return tokens.mean(1) if TOKENS[self.kind] == "mean" else tokens[:, 0]


def _transformers() -> Any:
    try:
        import torchvision  # noqa: F401, which its video processors need
        import transformers
    except ImportError as error:
        raise ImportError('models of clips are run by transformers: pip install "mmgraph[video,image,text]"') from error
    return transformers
