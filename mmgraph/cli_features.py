"""The commands about features: encode, inspect, verify, export."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import pandas as pd
import pyarrow as pa
from rich.console import Console
from rich.table import Table

from mmgraph.data import Dataset, Split, load
from mmgraph.data.raw import MODALITIES
from mmgraph.data.split import SplitRule
from mmgraph.features import Account, Features, Nodes, report, verify
from mmgraph.features import encode as encode_content
from mmgraph.features import export as export_as
from mmgraph.features import load as load_features
from mmgraph.features import save as save_features
from mmgraph.features.exchange import Layout
from mmgraph.features.sheet import contact_sheet

TABLES = (".csv", ".parquet", ".jsonl")


def encode(data: str, out: str, root: str | None = None, text: str | None = None, image: str | None = None,
           audio: str | None = None, video: str | None = None, profile: str | None = None,
           of: Literal["item", "user"] = "item", store: str | None = None, batch_size: int = 64,
           workers: int | None = None, devices: Sequence[str] = (), dtype: str = "float32", shard_size: int = 512,
           engine: Literal["local", "ray"] = "local", split: SplitRule | None = None, seed: int = 0) -> None:
    """Encode texts, pictures, sounds and films; what was encoded before is not encoded again.

    Args:
        data: name of a data set (`mmgraph.cards()` lists them); or a .csv, .parquet or .jsonl file with a column "item"
            (or "user") and of text, image, audio, video what there is, paths relative to the file.
        out: folder for the features.
        root: folder that holds the data set's files.
        text: "provider/model", a folder with a model, a file of word vectors, or classical. If no modality is named,
            all that there is is encoded by classical encoders.
        image: likewise.
        audio: likewise.
        video: likewise; an image model sees some frames.
        profile: classical, for all other attributes.
        of: whose content.
        store: folder of encoded rows, shared by any number of runs; by default beside out, named .rows at its end.
        batch_size: contents given to a model at once.
        workers: processes that decode; by default one per two cores.
        devices: e.g. '["cuda:0"]'.
        dtype: float32, float16 or bfloat16.
        shard_size: contents per file of the store: what a killed run can lose.
        engine: ray spreads the work over a Ray cluster.
        split: protocol from whose warm nodes classical encoders learn their statistics; without it from all.
        seed: of the split.
    """
    nodes = load(data, needed(root)) if not data.endswith(TABLES) else table_nodes(Path(data), of)
    fit = None
    if split is not None:
        if not isinstance(nodes, Dataset):
            raise ValueError(f"--split needs interactions, and {data} is a table of content; name a data set.")
        fit = warm(nodes.split(split, seed=seed), of)
    features = encode_content(nodes, text=text, image=image, audio=audio, video=video, profile=profile, of=of,
                              fit_items=fit, store=store or out.rstrip("/") + ".rows", batch_size=batch_size,
                              workers=workers, devices=devices, dtype=dtype, shard_size=shard_size, engine=engine)
    save_features(features, out)
    show(features)
    print(f"{out}: the features; mmgraph features inspect --folder {out} --all true lists all that is amiss.")


def inspect(folder: str, all: bool = False, sheet: str | None = None, data: str | None = None,
            root: str | None = None, modality: str | None = None, items: Sequence[str] | None = None) -> None:
    """Say what a folder of features holds, and which items are missing, unreadable or suspicious.

    Args:
        folder: the features.
        all: list every item in trouble, not only some.
        sheet: a .png or .html file for a sheet of nearest neighbours to look at; needs data and modality.
        data: as in encode.
        root: as in encode.
        modality: whose neighbours to show.
        items: ids to show on the sheet; drawn at random if not given.
    """
    features = load_features(folder)
    show(features, every=all)
    if sheet is not None:
        dataset = load(needed(data, "--data"), needed(root))
        contact_sheet(features, dataset, sheet, modality=needed(modality, "--modality"), items=items)
        print(f"{sheet}: nearest neighbours to look at.")


def check(folder: str, data: str | None = None, root: str | None = None) -> None:
    """Hash every file of a folder of features again; with data, also the content that was encoded.

    Args:
        folder: the features.
        data: as in encode.
        root: as in encode.
    """
    features = load_features(folder)
    nodes = None
    if data is not None:
        nodes = table_nodes(Path(data), features.ids.what) if data.endswith(TABLES) else load(data, needed(root))
    verify(folder, nodes)
    print(f"{folder}: every file is as it was written{', and the content is what was encoded' if nodes else ''}.")


def export(folder: str, out: str, layout: Layout = "npy", data: str | None = None, root: str | None = None) -> None:
    """Write features in the layout of other tools.

    Args:
        folder: the features.
        out: folder (npy, mmrec) or file (parquet).
        layout: npy with ids, mmrec (rows numbered as in its data set), or parquet.
        data: data set whose numbering mmrec needs.
        root: folder that holds its files.
    """
    dataset = load(data, needed(root)) if data is not None else None
    export_as(load_features(folder), out, layout, dataset=dataset)
    print(f"{out}: {layout}.")


def show(features: Features, every: bool = False) -> None:
    """Print the accounts of all modalities."""
    console = Console()
    for account in report(features):
        console.print(str(account), markup=False, highlight=False, soft_wrap=True)
        if every and account.table:
            console.print(trouble(account, features.ids.what))


def trouble(account: Account, what: str) -> Table:
    """Everything that is amiss, as a table."""
    table = Table(what, "trouble", "why", title=account.modality)
    for row in account.table:
        table.add_row(*row)
    return table


def table_nodes(file: Path, what: str) -> Nodes:
    """Content from a table file; paths in it are relative to its folder."""
    if not file.is_file():
        raise FileNotFoundError(f"there is no file {file}.")
    if file.suffix == ".parquet":
        frame = pd.read_parquet(file)
    else:
        frame = pd.read_csv(file, dtype={what: str}) if file.suffix == ".csv" else \
            pd.read_json(file, lines=True, dtype={what: str}, convert_dates=False)
    for name in MODALITIES[1:]:
        if name in frame:
            frame[name] = [os.path.join(file.parent, each) if isinstance(each, str) else each for each in frame[name]]
    return Nodes.from_frame(pa.Table.from_pandas(frame, preserve_index=False), what, what=what)


def warm(split: Split, of: str) -> Sequence[str]:
    """Ids of the items or users that training may see."""
    if of == "item":
        return split.data.items.names(split.warm_items.nonzero()[0])
    return split.data.users.names(split.warm_users.nonzero()[0])


def needed(given: str | None, option: str = "--root") -> str:
    """An option that this use cannot do without.

    Raises:
        ValueError: if it was not given.
    """
    if given is None:
        raise ValueError(f"{option} is missing; see --help.")
    return given
