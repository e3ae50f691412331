"""Strict cold start, executed: what training must not see is changed, and nothing that was trained may move."""

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass

import numpy as np
from tqdm import tqdm

from mmgraph.data.split import TEST, VALID, Split
from mmgraph.data.types import Bools
from mmgraph.data.vocabulary import Vocabulary
from mmgraph.features.features import Features
from mmgraph.models.fitted import Fitted
from mmgraph.study.altered import World, unchanged, unrevealed
from mmgraph.study.claims import CLAIMS, SCORING, SELECTING, SelectsOn, worlds
from mmgraph.study.drawn import Drawn, watched_sampler
from mmgraph.study.trace import Trace, moved

Fit = Callable[[Split, Features], Fitted]


class LeakageError(AssertionError):
    """Something of what must not be seen has moved something; the text names what."""


@dataclass(frozen=True)
class LeakageCheck:
    """One line of a report.

    Args:
        name: a key of `CLAIMS`.
        passed: none where nothing was checked, since there is nothing to change, such as cold users in a split without.
        detail: what differed, or why nothing was checked.
    """

    name: str
    passed: bool | None
    detail: str

    def __str__(self) -> str:
        word = {True: "passed", False: "FAILED", None: "–"}[self.passed]
        about = self.detail if self.passed is False else CLAIMS[self.name]
        return f"{word:<6}  {self.name:<19}  {about}" + (f" ({self.detail})" if about != self.detail != "" else "")


@dataclass(frozen=True)
class LeakageReport:
    """What `check_leakage` found, one line per check."""

    checks: tuple[LeakageCheck, ...]

    def __getitem__(self, name: str) -> LeakageCheck:
        return {check.name: check for check in self.checks}[name]

    def __str__(self) -> str:
        return "\n".join(map(str, self.checks))

    @property
    def failed(self) -> list[str]:
        """Names of the checks that failed."""
        return [check.name for check in self.checks if check.passed is False]

    @property
    def passed(self) -> bool:
        """Whether none failed."""
        return not self.failed


def check_leakage(fit: Fit, split: Split, features: Features | None = None, *, selects_on: SelectsOn = "warm",
                  only: Collection[str] | None = None, strict: bool = True, progress_bar: bool = True) -> LeakageReport:
    """Fit a model again and again, each time with something else changed that training must not see.

    "Nothing trained" means: every tensor of the state (that of a cold-start method included), the training losses, the
    selected epoch, and the scores of warm users and warm items (at most 1,000 users), bit for bit on CPU; validation
    scores to 1e-5, since the mean over other users rounds otherwise. Should two epochs tie but for that, the losses
    count alone. Scores of cold items (for warm and cold users) and of cold users (at most 1,000) agree to 1e-5 of the
    largest; those of cold items may move with cold items' content, and with it alone.

    Validation interactions may move the selected epoch, after which the training losses of the epochs that both fits
    ran count alone, and everything where the same epoch was selected or there is none, as of a closed form. A fit that
    chooses more on validation, such as a calibration, moves with it: leave ``validation permuted`` and ``validation
    removed`` out.

    What is revealed of cold users and items (history) is for scoring, where it may move everything; so all but the
    check ``revealed`` are done on the split with nothing revealed. One cold item and its interactions stay when the
    others are removed, so that validation still tells warm from cold; for the same reason one user's validation
    interactions with warm items stay, and one's with cold items.

    A check that changes nothing, such as one user's interactions dealt to other users, is reported as not done, and so
    is ``sampler`` if nothing was drawn, as by a closed form, and ``parts`` where a publisher's own split (`Given`) has
    cold items or users in both parts. None of these fails. Nor do, for ``parts``, items that a protocol did not draw as
    cold but whose interactions it all held out, which are no candidates, and users without training where it draws
    items alone.

    The sampler that is watched is `mmgraph.train.NegativeSampler`, process-wide, during one fit; a sampler of your own
    shows in ``items removed``. More than a dozen fits, so choose few epochs and a small model: what more epochs or
    another seed would show is not seen.

    Args:
        fit: fits on a split and features, anew each time; the same twice for the same, e.g.
            ``lambda s, f: mg.fit(mg.VBPR, s, f, monitor_on=["warm"])``.
        split: of any protocol with cold items; its cold test users are checked too. It is never unlocked here.
        features: content of the items.
        selects_on: ``warm``: the epoch is chosen on warm items alone (``monitor_on=["warm"]``; the default with
            ``cold=``; closed forms choose none), so that no cold item may matter. ``cold``: on cold validation items
            too, whose content then may move the epoch, but no training loss; what is changed otherwise are the cold
            items without a validation interaction, which may not even move a validation score.
        only: names of the checks to do, keys of `CLAIMS`; all by default.
        strict: raise if one fails.
        progress_bar: show one.

    Raises:
        KeyError: for an unknown check.
        LeakageError: if a check fails, with the whole report as its text.
        ValueError: if the split is blind, and so has no test interactions to change; if a fit is not of the users and
            items that it was given, or of a model that was returned before.
    """
    wanted = _wanted(split, only, selects_on)
    whole = World(split, (features or Features.empty(split.data.items)).aligned(split.data.items))
    checks = {name: LeakageCheck(name, None, "nothing to check") for name in wanted}
    if "parts" in checks:
        checks["parts"] = _parts(split)
    if executed := [name for name in wanted if name != "parts"]:
        checks.update(_executed(fit, whole, executed, selects_on, progress_bar))
    report = LeakageReport(tuple(checks.values()))
    if strict and not report.passed:
        raise LeakageError(f"{len(report.failed)} of {len(checks)} checks failed: {', '.join(report.failed)}.\n"
                           f"{report}")
    return report


