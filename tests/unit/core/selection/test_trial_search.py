"""The bounded read: of a store that filters as MLflow does it selects as reading everything does."""

from __future__ import annotations

import hashlib
import math
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bakeoff.core.config.settings import SelectionSettings
from bakeoff.core.records import BackboneSelection, Refit, Trial
from bakeoff.core.selection import trial_search
from bakeoff.core.selection.query import FieldName, ReadTrials, SearchRules, TrialPage, TrialQuery
from bakeoff.core.selection.select import crown_champions, hold_contests, leaders_of
from bakeoff.core.selection.study_groups import OLDEST_SCHEMA, SelectionRules
from bakeoff.core.selection.trial_search import search_contest
from bakeoff.errors import ConfigError
from bakeoff.measure.tasks.metrics import Direction

FIELDS: frozenset[FieldName] = frozenset({"backbone", "study_key", "schema_version", "metric", "direction"})
# As MLflow's SQL store keeps infinity.
KEPT_INFINITY = 1.7976931348623157e308


@dataclass(frozen=True)
class Run:
    """A finished trial as it is stored; a field that is None has no tag."""

    number: int
    start_ms: int
    value: float | None
    backbone: str | None = "bert"
    study_key: str | None = "a"
    schema_version: str | None = "2.0"
    metric: str | None = "f1"
    direction: str | None = "maximize"
    id_prefix: str = ""

    @property
    def run_id(self) -> str:
        """Random as MLflow's, with four digits instead of sixteen, so that small stores hold samples."""
        return self.id_prefix + "".join(
            str(byte % 4) for byte in hashlib.sha256(str(self.number).encode()).digest()
        )

    @property
    def kept(self) -> float | None:
        """What a filter compares: infinity is kept as a number, and NaN meets no condition."""
        if self.value is None or math.isnan(self.value):
            return None
        return math.copysign(KEPT_INFINITY, self.value) if math.isinf(self.value) else self.value

    def read(self) -> Trial:
        """As the layout reads it."""
        key = (self.study_key or "").strip()
        return Trial(
            run_id=self.run_id,
            status="FINISHED",
            backbone=(self.backbone or "").strip(),
            study_key_hash=key or f"derived from {self.backbone}",
            study_key_is_derived=not key,
            trial_key_hash="t",
            schema_version=((self.schema_version or "").strip() or OLDEST_SCHEMA) if key else OLDEST_SCHEMA,
            sweep_run_id="s",
            experiment_id="1",
            experiment_name="sweep",
            start_time_ms=self.start_ms,
            metric=self.value if self.kept is None else self.kept,
            metric_name=(self.metric or "").strip() or "f1",
            direction=(self.direction or "").strip().lower() or None,
            data_fingerprint="",
            eval_fingerprint="",
        )


class Store:
    """Answers queries and counts them."""

    def __init__(self, runs: Sequence[Run], direction: Direction) -> None:
        self.runs = runs
        self.sign = -1 if direction == "maximize" else 1
        self.n_queries = 0
        self.n_runs = 0

    def answer(self, query: TrialQuery) -> TrialPage:
        self.n_queries += 1
        found = sorted(
            (run for run in self.runs if self._meets(run, query)),
            key=lambda run: (run.start_ms, run.run_id),
        )
        page = found[: query.max_runs]
        self.n_runs += len(page)
        return TrialPage(tuple(run.read() for run in page), is_cut=len(page) < len(found))

    def _meets(self, run: Run, query: TrialQuery) -> bool:
        def recorded(name: FieldName) -> str | None:
            text: str | None = getattr(run, name)
            return text

        if query.reaches is not None and not (
            run.kept is not None and self.sign * run.kept <= self.sign * query.reaches
        ):
            return False
        if query.short_of is not None and not (
            run.kept is not None and self.sign * run.kept > self.sign * query.short_of
        ):
            return False
        return (
            run.run_id.startswith(query.id_prefix)
            and all(recorded(name) == text for name, text in query.equals.items())
            and all(
                recorded(name) is not None and recorded(name) not in texts
                for name, texts in query.unlike.items()
            )
            and all(recorded(name) is None for name in query.lacks)
        )


