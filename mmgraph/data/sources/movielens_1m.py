"""MovieLens 1M, as published by GroupLens, with the plots, people and posters that others have gathered for it."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from mmgraph.data.raw import Raw
from mmgraph.data.sources.delimited import read_fields
from mmgraph.data.sources.films import Film, by_id, film_table, merged, names, posters, text_or_null, year_of

USER = ("user", "gender", "age", "occupation", "zip")
EXTRAS = ("id", "title", "year", "age_rating", "release", "genres", "directors", "writers", "actors", "plot", "poster")


def read(folder: Path) -> Raw:
    """Every rating is an interaction, whatever its stars; items are the 3,706 rated films of the 3,883 listed.

    From ``ratings.dat`` come stars as ``weight`` and ``time``; ``ratings.parquet`` (columns ``userID``, ``movieID``), a
    copy without both, is read where ``ratings.dat`` is absent. Title, year and genres are those of ``movies.dat``.
    ``movies_extrainfos.dat``, if present, adds the plot as ``text``, directors, writers and actors, and the folder
    ``posters`` the images ``<id>.jpg``. User attributes are the publisher's codes (see its README), as categories.
    """
    ratings = _ratings(folder)
    users = read_fields(folder / "users.dat", dict.fromkeys(USER, pa.string()), sep="::", encoding="latin-1")
    return Raw(ratings, items=film_table(ratings["item"], _films(folder)), users=users.drop_columns(["zip"]))


def _ratings(folder: Path) -> pa.Table:
    path = folder / "ratings.dat"
    if path.is_file():
        columns = {"user": pa.int64(), "item": pa.int64(), "weight": pa.float64(), "time": pa.int64()}
        table = read_fields(path, columns, sep="::", encoding="latin-1")
    else:
        path = folder / "ratings.parquet"
        table = pq.read_table(path)
        if missing := {"userID", "movieID"} - set(table.column_names):
            raise KeyError(f"{path} has no column {sorted(missing)}, only {table.column_names}.")
        table = table.select(["userID", "movieID"]).rename_columns(["user", "item"])
    for at, name in enumerate(("user", "item")):
        table = table.set_column(at, name, table[name].cast(pa.string()))
    return table.replace_schema_metadata(None)


def _films(folder: Path) -> dict[str, Film]:
    extras = folder / "movies_extrainfos.dat"
    images = {id_: {"image": path} for id_, path in posters(folder / "posters").items()}
    return merged(_listed(folder / "movies.dat"), _extras(extras) if extras.is_file() else {}, images)


def _listed(path: Path) -> dict[str, Film]:
    table = read_fields(path, dict.fromkeys(("id", "title", "genres"), pa.string()), sep="::", encoding="latin-1")
    return by_id(path, ((row["id"], {"title": row["title"], "year": year_of(row["title"]),
                                     "genre": [genre for genre in row["genres"].split("|") if genre] or None})
                        for row in table.to_pylist()))


def _extras(path: Path) -> dict[str, Film]:
    """UTF-8 with Windows line ends: read as Latin-1, as is sometimes said, 2,482 bytes become wrong letters."""
    table = read_fields(path, dict.fromkeys(EXTRAS, pa.string()), sep="::")
    return by_id(path, ((row["id"], {"text": text_or_null(row["plot"]), "director": names(row["directors"]),
                                     "writer": names(row["writers"]), "actor": names(row["actors"])})
                        for row in table.to_pylist()))
