"""MovieLens 100K, as published by GroupLens, with the plots, people and posters that others have gathered for it."""

import json
from pathlib import Path

import pyarrow as pa

from mmgraph.data.raw import Raw
from mmgraph.data.sources.delimited import read_fields, read_header
from mmgraph.data.sources.films import Film, by_id, film_table, merged, names, posters, text_or_null, year_of

UNKNOWN = "unknown"


def read(folder: Path) -> Raw:
    """Every rating is an interaction, whatever its stars, which are the ``weight``.

    Title, year and genres are those of ``u.item``; the genre "unknown" is no genre. ``items_info.json``, if present,
    adds the plot as ``text``, directors and actors. Posters are those of MovieLens 1M, found through ``poster_map.csv``
    in ``posters`` or in ``../ml-1m/posters``. User age is in years.
    """
    columns = {"user": pa.int64(), "item": pa.int64(), "weight": pa.float64(), "time": pa.int64()}
    ratings = read_fields(folder / "u.data", columns, sep="\t")
    for at, name in enumerate(("user", "item")):
        ratings = ratings.set_column(at, name, ratings[name].cast(pa.string()))
    films = merged(_listed(folder), _extras(folder / "items_info.json"), _images(folder / "poster_map.csv"))
    columns = {"user": pa.string(), "age": pa.int64(), "gender": pa.string(), "occupation": pa.string(),
               "zip": pa.string()}
    users = read_fields(folder / "u.user", columns, sep="|", encoding="latin-1")
    return Raw(ratings, items=film_table(ratings["item"], films), users=users.drop_columns(["zip"]))


def _listed(folder: Path) -> dict[str, Film]:
    genres = [line.split("|")[0] for line in (folder / "u.genre").read_text("latin-1").split()]
    text = dict.fromkeys(("id", "title", "release", "video", "url"), pa.string())
    path = folder / "u.item"
    table = read_fields(path, {**text, **dict.fromkeys(genres, pa.int64())}, sep="|", encoding="latin-1")
    return by_id(path, ((row["id"], {"title": row["title"].strip(), "year": year_of(row["title"]),
                                     "genre": [genre for genre in genres if row[genre] and genre != UNKNOWN] or None})
                        for row in table.to_pylist()))


def _extras(path: Path) -> dict[str, Film]:
    if not path.is_file():
        return {}
    try:
        return by_id(path, [(row["movielens_id"], {"text": text_or_null(row["plot"]), "actor": names(row["cast"]),
                                                   "director": names(row["directors"])})
                            for row in json.loads(path.read_text("utf8"))])
    except (json.JSONDecodeError, UnicodeDecodeError, KeyError, TypeError) as error:
        raise ValueError(f"{path} must be a JSON list of objects with movielens_id, plot, directors and cast: "
                         f"{error!r}.") from error


def _images(path: Path) -> dict[str, Film]:
    if not path.is_file():
        return {}
    found = posters(path.parent / "posters", path.parents[1] / "ml-1m" / "posters")
    table = read_header(path, {"ml100k_id": pa.string(), "movielens_id": pa.string()}, sep=",", quote=True)
    return by_id(path, ((row["ml100k_id"], {"image": found[row["movielens_id"]]}) for row in table.to_pylist()
                        if row["movielens_id"] in found))