def search(
    store: Store, names: Sequence[str], chosen: SelectionSettings, direction: Direction, page: int
) -> ReadTrials:
    rules = SearchRules(
        SelectionRules(chosen, direction, "f1"),
        "f1",
        FIELDS,
        whole_runs=page,
        sample_runs=page,
        range_runs=page,
    )
    asking = search_contest(names, rules)
    query = next(asking)
    while True:
        try:
            query = asking.send(store.answer(query))
        except StopIteration as end:
            contest: ReadTrials = end.value
            return contest


def refit_of(trial: Trial) -> Refit:
    return Refit(
        run_id="f" + trial.run_id[1:],
        status="FINISHED",
        of_trial_run_id=trial.run_id,
        start_time_ms=9,
        artifact_available=True,
        checkpoint_digest=None,
    )


def select(
    trials: Sequence[Trial],
    names: Sequence[str],
    chosen: SelectionSettings,
    direction: Direction,
    **more: Any,
) -> dict[str, BackboneSelection] | None:
    """The selection, or None where a run says that its objective goes the other way."""
    try:
        contests = hold_contests(names, trials, SelectionRules(chosen, direction, "f1"), **more)
        return crown_champions(contests, [refit_of(trial) for trial in leaders_of(contests)])
    except ConfigError:
        return None


def compare(
    runs: Sequence[Run], names: Sequence[str], chosen: SelectionSettings, direction: Direction, page: int
) -> Store:
    """Hold the bounded selection against that of all trials."""
    store = Store(runs, direction)
    contest = search(store, names, chosen, direction, page)
    bounded = select(contest.trials, names, chosen, direction, coverage=contest.coverage)
    full = select([run.read() for run in runs], names, chosen, direction)
    assert (bounded is None) == (full is None)
    if bounded is not None and full is not None:
        for name in names:
            agree(bounded[name], full[name])
    return store


def agree(bounded: BackboneSelection, full: BackboneSelection) -> None:
    """The same champion and ties; and whatever else the bounded selection says is so."""
    assert bounded.champion == full.champion
    if bounded.is_whole:
        assert bounded == full
        return
    for name in ("tied_groups", "tied_trials"):
        assert bounded.selection_metadata.get(name) == full.selection_metadata.get(name)
    for name in ("n_finished_trials", "n_groups"):
        assert bounded.selection_metadata[name] <= full.selection_metadata[name]
    for group in bounded.all_groups:
        twins = [
            one
            for one in full.all_groups
            if (one.schema_version, one.study_key_hash) == (group.schema_version, group.study_key_hash)
        ]
        assert any(
            group.n_trials <= one.n_trials
            and group.n_valid <= one.n_valid
            and group.n_invalid <= one.n_invalid
            and group.best_metric in (None, one.best_metric)
            and group.stable_score in (None, one.stable_score)
            for one in twins
        )


# --- any store --------------------------------------------------------------------------------------------

values = st.one_of(
    st.sampled_from([0.0, 0.25, 0.5, 0.5, 0.75, 1.0, -0.5]),
    st.floats(allow_nan=True, allow_infinity=True),
    st.floats(0, 1),
    st.none(),
    st.just(math.inf),
    st.just(-math.inf),
    st.just(1.797e308),
)


@st.composite
def stores(draw: st.DrawFn) -> list[Run]:
    """Runs of one manner: plain ones of one program, or with whatever a store can hold."""
    is_plain = draw(st.booleans())
    keys = st.sampled_from(["a", "b", "c", "d"][: draw(st.integers(1, 4))])
    versions = st.just("2.0") if is_plain else st.sampled_from(["2.0", "1.0", "10.0", "0.9", " 2.0", None])
    metrics = st.just("f1") if is_plain else st.sampled_from(["f1", "f1", None, "loss", " f1 "])
    if not is_plain:
        keys = st.one_of(keys, st.sampled_from([None, ""]))
    size = draw(st.integers(0, 40))
    odd: list[str | None] = ["maximize", None, "MAXIMIZE", "mAximize", "minimize"]
    directions = st.sampled_from(odd if draw(st.integers(0, 2)) == 0 else odd[:1])
    return [
        Run(
            number,
            draw(st.integers(1, 8)),
            draw(values),
            draw(st.sampled_from(["bert", "bert", "mini"])),
            draw(keys),
            draw(versions),
            draw(metrics),
            draw(directions),
        )
        for number in range(size)
    ]


