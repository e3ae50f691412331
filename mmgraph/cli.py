"""The command line: a thin shell over what Python users call. Options are read from signatures; YAML in and out."""

import logging
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from jsonargparse import ArgumentParser, Namespace
from rich.console import Console

from mmgraph import cli_features, cli_study
from mmgraph.cli_given import Method, given_to, method_of, named, rule_of
from mmgraph.data import ColdItems, Dataset, Given, Split, load
from mmgraph.data.folder import read_json, write_text
from mmgraph.data.raw import MODALITIES
from mmgraph.data.split import SplitRule
from mmgraph.data.world import World, world
from mmgraph.eval.evaluate import Part
from mmgraph.eval.evaluate import evaluate as evaluate_on
from mmgraph.features import Features, content_features
from mmgraph.features import load as load_features
from mmgraph.models import (
    BPRMF,
    EASE,
    FREEDOM,
    GAT,
    VBPR,
    ColdStart,
    ItemKNN,
    LightGCN,
    Model,
    Popularity,
    TableScorer,
    UserStart,
)
from mmgraph.nn.completion import Completion
from mmgraph.serve import Recommender
from mmgraph.study import Comparison, compare, save, table, write_report
from mmgraph.study.holes import with_holes

Choice = tuple[type[Model], Mapping[str, Any]]
BASELINES: dict[str, Choice] = {"Popularity": (Popularity, {}), "ItemKNN": (ItemKNN, {}), "EASE": (EASE, {})}
CONFIG = "config.yaml"


def demo(out: str = "mmgraph-demo", seed: int = 0) -> None:
    """Generate a small world of pictures, sounds, films and texts; rank its items, old and new, with every model.

    Args:
        out: folder for the world, the table and the report page.
        seed: of the world, the split and the training.
    """
    torch.set_num_threads(1)  # the world is small: threads would wait for each other longer than they work
    made = world(Path(out) / "world", seed=seed)
    data = Dataset.from_raw(made.raw)
    split = data.split(ColdItems(), seed=seed)
    features = content_features(data, fit_items=warm_ids(split))
    models = {**BASELINES, **{cls.__name__: (cls, {}) for cls in (BPRMF, VBPR, LightGCN, GAT, FREEDOM)}}
    found = compare(models, split, features, seed=seed, extra={"oracle": oracle(made, split)}, max_epochs=60,
                    patience=4, every=3, lr=0.005, batch_size=1024)
    finish(found, data, Path(out), best="FREEDOM")


