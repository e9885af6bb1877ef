"""A study that several processes share: claims on trials, heartbeats and retries.

Optuna's storage is the only judge. The leader adds all waiting trials of the study in advance, so workers
claim a trial before they begin it, and there is never one too many. A claim and an end are each one
transition of a trial's state, and one process wins it. The first process that finds a silent one takes its
trial away and queues the parameters again.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, Literal

from bakeoff.heartbeat import beating
from bakeoff.record import Record
from bakeoff.run.training.search import Params, StudyPlan, make_pruner, make_sampler, suggest
from bakeoff.run.training.study_storage import OnRetry, StudyStorage

TrialState = Literal["WAITING", "RUNNING", "COMPLETE", "PRUNED", "FAIL"]

# Optuna's own names, so that its RetryHeartbeatStaleTrialCallback reads a retry as one.
_FIRST, _HISTORY = "failed_trial", "retry_history"
_RETRY_OF, _WITHDRAWN, _IS_LAID_OUT = "retry_of", "withdrawn", "is_laid_out"


class Lost(Record):
    """A trial taken from a silent process.

    Attributes:
        is_retried: Whether its parameters wait for another try.
    """

    number: int
    is_retried: bool


class SharedStudy:
    """One process's connection to a study.

    The constructor connects to the storage and makes its tables if there are none.

    Args:
        plan: Settings of the study.
        notify: Gets a line about every retry of a storage that does not answer.

    Raises:
        MissingExtraError: Optuna or the driver of the database is not installed.
        StudyError: The storage does not answer.
    """

    def __init__(self, plan: StudyPlan, notify: OnRetry = lambda _: None) -> None:
        self._plan = plan
        self._lost: list[Lost] = []
        self._name = ""
        self._study: Any = None
        self._store = StudyStorage(plan.storage, plan.workers, self._lose, notify)

    @property
    def plan(self) -> StudyPlan:
        """Settings of the study."""
        return self._plan

    @property
    def store(self) -> StudyStorage:
        """Storage of the study."""
        return self._store

    def lay_out(self, name: str) -> None:
        """Make the study unless it exists, and add or withdraw trials until their number is right.

        Args:
            name: Name in Optuna's storage.
        """
        plan, self._name = self._plan, name
        self._study = self._store.call(
            "making the study",
            lambda: self._store.optuna.create_study(
                storage=self._store.rdb,
                study_name=name,
                direction=plan.direction,
                pruner=make_pruner(self._store.optuna, plan.pruner),
                load_if_exists=True,
            ),
        )
        for trial in self._trials():
            if trial.state.name == "RUNNING":  # one without heartbeats would never fall silent
                self.beat(self._id_of(trial.number))
        for _ in range(len(self._slots()), plan.n_trials):
            self._store.call("adding a trial", lambda: self._study.add_trial(self._waiting_trial()))
        slots = self._slots()
        waiting = [trial.number for trial in slots if trial.state.name == "WAITING"]
        surplus = max(0, len(slots) - plan.n_trials)
        for number in waiting[max(0, len(waiting) - surplus) :]:
            self._withdraw(number)
        self._store.call("marking the study", lambda: self._study.set_user_attr(_IS_LAID_OUT, True))

    def join(self, name: str) -> bool:
        """Open a study that another process laid out; return False if there is none yet.

        Args:
            name: Name in Optuna's storage.
        """
        try:
            study = self._store.call(
                "reading the study",
                lambda: self._store.optuna.load_study(
                    storage=self._store.rdb,
                    study_name=name,
                    pruner=make_pruner(self._store.optuna, self._plan.pruner),
                ),
            )
        except KeyError:
            return False
        if not self._store.call("reading the study", lambda: study.user_attrs).get(_IS_LAID_OUT):
            return False
        self._name, self._study = name, study
        return True

    def claim(self) -> TrialClaim | None:
        """Take the first waiting trial and draw its parameters; return None if none waits."""
        trial_id = self._store.call("claiming a trial", self._take)
        if trial_id is None:
            return None
        frozen = self._store.call("reading a trial", lambda: self._store.rdb.get_trial(trial_id))
        self._study.sampler = make_sampler(self._store.optuna, self._plan.seed, frozen.number)
        trial = self._store.call("reading a trial", lambda: self._store.optuna.Trial(self._study, trial_id))
        params = self._store.call(
            "drawing parameters",
            lambda: {name: suggest(trial, name, space) for name, space in self._plan.search_space.items()},
        )
        return TrialClaim(self, trial, trial_id, params, frozen.user_attrs.get(_RETRY_OF))

    def reap(self) -> tuple[Lost, ...]:
        """Fail the trials of silent processes, and queue their parameters again."""

        def fail_stale() -> None:
            with self._store.turn():
                self._store.optuna.storages.fail_stale_trials(self._study)

        self._store.call("looking for silent workers", fail_stale)
        lost, self._lost = tuple(self._lost), []
        return lost

    def count(self, *states: TrialState) -> int:
        """Count the trials in any of some states."""
        return sum(trial.state.name in states for trial in self._trials())

    def states(self) -> dict[int, TrialState]:
        """Return the state of every trial by its number."""
        return {trial.number: trial.state.name for trial in self._trials()}

    def retried(self) -> set[int]:
        """Return the numbers of trials with parameters that were queued again."""
        return {int(trial.user_attrs[_RETRY_OF]) for trial in self._trials() if _RETRY_OF in trial.user_attrs}

    def beat(self, trial_id: int) -> None:
        """Record that the process of a trial lives; if the storage is away, skip this beat."""
        with suppress(self._store.optuna.exceptions.StorageInternalError):
            self._store.rdb.record_heartbeat(trial_id)

    def state_of(self, trial_id: int) -> TrialState:
        """Read the state of one trial."""
        state: TrialState = self._store.call(
            "reading a trial", lambda: self._store.rdb.get_trial(trial_id)
        ).state.name
        return state

    def end(self, trial: Any, trial_id: int, state: TrialState, value: float | None = None) -> bool:
        """Give a trial its last state; return False if another process took it meanwhile."""
        wanted = self._store.optuna.trial.TrialState[state]

        def tell() -> bool:
            with self._store.turn():
                try:
                    self._study.tell(trial, value, state=wanted)
                except (ValueError, self._store.optuna.exceptions.UpdateFinishedTrialError):
                    # We ended it, if an earlier try lost its reply. Others did, if they took us for dead.
                    reached = self._store.rdb.get_trial(trial_id).state
                    return state != "FAIL" and reached == wanted
            return True

        return self._store.call("ending a trial", tell)

    def requeue(self, trial_id: int, *, is_counted: bool) -> bool:
        """Queue an ended trial's parameters again; return False if no retry is left.

        Args:
            trial_id: Optuna's id of the trial.
            is_counted: Whether this uses up a retry.
        """
        frozen = self._store.rdb.get_trial(trial_id)
        history = list(frozen.system_attrs.get(_HISTORY, ()))
        if is_counted and len(history) >= self._plan.workers.max_retries:
            return False
        if is_counted:
            history.append(frozen.number)
        again = self._store.optuna.create_trial(
            state=self._store.optuna.trial.TrialState.WAITING,
            params=frozen.params,
            distributions=frozen.distributions,
            user_attrs={_RETRY_OF: frozen.number},
            system_attrs={_FIRST: frozen.system_attrs.get(_FIRST, frozen.number), _HISTORY: history},
        )
        self._study.add_trial(again)
        return True

    def _lose(self, study: Any, trial: Any) -> None:
        del study
        self._lost.append(
            Lost(number=trial.number, is_retried=self.requeue(self._id_of(trial.number), is_counted=True))
        )

    def _take(self) -> int | None:
        states = self._store.optuna.trial.TrialState
        with self._store.turn():
            for trial in self._store.rdb.get_all_trials(
                self._study_id, deepcopy=False, states=(states.WAITING,)
            ):
                trial_id = self._id_of(trial.number)
                # The beat comes first: a process that dies right after its claim must fall silent.
                self._store.rdb.record_heartbeat(trial_id)
                with suppress(self._store.optuna.exceptions.UpdateFinishedTrialError):
                    if self._store.rdb.set_trial_state_values(trial_id, state=states.RUNNING):
                        return trial_id
        return None

    def _withdraw(self, number: int) -> None:
        def withdraw() -> None:
            trial_id = self._id_of(number)
            with self._store.turn(), suppress(self._store.optuna.exceptions.UpdateFinishedTrialError):
                self._store.rdb.set_trial_user_attr(trial_id, _WITHDRAWN, True)
                self._store.rdb.set_trial_state_values(
                    trial_id, state=self._store.optuna.trial.TrialState.FAIL
                )

        self._store.call("withdrawing a trial", withdraw)

    def _waiting_trial(self) -> Any:
        return self._store.optuna.create_trial(state=self._store.optuna.trial.TrialState.WAITING)

    @property
    def _study_id(self) -> int:
        return int(self._store.rdb.get_study_id_from_name(self._name))

    def _id_of(self, number: int) -> int:
        return int(self._store.rdb.get_trial_id_from_study_id_trial_number(self._study_id, number))

    def _slots(self) -> list[Any]:
        """List the trials that count for the study: no retries and no withdrawn trials."""
        return [
            trial
            for trial in self._trials()
            if _RETRY_OF not in trial.user_attrs and not trial.user_attrs.get(_WITHDRAWN)
        ]

    def _trials(self) -> list[Any]:
        return list(self._store.call("reading trials", lambda: self._study.get_trials(deepcopy=False)))


class TrialClaim:
    """A trial that this process runs.

    Attributes:
        number: Number in the study.
        params: Hyper-parameters drawn for this trial, or for the trial that it retries.
        retry_of: Number of the trial that it retries.
    """

    def __init__(
        self, study: SharedStudy, trial: Any, trial_id: int, params: Params, retry_of: int | None
    ) -> None:
        self._study = study
        self._trial = trial
        self._trial_id = trial_id
        self.number: int = trial.number
        self.params = params
        self.retry_of = retry_of

    @contextmanager
    def alive(self) -> Iterator[None]:
        """Send heartbeats until the body ends."""
        with beating(lambda: self._study.beat(self._trial_id), self._study.plan.workers.heartbeat_interval_s):
            yield

    def is_ours(self) -> bool:
        """Return whether this process still holds the trial."""
        return self._study.state_of(self._trial_id) == "RUNNING"

    def goes_on(self, epoch: int, value: float) -> bool:
        """Report an epoch and ask the pruner; return whether the trial goes on, never if we lost it."""

        def report() -> bool:
            self._trial.report(value, epoch)
            return not self._trial.should_prune()

        return self.is_ours() and self._study.store.call("reporting an epoch", report)

    def complete(self, value: float) -> bool:
        """End with a value; return False if the trial is no longer ours."""
        return self._study.end(self._trial, self._trial_id, "COMPLETE", value)

    def prune(self) -> bool:
        """End as pruned; return False if the trial is no longer ours."""
        return self._study.end(self._trial, self._trial_id, "PRUNED")

    def fail(self) -> bool:
        """End without a value and without a retry; return False if the trial is no longer ours."""
        return self._study.end(self._trial, self._trial_id, "FAIL")

    def give_back(self, *, is_counted: bool) -> bool:
        """End without a value, and return whether the parameters are queued again."""
        return self.fail() and self._study.store.call(
            "queueing a trial again", lambda: self._study.requeue(self._trial_id, is_counted=is_counted)
        )
