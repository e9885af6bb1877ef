"""Leading: of all who open the sweep of a study, on whatever machine, one leads at a time."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from bakeoff.disk.digest import digest_json
from bakeoff.errors import TrackingError
from bakeoff.orchestrator.project import Project
from bakeoff.run.machine import lock as machine_lock
from bakeoff.stores.claims.claims import Claim, Claims, Held
from bakeoff.stores.tracking.recorder import StudyIdentity

LOOK_S = 2.0


@contextmanager
def leading(
    project: Project, experiment_id: str, identities: Collection[StudyIdentity], lock: Path
) -> Iterator[None]:
    """Lead the sweeps of some studies; whoever leads one of them on another machine is waited for.

    The claims stand in the ledger of the benchmark experiment.

    Args:
        project: Whose sweeps.
        experiment_id: Of the sweeps.
        identities: Of the studies.
        lock: The lock file that keeps the leaders of this project folder apart, and that is held.

    Raises:
        TrackingError: The tracking store does not answer, or refuses the claim.
        UserError: The benchmark experiment was deleted.
    """
    claims = project.make_claims(lambda: machine_lock.identify_machine(lock))
    held: list[Claim] = []
    try:
        with claims.beating():
            # In one order everywhere, so that no two leaders wait for each other.
            for identity in sorted(identities, key=lambda each: each.study_key_hash):
                key = digest_json(f"lead {experiment_id} {identity.study_key_hash}")
                held.append(_claim(project, claims, key, identity.backbone))
            yield
    finally:
        with suppress(TrackingError):  # they fall silent, and are taken for dead
            for claim in held:
                claims.end(claim, "released")
        claims.close()


def _claim(project: Project, claims: Claims, key: str, backbone: str) -> Claim:
    expiry_s, told = project.settings.tracking.claim_expiry_s, ""
    while True:
        found = claims.claim(key, 1, is_replanned=True)
        if isinstance(found, Claim):
            return found
        if isinstance(found, Held) and found.owner != told:
            told = found.owner
            project.progress.say(
                f"{backbone}: {told} leads this sweep; waiting until it ends or is silent for "
                f"{expiry_s:g} s; to help with it, use --worker"
            )
        time.sleep(min(LOOK_S, expiry_s / 10))