def train(data: str, root: str, out: str = "mmgraph-out", text: str | None = None, image: str | None = None,
          audio: str | None = None, video: str | None = None, features: str | None = None,
          attributes: Sequence[str] = (), seed: int = 0, max_epochs: int = 30, patience: int = 3, every: int = 1,
          lr: float = 1e-3, batch_size: int = 4096, missing: float = 0.0, completed: Completion = "zero", *,
          model: Choice = (FREEDOM, {}), rule: SplitRule | None = None, cold: Method | None = None,
          new_users: Method | None = None) -> None:
    """Train a model beside three baselines; end with a table, a report page and a bundle that recommends.

    Args:
        data: name of the data set, e.g. ml-1m; `mmgraph.cards()` lists them.
        root: folder that holds its files.
        out: folder for the results; a training that was stopped goes on from there.
        text: encoder of the texts; if no modality is named, all that the data have are encoded.
        image: encoder of the pictures.
        audio: encoder of the sounds.
        video: encoder of the films.
        features: folder that ``mmgraph encode`` left, to be used instead of encoding.
        attributes: columns of items or users that become nodes of the graph.
        seed: of the split and the training.
        max_epochs: at most this many epochs.
        patience: stop after this many validations without a better score.
        every: validate after every so many epochs.
        lr: learning rate.
        batch_size: interactions per step.
        missing: share of the items' texts, pictures and so on to take away at random, to see what that costs.
        completed: how what is missing is made up; zero leaves it.
        model: class and hyper-parameters.
        rule: the protocol.
        cold: name and hyper-parameters of the cold-start method that scores new items in place of the model.
        new_users: of the method that scores users who are new and took nothing, by their attributes.
    """
    dataset = load(data, root)
    split = dataset.split(rule or ColdItems(), seed=seed)
    encoders: dict[str, Any] = {"text": text, "image": image, "audio": audio, "video": video}
    encoded = load_features(features) if features is not None else None
    has_content = dataset.vectors or encoded or set(MODALITIES) & set(dataset.item_content.column_names)
    content = content_features(dataset, fit_items=warm_ids(split), encoded=encoded, **encoders) \
        if has_content or any(encoders.values()) else None
    if missing or completed != "zero":
        content = with_holes(content or Features.empty(split.data.items), split, {"rate": missing, "seed": seed},
                             completed)
    cls, hyper = model
    for of, (name, own) in {of: method for of, method in (("cold", cold), ("new_users", new_users)) if method}.items():
        hyper = {**hyper, of: name, **{f"{of}.{option}": value for option, value in own.items()}}
    models = BASELINES | {cls.__name__: (cls, {**hyper, "checkpoint": Path(out) / "checkpoint"})}
    found = compare(models, split, content, seed=seed, attributes=attributes, max_epochs=max_epochs,
                    patience=patience, every=every, lr=lr, batch_size=batch_size)
    finish(found, dataset, Path(out), best=cls.__name__)


def evaluate(run: str, part: Part = "test", ks: Sequence[int] = (10, 20),
             metrics: Sequence[str] = ("recall", "ndcg", "precision", "hit_rate", "mrr", "map")) -> None:
    """Measure the bundle that ``mmgraph train`` left.

    Args:
        run: the folder that was its ``out``.
        part: the part to read.
        ks: list lengths.
        metrics: names of metrics.
    """
    config = options_of(train).parse_path(str(Path(run) / CONFIG))
    split = load(config.data, config.root).split(rule_of(config), seed=config.seed)
    trained_on = read_json(Path(run) / "results.json", "a run")["provenance"]["split fingerprint"]
    if trained_on != split.fingerprint:
        raise ValueError(f"{run} was trained on the split {trained_on}, but its {CONFIG} and the data in {config.root} "
                         f"now make {split.fingerprint}; restore the file or the data, or train anew.")
    fitted = Recommender.load(Path(run) / "bundle").fitted
    print(evaluate_on(fitted, split.unlock_test() if part == "test" else split, part=part, ks=ks, metrics=metrics))


def recommend(bundle: str, users: Sequence[str], k: int = 10, new: bool = False) -> None:
    """Print the best items for some users.

    Args:
        bundle: the folder ``bundle`` that ``mmgraph train`` left.
        users: user ids.
        k: items per user.
        new: only items that were not there in training.
    """
    recommender = Recommender.load(bundle)
    print(recommender.recommend(users, k, among="new" if new else "all").to_string(index=False))


COMMANDS: dict[str, Any] = {
    "demo": demo, "encode": cli_features.encode,
    "features": {"inspect": cli_features.inspect, "verify": cli_features.check, "export": cli_features.export},
    "train": train, "evaluate": evaluate, "recommend": recommend, "study": cli_study.study, "report": cli_study.report,
    "audit": cli_study.audit,
}
HELP = {"features": "look at a folder of features, check it, or write it in the layout of other tools"}


def warm_ids(split: Split) -> Sequence[str]:
    """Ids of the items that training may see."""
    return split.data.items.names(split.warm_items.nonzero()[0])


def oracle(made: World, split: Split) -> TableScorer:
    """The scores of one who knows the factors behind a generated world, in the split's numbering."""
    return TableScorer(torch.from_numpy(made.oracle(split.data.users.ids, split.data.items.ids)).float())