def _executed(fit: Fit, whole: World, names: list[str], selects_on: SelectsOn,
              progress_bar: bool) -> Iterator[tuple[str, LeakageCheck]]:
    """Fit as it is, with an eye on the sampler, and in each of the other worlds in which something differs."""
    base = unrevealed(whole)
    with watched_sampler(base.split) as drawn:
        first = _fitted(fit, base)
    before = Trace.of(first, base.split)
    for name in tqdm(names, desc="leakage", unit="check", disable=not progress_bar, leave=False):
        if name == "sampler":
            yield name, _sampler(drawn)
        for world in worlds(name, base, whole, selects_on):
            if unchanged(base, world):
                continue
            fitted = _fitted(fit, world)
            if fitted.model is first.model:
                raise ValueError(f"the fit for {name!r} is that of an earlier call; fit must train anew each time, "
                                 f"without a cache.")
            check = _compared(name, before, Trace.of(fitted, base.split))
            yield name, check
            if not check.passed:
                break


def _fitted(fit: Fit, world: World) -> Fitted:
    """A fit, of what it was given."""
    fitted = fit(*world)
    for got, given in ((fitted.users, world.split.data.users), (fitted.items, world.split.data.items)):
        if not _same_ids(got, given):
            raise ValueError(f"fit must be of the {len(given)} {given.what}s of the split that it is given, got one of "
                             f"{len(got)}, or of others; train anew on each split, without a cache.")
    return fitted


def _same_ids(one: Vocabulary, two: Vocabulary) -> bool:
    """In any order, since a fit may number anew."""
    return len(one) == len(two) and bool((one.find(two.ids) >= 0).all())


def _wanted(split: Split, only: Collection[str] | None, selects_on: str) -> list[str]:
    if selects_on not in ("warm", "cold"):
        raise ValueError(f"selects_on must be 'warm' or 'cold', got {selects_on!r}.")
    if split.blind:
        raise ValueError("a blind split has no test interactions that could be changed; give the split that it was "
                         "made of, locked.")
    if unknown := sorted(set(only or ()) - set(CLAIMS)):
        raise KeyError(f"no check {unknown}; there are {list(CLAIMS)}.")
    return [name for name in CLAIMS if only is None or name in only]


def _parts(split: Split) -> LeakageCheck:
    """Whether validation and test share a cold item or user; that of a publisher is told, and nobody's fault."""
    if split.warm_items.all() and split.warm_users.all():
        return LeakageCheck("parts", None, "no item or user is cold")
    found = []
    for number, cold, ids in ((split.data.item, split.cold_items, split.data.items),
                              (split.data.user, _cold_users(split), split.data.users)):
        both = np.intersect1d(number[split.part == VALID], number[split.part == TEST])
        both = both[cold[both]]
        if len(both):
            found.append(f"{len(both)} cold {ids.what}s are in both, e.g. {ids.names(both[:3])}")
    published = split.name == "Given" and bool(found)
    return LeakageCheck("parts", None if published else not found,
                        ", ".join([*found, *(["as the publisher has it"] if published else [])]))


def _cold_users(split: Split) -> Bools:
    """Users without training; none where the protocol draws items and no users: who took nothing but new items there is
    judged by all of them, like everybody.
    """
    drawn = split.pools is None or "share_users" in split.parameters
    return ~split.warm_users if drawn else np.zeros(len(split.data.users), dtype=bool)


def _sampler(drawn: Drawn) -> LeakageCheck:
    clean = not drawn.cold_negatives and not drawn.stray_positives
    if clean and not drawn.negatives:
        return LeakageCheck("sampler", None, "nothing was drawn")
    counts = (f"{drawn.cold_negatives:,} of {drawn.negatives:,} negatives are cold, {drawn.stray_positives:,} of "
              f"{drawn.positives:,} positives not in training")
    return LeakageCheck("sampler", clean, "" if clean else counts)


def _compared(name: str, before: Trace, after: Trace) -> LeakageCheck:
    """Whether what was changed has moved something."""
    differs = moved(before, after, may_select=name in SELECTING, may_score=SCORING.get(name, ()))
    if before.epoch == after.epoch or any(line.startswith("training") for line in differs):
        return LeakageCheck(name, not differs, ", ".join(differs))
    note = f"training losses are the same, but epoch {after.epoch} was selected, not {before.epoch}"
    return LeakageCheck(name, not differs, ", ".join([*differs, note]))
