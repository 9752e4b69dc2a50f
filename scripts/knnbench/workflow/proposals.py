"""Which setting of a backend to try next, in search of the fastest with a recall: Optuna's TPE sampler under that constraint
(Akiba et al., Optuna, KDD 2019; Watanabe and Hutter, c-TPE, IJCAI 2023).
"""

import math
from dataclasses import dataclass

import optuna

from knnbench.config.settings import combinations, holds, in_words

SEARCHES = 8  # tried of one build: what a build costs is worth several
TRIES = 10  # for something that was not measured yet
LOGARITHMIC = 4  # a range whose ends differ by this factor is searched by factors

optuna.logging.set_verbosity(optuna.logging.WARNING)


@dataclass(frozen=True)
class Setting:
    """A build and a search, and what was measured of them.

    Attributes
    ----------
    build, search : dict, parameter -> value
    listed : bool, whether it is one of the entry's own
    status, reason : str
    build_s, search_s : float, what its index took, and its part of a cell
    recall : float; 0 where there are no numbers
    margin : float, standard error of the recall, as of a mean over queries
    seconds : float, of all queries; infinite where there are no numbers
    measured : int, how often
    """

    build: dict
    search: dict
    listed: bool
    status: str
    reason: str
    build_s: float
    search_s: float
    recall: float = 0.0
    margin: float = 0.0
    seconds: float = math.inf
    measured: int = 1

    @property
    def values(self):
        return self.build | self.search

    def reaches(self, recall):
        """Whether it has a recall, and not by the luck of the queries."""
        return self.recall - self.margin >= recall

    def words(self):
        return ", ".join(in_words(self.values))


def fastest(settings, recall):
    """The fastest of settings that reach a recall; None if none does."""
    return min((each for each in settings if each.reaches(recall)), key=lambda each: each.seconds, default=None)


def listed(entry):
    """The settings that an entry lists: of each build the searches."""
    found, where = [], entry.get("where", "1")
    for build in combinations(entry.get("build", {})):
        searches = [each for each in combinations(entry.get("search", {})) if holds(where, build | each, "where")]
        found += [(build, searches)] * bool(searches)
    return found


def are_words(values):
    return any(isinstance(value, (str, bool)) for value in values)


def distribution(values):
    """What Optuna chooses from: the range of several numbers, or one of several words."""
    if are_words(values):
        return optuna.distributions.CategoricalDistribution(values)
    low, high = min(values), max(values)
    whole = all(isinstance(value, int) for value in values)
    kind = optuna.distributions.IntDistribution if whole else optuna.distributions.FloatDistribution
    return kind(low, high, log=low > 0 and high >= LOGARITHMIC * low)


class Space:
    """What may be chosen: the parameters of an entry's `build` and `search`, from its lists and what its `tune` adds to them.

    Parameters
    ----------
    entry : dict, of the configuration

    Attributes
    ----------
    values : dict, parameter -> list of value
    free : dict, parameter -> Optuna's distribution; of those that may have several values
    """

    def __init__(self, entry):
        self.entry, self.values = entry, {}
        for name, value in (entry.get("build", {}) | entry.get("search", {})).items():
            values = [*(value if isinstance(value, list) else [value]), *entry.get("tune", {}).get(name, ())]
            self.values[name] = list(dict.fromkeys(values))
        self.free = {name: distribution(values) for name, values in self.values.items() if len(values) > 1}

    def has(self, setting):
        """Whether a setting is of this space: it may have been measured when the entry was another."""
        return setting.keys() == self.values.keys() and all(
            value in self.values[name]
            if are_words(self.values[name])
            else min(self.values[name]) <= value <= max(self.values[name])
            for name, value in setting.items()
        )

    def part(self, which, chosen):
        """Of what was chosen that of "build" or "search", with what is not free."""
        return {name: chosen.get(name, self.values[name][0]) for name in self.entry.get(which, {})}

    def propose(self, settings, recall, seed, build=None):
        """A build, or the one that is given, and searches to try next.

        Parameters
        ----------
        settings : list of Setting, that were measured
        recall : float, to be reached
        seed : int
        build : dict or None

        Returns
        -------
        build : dict
        searches : list of dict, `SEARCHES` at most; none if what was proposed was measured before, or breaks `where`
        """
        study = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=seed))
        slowest = max((each.seconds for each in settings if each.seconds < math.inf), default=1.0)
        for each in settings:
            if each.status == "not_needed":  # the same search as another one, whose numbers it has
                continue
            trial = optuna.trial.create_trial(
                params={name: each.values[name] for name in self.free},
                distributions=self.free,
                value=min(each.seconds, slowest),
                constraints={"recall": recall - (each.recall - each.margin)},
            )
            study.add_trial(trial)
        done, searches = [each.values for each in settings], []
        for _ in range(SEARCHES):
            if build is not None:
                study.enqueue_trial({name: value for name, value in build.items() if name in self.free})  # the rest is sampled
            chosen = study.ask(self.free).params
            build, search = self.part("build", chosen), self.part("search", chosen)
            if build | search not in done and holds(self.entry.get("where", "1"), build | search, "where"):
                done.append(build | search)
                searches.append(search)
        return build, searches

    def step(self, settings, recall, seed, best):
        """What to measure next: what the entry lists, then new builds and in every other step more searches of the best one.

        With these the best search is measured again: of many that were measured once, the fastest is one that was lucky.

        Returns
        -------
        build, searches : as of `propose`; None if nothing new was found
        """
        known = [each.values for each in settings]
        for build, searches in listed(self.entry):
            if left := [each for each in searches if build | each not in known]:
                return build, left
        for attempt in range(TRIES):
            again = best.build if best and (seed + attempt) % 2 else None
            build, searches = self.propose(settings, recall, TRIES * seed + attempt, again)
            if searches:
                return build, [best.search, *searches] if again else searches
        return None