def finish(found: Comparison, data: Dataset, out: Path, best: str) -> None:
    """Write the results, the page and the bundle, and print the table."""
    save(found, out)
    write_report(found, out / "report.html")
    Recommender.of(found.fitted[best], data).save(out / "bundle")
    Console().print(table(found))
    print(f"{out / 'report.html'}: the page to look at; {out / 'results.csv'}, {out / 'results.json'}: the table; "
          f"{out / 'bundle'}: {best}, ready to recommend.")


def parser() -> ArgumentParser:
    """The commands and their options."""
    top = ArgumentParser(prog="mmgraph", description="Multimodal graph recommendation, cold items included.")
    add_commands(top, COMMANDS)
    return top


def add_commands(top: ArgumentParser, commands: Mapping[str, Any]) -> None:
    """Commands, and groups of commands, below a parser."""
    choices = top.add_subcommands(title="commands")
    for name, of in commands.items():
        group = isinstance(of, dict)
        about = HELP[name] if group else (of.__doc__ or "").partition("\n")[0]
        below = ArgumentParser(description=about) if group else options_of(of)
        choices.add_subcommand(name, below, help=about)
        if group:
            add_commands(below, of)


def options_of(function: Callable[..., None]) -> ArgumentParser:
    """The options of one command."""
    options = ArgumentParser(description=(function.__doc__ or "").partition("\n")[0])
    if function in (train, cli_study.audit):
        options.add_argument("--split", type=SplitRule, default=ColdItems() if function is train else Given(),
                             help="the protocol")
    if function is train:
        options.add_argument("--config", action="config", help="read options from a YAML file")
        options.add_subclass_arguments(Model, "model", skip={"schema"}, required=False,
                                       help="the model and its hyper-parameters, e.g. --model FREEDOM --model.k 5")
        options.add_subclass_arguments(ColdStart, "cold", required=False,
                                       help="what scores new items, e.g. --cold KernelRidge --cold.l2 3")
        options.add_subclass_arguments(UserStart, "new_users", required=False,
                                       help="what scores users without history, e.g. --new_users ProfileRidge")
        options.set_defaults(model={"class_path": "mmgraph.models.FREEDOM"})
    skip: set[str | int] = {"model", "rule", "cold", "new_users"}
    if function is cli_study.audit:
        skip.add("split")
    options.add_function_arguments(function, skip=skip, as_positional=function in (cli_study.study, cli_study.report))
    return options


def run(command: Any, chosen: Namespace) -> None:
    """Run a command, or the one that is chosen in a group of commands."""
    if isinstance(command, dict):
        run(command[chosen.subcommand], chosen[chosen.subcommand])
        return
    built = options_of(command).instantiate(chosen)
    command(**{name: value for name, value in built.as_dict().items() if name != "config"})


def main(arguments: Sequence[str] | None = None) -> None:
    """Run a command; an error that the user can mend is one line, not a traceback."""
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(message)s")
    config = parser().parse_args(arguments)
    try:
        if config.subcommand == "train":
            picked = config.train.model
            chosen = {k: v for k, v in config.train.as_dict().items()
                      if k not in ("model", "split", "config", "cold", "new_users")}
            Path(config.train.out).mkdir(parents=True, exist_ok=True)
            write_text(Path(config.train.out) / CONFIG, options_of(train).dump(config.train))
            train(**chosen, model=(named(picked.class_path), given_to(picked)), rule=rule_of(config.train),
                  cold=method_of(config.train, "cold"), new_users=method_of(config.train, "new_users"))
        else:
            run(COMMANDS[config.subcommand], config[config.subcommand])
    except (ValueError, KeyError, TypeError, OSError, FloatingPointError) as error:
        text = error.args[0] if isinstance(error, KeyError) and error.args else error
        print(f"mmgraph: {text}", file=sys.stderr)
        sys.exit(1)


if __name__ == "__main__":
    main()