@settings(max_examples=600)
@given(
    runs=stores(),
    chosen=st.builds(
        SelectionSettings,
        min_trials_per_group=st.integers(1, 6),
        top_k_for_stable_score=st.integers(1, 6),
        allow_mixed_schema_groups=st.booleans(),
    ),
    is_mirrored=st.booleans(),
    page=st.integers(1, 8),
    sizes=st.fixed_dictionaries({"MIN_OF_BACKBONE": st.integers(1, 4), "FIRST_RUNS": st.integers(1, 40)}),
)
@pytest.mark.slow
def test_the_bounded_read_selects_as_reading_everything_does(
    runs: list[Run], chosen: SelectionSettings, is_mirrored: bool, page: int, sizes: dict[str, int]
) -> None:
    direction: Direction = "minimize" if is_mirrored else "maximize"
    if is_mirrored:
        other = {
            "maximize": "minimize",
            "minimize": "maximize",
            "MAXIMIZE": "MINIMIZE",
            "mAximize": "miNimize",
        }
        runs = [
            Run(
                run.number,
                run.start_ms,
                None if run.value is None else -run.value,
                run.backbone,
                run.study_key,
                run.schema_version,
                run.metric,
                other.get(run.direction or ""),
            )
            for run in runs
        ]
    with pytest.MonkeyPatch.context() as patch:
        for name, size in {"RUNS_PER_BACKBONE": 1, **sizes}.items():
            patch.setattr(trial_search, name, size)
        compare(runs, ["bert", "mini", "absent"], chosen, direction, page)


@pytest.mark.parametrize("seed", range(12))
def test_large_stores_are_read_in_part_and_selected_from_rightly(seed: int) -> None:
    rng = random.Random(seed)
    direction: Direction = rng.choice(["maximize", "minimize"])
    digits = rng.choice([2, 3, 12])
    runs = [
        Run(
            number,
            number // rng.choice([1, 2]),
            rng.choice([math.nan, math.inf, None]) if rng.random() < 0.01 else round(rng.gauss(0, 1), digits),
            rng.choice(["bert", "mini"]),
            f"group {int(rng.random() ** 2 * 12)}",
            "2.0" if rng.random() < 0.9 else "1.0",
            direction=direction,
        )
        for number in range(4000)
    ]
    chosen = SelectionSettings(
        min_trials_per_group=rng.choice([1, 3, 40]), top_k_for_stable_score=rng.choice([1, 3, 4])
    )
    store = compare(runs, ["bert", "mini"], chosen, direction, 100)
    assert store.n_runs < len(runs) / 2


# --- what it costs ----------------------------------------------------------------------------------------


def make_runs(n: int, rise: float = 0.0, n_groups: int = 20) -> list[Run]:
    """Trials of one backbone in groups of unlike level; the metric rises by so much from first to last."""
    rng = random.Random(n)
    level = [rng.uniform(0.70, 0.75) for _ in range(n_groups)]
    return [
        Run(
            number,
            number,
            level[number % n_groups] + rise * number / n + rng.gauss(0, 0.05),
            study_key=f"{number % n_groups:02d}",
        )
        for number in range(n)
    ]


def cost_of(runs: Sequence[Run], **changes: Any) -> Store:
    return compare(runs, ["bert"], SelectionSettings(**changes), "maximize", 250)


@pytest.mark.parametrize("rise", [0.0, 0.1, 0.5, -0.5])
def test_neither_questions_nor_runs_read_grow_with_the_trials(rise: float) -> None:
    small, large = cost_of(make_runs(2_000, rise)), cost_of(make_runs(40_000, rise))
    assert large.n_queries <= small.n_queries + 6
    assert large.n_runs < 3_000


@pytest.mark.parametrize(
    "id_of",
    [lambda _: "1", lambda value: "0" if value < 0.6 else "1", lambda value: "0" if value > 0.85 else "1"],
    ids=["none in the sample", "the worst", "the best"],
)
def test_ids_that_are_not_random_cost_more_and_change_nothing(id_of: Callable[[float], str]) -> None:
    runs = [replace(run, id_prefix=id_of(run.value or 0)) for run in make_runs(20_000, rise=0.1)]
    assert cost_of(runs).n_runs < len(runs) / 2


