"""A model on disk: its class by name, hyper-parameters, schema, and tensors. No pickle, no code."""

import os
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from mmgraph.data.folder import read_meta, whole_folder, write_json
from mmgraph.graph.graph import Schema
from mmgraph.models.base import Model, all_models
from mmgraph.models.cold_start import NEW_ITEMS, WithColdStart, calibration_of
from mmgraph.models.method import M
from mmgraph.models.user_start import NEW_USERS, WithUserStart

KIND, VERSION = "mmgraph-model", 1


def save_model(model: Model, folder: str | os.PathLike[str]) -> None:
    """Write a model to a folder: ``meta.json`` and ``model.safetensors``. For errors see `whole_folder`."""
    with whole_folder(folder, KIND) as new:
        save_tensors(model.state_dict(), new / "model.safetensors")
        write_json(new / "meta.json", {"format": KIND, "version": VERSION, **description(model)})


def load_model(folder: str | os.PathLike[str], schema: Schema | None = None) -> Model:
    """Read a model.

    Args:
        folder: what `save_model` wrote.
        schema: if given, the schema that the model must have been trained for.

    Raises:
        FileNotFoundError: if the folder holds no model.
        ValueError: if it is damaged, of an unknown class, or was trained for another schema.
    """
    meta = read_meta(folder, KIND, VERSION)
    check_schema(meta, schema, str(folder))
    state = load_tensors(Path(folder).expanduser() / "model.safetensors")
    return rebuilt(meta, state)


def rebuilt(meta: Mapping[str, Any], state: Mapping[str, Tensor]) -> Model:
    """A model, with the methods for new items and users that it has, from what `description` tells and its state."""
    schema, cold, users = read_schema(meta), meta.get("cold_start"), meta.get("user_start")
    warm, method = ({name.removeprefix(of): t for name, t in state.items() if name.startswith(of)}
                    for of in ("warm.", "method."))
    if users is not None:
        start = NEW_USERS.by_name(users["method"], users["hyperparameters"])
        return WithUserStart(rebuilt({**meta, "user_start": None}, warm), restored(start, method))
    if cold is None:
        return model_class(meta["model"]).rebuilt(schema, meta["hyperparameters"], state)
    new = NEW_ITEMS.by_name(cold["method"], cold["hyperparameters"])
    new.build(schema.dims, cold["width"])
    return WithColdStart(model_class(meta["model"]).rebuilt(schema, meta["hyperparameters"], warm),
                         restored(new, method), width=cold["width"], calibration=calibration_of(cold["calibration"]))


def restored(method: M, state: Mapping[str, Tensor]) -> M:
    """A method that has learned what is saved; changed in place."""
    method.keep(**{name: tensor for name, tensor in state.items() if name not in method.state_dict()})
    method.load_state_dict(dict(state))
    return method.eval()


def description(model: Model) -> dict[str, Any]:
    """Class, hyper-parameters and schema as plain JSON, and the methods for new items and users, if there are any."""
    if isinstance(model, WithUserStart):
        return {**description(model.warm), "user_start": {
            "method": type(model.method).__name__, "hyperparameters": model.method.hyperparameters()}}
    if isinstance(model, WithColdStart):
        calibration = model.calibration and {"name": type(model.calibration).__name__, **asdict(model.calibration)}
        return {**description(model.warm), "cold_start": {
            "method": type(model.method).__name__, "hyperparameters": model.method.hyperparameters(),
            "width": model.width, "calibration": calibration}}
    schema = model.schema
    return {"model": type(model).__name__, "hyperparameters": model.hyperparameters(),
            "schema": {"n_nodes": dict(schema.n_nodes), "dims": dict(schema.dims),
                       "relations": [list(key) for key in schema.relations]}}


def read_schema(meta: Mapping[str, Any]) -> Schema:
    """The schema inside a description."""
    saved = meta["schema"]
    return Schema(saved["n_nodes"], saved["dims"], tuple((s, n, t) for s, n, t in saved["relations"]))


def check_schema(meta: Mapping[str, Any], schema: Schema | None, where: str) -> None:
    """Refuse a model that was saved for another schema.

    Raises:
        ValueError: naming both.
    """
    if schema is not None and (saved := read_schema(meta)) != schema:
        raise ValueError(f"{where} was saved for another schema: it has {saved}, the data at hand {schema}; "
                         f"use the data, split and features that it was trained with, or train anew.")


def model_class(name: str) -> type[Model]:
    """An imported model class by its name.

    Raises:
        ValueError: if there is none.
    """
    found = {cls.__name__: cls for cls in all_models()}
    if name not in found:
        raise ValueError(f"no model is called {name!r}; there are {', '.join(sorted(found))}. "
                         f"A model of your own must be imported first.")
    return found[name]


def save_tensors(tensors: Mapping[str, Tensor], file: Path) -> None:
    """Write tensors as safetensors.

    Raises:
        OSError: if writing fails.
    """
    try:
        save_file({name: t.detach().cpu().contiguous().clone() for name, t in tensors.items()}, file)
    except SafetensorError as error:
        raise OSError(f"writing {file.name} failed: {error}") from error


def load_tensors(file: Path) -> dict[str, Tensor]:
    """Read tensors.

    Raises:
        FileNotFoundError: if the file is not there.
        ValueError: if it is damaged.
    """
    if not file.is_file():
        raise FileNotFoundError(f"{file} is missing; restore it or save again.")
    try:
        return load_file(file)
    except SafetensorError as error:
        raise ValueError(f"{file} is damaged ({error}); restore it or save again.") from error
