"""Off-policy evaluation: what a new policy would have earned, from the logs of another one.

A log row is one recommendation: who it was shown to (context), what was shown (action), what came of it (reward), and
how probable it was that just this was shown (propensity). `ips` and `snips` read only the target policy's probability
of each logged action (`logged_probabilities`); `direct_method` and `doubly_robust` read its whole distribution and a
model of the reward too. Rows count as independent: where a user has many rows, the intervals are too narrow.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields

import numpy as np

from mmgraph.data.types import Floats, Ints
from mmgraph.eval.policy_value import PolicyValue, Weights, policy_value

Table = Floats | Callable[[Ints], Floats]  # contexts × actions, or the rows of these contexts
BLOCK = 256  # contexts whose rows are held at a time


@dataclass(frozen=True)
class Log:
    """What was shown, and what came of it; one entry per recommendation in each array.

    Args:
        context: number of the user, or of whatever else the policies look at.
        action: number of the item that was shown.
        reward: what it earned, such as 1 for a click; any finite number.
        propensity: probability with which the logging policy showed this action in this context, in (0, 1].

    Raises:
        ValueError: naming the array that does not fit.
    """

    context: Ints
    action: Ints
    reward: Floats
    propensity: Floats

    def __post_init__(self) -> None:
        shapes = {f.name: np.shape(getattr(self, f.name)) for f in fields(self)}
        if len(set(shapes.values())) > 1 or len(shapes["action"]) != 1 or shapes["action"][0] < 2:
            raise ValueError(f"a log is four columns of one length, at least 2 rows; got {shapes}.")
        for name in ("context", "action"):
            if (bad := getattr(self, name) < 0).any():
                raise ValueError(f"{name} numbers start at 0, got {getattr(self, name)[bad][0]} in row {bad.argmax()}.")
        if (bad := ~np.isfinite(self.reward)).any():
            raise ValueError(f"{bad.sum()} rewards are NaN or infinite, the first in row {bad.argmax()}; "
                             f"leave out rows whose outcome is unknown only if that does not depend on the outcome.")
        if (bad := ~((self.propensity > 0) & (self.propensity <= 1))).any():
            raise ValueError(f"propensities are probabilities of what was shown and must lie in (0, 1], got "
                             f"{self.propensity[bad][0]} in row {bad.argmax()} ({bad.sum()} such rows).")

    def __len__(self) -> int:
        return len(self.action)


def ips(log: Log, target: Floats, *, clip: float = float("inf"), seed: int = 0) -> PolicyValue:
    r"""Inverse propensity scoring: unbiased without clipping, if the log could have shown all that the target shows.

    .. math:: \hat V = \frac{1}{n} \sum_i w_i r_i, \qquad w_i = \min(\pi(a_i \mid x_i) / p_i, \mathrm{clip})

    Clipping lowers the variance at the price of a bias: for rewards ≥ 0 the value comes out too low, most for policies
    unlike the logging policy.

    Source: Horvitz & Thompson 1952, doi:10.1080/01621459.1952.10483446; clipping: Bottou et al. 2013, arXiv:1209.2355.

    Args:
        log: what was shown.
        target: probability with which the target policy shows each logged action, see `logged_probabilities`.
        clip: largest weight; none by default.
        seed: of the bootstrap.

    Raises:
        ValueError: if the probabilities do not fit the log.
    """
    weights = _weights(log, target, clip)
    return policy_value("IPS", weights, gain=weights.used * log.reward, seed=seed)


def snips(log: Log, target: Floats, *, clip: float = float("inf"), seed: int = 0) -> PolicyValue:
    r"""Self-normalised IPS: slightly biased, consistent, steadier; stays between the smallest and the largest reward.

    .. math:: \hat V = \sum_i w_i r_i \,/\, \sum_i w_i

    Actions that the log never takes are left out of its average without a trace; see the warnings.

    Source: Swaminathan & Joachims, "The self-normalized estimator for counterfactual learning", NeurIPS 2015.

    Args and errors: as `ips`; also a ValueError if no logged action has a positive probability.
    """
    weights = _weights(log, target, clip)
    return policy_value("SNIPS", weights, gain=weights.used * log.reward, per_weight=True, seed=seed)


def direct_method(log: Log, policy: Table, rewards: Table, *, seed: int = 0) -> PolicyValue:
    r"""The mean of a reward model under the target policy: no variance from weights, all of the model's bias.

    .. math:: \hat V = \frac{1}{n} \sum_i \sum_a \pi(a \mid x_i)\, \hat q(x_i, a)

    Its interval speaks of the sample of contexts only, not of errors of the model. Weights are only shown, not used.

    Source: Dudík, Langford & Li 2011, arXiv:1103.4601.

    Args:
        log: what was shown; its rewards are not read.
        policy: probability of each action (contexts × actions), as a table or a function of context numbers.
        rewards: expected reward of each action, likewise; learned from other data than this log.
        seed: of the bootstrap.

    Raises:
        ValueError: if a row of the policy is no distribution, or a table does not fit the log.
    """
    target, expected, _, unseen = _read(log, policy, rewards)
    return policy_value("DM", _weights(log, target), base=expected, unseen=unseen, seed=seed)


def doubly_robust(log: Log, policy: Table, rewards: Table, *, clip: float = float("inf"), self_normalised: bool = False,
                  seed: int = 0) -> PolicyValue:
    r"""The reward model, corrected by the weighted errors it makes on the log.

    .. math:: \hat V = \frac{1}{n} \sum_i \Big( \sum_a \pi(a \mid x_i)\, \hat q(x_i, a) + w_i (r_i - \hat q(x_i, a_i))
              \Big)

    Right if the propensities are right or the model is; the better the model, the smaller the variance. Clipping leaves
    part of the model's errors uncorrected.

    Source: Dudík, Langford & Li 2011, arXiv:1103.4601; self-normalised: Thomas & Brunskill 2016, arXiv:1604.00923.

    Args:
        log: what was shown.
        policy: probability of each action (contexts × actions), as a table or a function of context numbers.
        rewards: expected reward of each action, likewise; learned from other data than this log.
        clip: largest weight; none by default.
        self_normalised: divide the correction by the sum of the weights, not by the number of rows.
        seed: of the bootstrap.

    Raises:
        ValueError: if a row of the policy is no distribution, or a table does not fit the log.
    """
    target, expected, predicted, unseen = _read(log, policy, rewards)
    weights = _weights(log, target, clip)
    return policy_value("self-normalised DR" if self_normalised else "DR", weights, base=expected, unseen=unseen,
                        gain=weights.used * (log.reward - predicted), per_weight=self_normalised, seed=seed)


def logged_probabilities(log: Log, policy: Table) -> Floats:
    """Probability with which a policy shows each logged action, each context asked once.

    Raises:
        ValueError: if a row of the policy is no distribution, or has no such action.
    """
    target = np.empty(len(log))
    for contexts, rows, at in _blocks(log):
        target[rows] = _distribution(policy, contexts, log)[at, log.action[rows]]
    return target


def _read(log: Log, policy: Table, rewards: Table) -> tuple[Floats, Floats, Floats, float]:
    """Per row the probability of the logged action, the policy's expected and the logged action's predicted reward.

    Last the mean probability of actions that the log never took.
    """
    target, expected, predicted, unseen = (np.empty(len(log)) for _ in range(4))
    taken = np.unique(log.action)
    for contexts, rows, at in _blocks(log):
        chance, reward = _distribution(policy, contexts, log), _rows(rewards, contexts)
        if reward.shape != chance.shape or not np.isfinite(reward).all():
            raise ValueError(f"predicted rewards must be finite and one per action, {chance.shape}; "
                             f"got shape {reward.shape} with {(~np.isfinite(reward)).sum()} that are not finite.")
        never = np.ones(chance.shape[1], dtype=bool)
        never[taken] = False
        target[rows], predicted[rows] = chance[at, log.action[rows]], reward[at, log.action[rows]]
        expected[rows], unseen[rows] = (chance * reward).sum(1)[at], chance[:, never].sum(1)[at]
    return target, expected, predicted, float(unseen.mean())


def _blocks(log: Log) -> Iterator[tuple[Ints, Ints, Ints]]:
    """Some contexts, the rows of the log that have one of them, and which of them each of these rows has."""
    contexts, of_row = np.unique(log.context, return_inverse=True)
    order = of_row.argsort(kind="stable")
    for start in range(0, len(contexts), BLOCK):
        low, high = np.searchsorted(of_row[order], [start, start + BLOCK])
        rows = order[low:high]
        yield contexts[start:start + BLOCK], rows, of_row[rows] - start


def _rows(table: Table, contexts: Ints) -> Floats:
    if callable(table):
        return np.asarray(table(contexts))
    if contexts[-1] >= len(table):
        raise ValueError(f"the log has context {contexts[-1]}, the table only {len(table)} rows.")
    return table[contexts]


def _distribution(policy: Table, contexts: Ints, log: Log) -> Floats:
    rows = _rows(policy, contexts)
    if rows.ndim != 2 or len(rows) != len(contexts) or rows.shape[1] <= log.action.max():
        raise ValueError(f"a policy gives one row per context and one column per action, at least "
                         f"{len(contexts)} × {log.action.max() + 1}; got shape {rows.shape}.")
    if not ((rows >= 0).all() and np.allclose(rows.sum(1), 1, rtol=0, atol=1e-5)):
        raise ValueError(f"a policy's row is a distribution: at least 0, sum 1. Got a minimum of {rows.min():.3g} and "
                         f"sums of {rows.sum(1).min():.6g} … {rows.sum(1).max():.6g}.")
    return rows


def _weights(log: Log, target: Floats, clip: float = float("inf")) -> Weights:
    if np.shape(target) != (len(log),) or not ((target >= 0) & (target <= 1 + 1e-5)).all():
        raise ValueError(f"target is the probability of each logged action, {len(log)} numbers in [0, 1]; "
                         f"got shape {np.shape(target)}, from {np.min(target):.3g} to {np.max(target):.3g}.")
    return Weights(target / log.propensity, clip)