@pytest.mark.slow
def test_trials_of_another_objective_that_no_sample_shows_are_read_with_the_others() -> None:
    other = [
        Run(70_000 + number, 5, 2.0, metric="loss", direction=direction, id_prefix="3")
        for number, direction in enumerate(["maximize", None])
    ]
    plain = cost_of(make_runs(20_000))
    assert cost_of([*make_runs(20_000), *other]).n_queries == plain.n_queries


@pytest.mark.slow
def test_another_objective_may_go_the_other_way_and_hides_no_trial_that_does() -> None:
    other = [
        Run(70_000 + number, number, 0.0, metric="loss", direction="minimize", id_prefix="3")
        for number in range(50)
    ]
    store = cost_of([*make_runs(20_000), *other])
    assert store.n_runs < 2_000
    odd = Run(80_000, 10_000, 0.0, direction="minimize", id_prefix="3")
    contest = search(
        Store([*make_runs(20_000), *other, odd], "maximize"), ["bert"], SelectionSettings(), "maximize", 250
    )
    assert (
        select(contest.trials, ["bert"], SelectionSettings(), "maximize", coverage=contest.coverage) is None
    )


@pytest.mark.slow
def test_small_backbones_beside_a_large_one_are_read_whole_and_the_large_one_is_not() -> None:
    runs = make_runs(30_000)
    names = ["bert", *("mini" for _ in range(700)), *("tiny" for _ in range(40))]
    small = [
        replace(run, number=90_000 + place, backbone=name)
        for place, (run, name) in enumerate(zip(runs, names[1:], strict=False))
    ]
    store = compare([*runs, *small], ["bert", "mini", "tiny"], SelectionSettings(), "maximize", 1000)
    assert store.n_runs < 2_500


@pytest.mark.slow
def test_a_study_that_was_given_up_after_two_great_trials_costs_a_look_at_it() -> None:
    runs = make_runs(20_000)
    plain = cost_of(runs)
    given_up = [Run(30_000 + number, 5, 5.0, study_key="given up") for number in range(2)]
    store = cost_of([*runs, *given_up])
    assert store.n_queries <= plain.n_queries + 4
    assert store.n_runs < 2_000


@pytest.mark.slow
def test_trials_of_an_older_schema_version_are_not_read_through_however_good_they_are() -> None:
    rng = random.Random(7)
    older = [
        Run(50_000 + number, number, 2 + rng.random(), study_key="old", schema_version="1.0")
        for number in range(20_000)
    ]
    assert cost_of([*make_runs(5_000), *older]).n_runs < 2_500


def test_a_trial_of_a_newer_schema_version_counts_even_if_its_metric_is_no_number() -> None:
    newer = Run(60_000, 1_500, math.nan, study_key="new", schema_version="3.0")
    runs = [*make_runs(3_000), newer]
    contest = search(Store(runs, "maximize"), ["bert"], SelectionSettings(), "maximize", 100)
    selections = select(contest.trials, ["bert"], SelectionSettings(), "maximize", coverage=contest.coverage)
    assert selections is not None
    assert selections["bert"].champion is None
    assert "schema version 2.0 is not compared with 3.0" in (selections["bert"].reason or "")


def test_one_trial_of_another_direction_among_thousands_is_an_error() -> None:
    runs = [*make_runs(3_000), Run(60_000, 1_500, -9.0, direction="minimize")]
    contest = search(Store(runs, "maximize"), ["bert"], SelectionSettings(), "maximize", 100)
    with pytest.raises(ConfigError, match=f"run {runs[-1].run_id} .*'minimize'"):
        hold_contests(
            ["bert"], contest.trials, SelectionRules(SelectionSettings(), "maximize"), contest.coverage
        )


def test_what_was_not_read_of_a_group_is_not_told() -> None:
    runs = [*make_runs(3_000), *(Run(50_000 + n, 5, 0.1, study_key="poor") for n in range(200))]
    contest = search(Store(runs, "maximize"), ["bert"], SelectionSettings(), "maximize", 100)
    selections = select(contest.trials, ["bert"], SelectionSettings(), "maximize", coverage=contest.coverage)
    assert selections is not None
    assert not selections["bert"].is_whole
    (poor,) = [group for group in selections["bert"].all_groups if group.study_key_hash == "poor"]
    assert (poor.stable_score, poor.best_metric) == (None, None)
    assert poor.left_out == "cannot win: its unread trials are worse than the chosen group's stable score"
