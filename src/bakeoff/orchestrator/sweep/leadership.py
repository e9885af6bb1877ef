"""Leadership: one process at a time, on any machine, leads the sweep of a study."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from bakeoff.disk.digest import digest_json
from bakeoff.errors import TrackingError
from bakeoff.orchestrator.progress import warn
from bakeoff.orchestrator.project import Project
from bakeoff.run.machine import lock as machine_lock
from bakeoff.stores.claims.claims import Claim, Claims, Held
from bakeoff.stores.tracking.recorder import StudyIdentity

LOOK_S = 2.0


@contextmanager
def leading(
    project: Project, experiment_id: str, identities: Collection[StudyIdentity], lock: Path
) -> Iterator[None]:
    """Lead the sweeps of some studies; wait for another machine that leads one of them.

    The ledger of the benchmark experiment keeps the claims.

    Args:
        project: Project of the sweeps.
        experiment_id: Id of the experiment of sweeps.
        identities: Identities of the studies.
        lock: Lock file that allows one leader in this project folder; the caller holds it.

    Raises:
        UserError: The benchmark experiment was deleted.
    """
    claims = project.make_claims(lambda: machine_lock.identify_machine(lock))
    held: list[Claim] = []
    try:
        with claims.beating():
            # Every leader claims in the same order, so that no two wait for each other.
            for identity in sorted(identities, key=lambda each: each.study_key_hash):
                key = digest_json(f"lead {experiment_id} {identity.study_key_hash}")
                held.append(_claim(project, claims, key, identity.backbone))
            yield
    finally:
        with suppress(TrackingError):  # the claims expire without a heartbeat
            for claim in held:
                claims.end(claim, "released")
        claims.close()


def _claim(project: Project, claims: Claims, key: str, backbone: str) -> Claim:
    expiry_s, leader = project.settings.tracking.claim_expiry_s, ""
    while True:
        found = claims.claim(key, 1, is_replanned=True)
        if isinstance(found, Claim):
            return found
        if isinstance(found, Held) and found.owner != leader:
            leader = found.owner
            warn(
                f"{backbone}: {leader} leads this sweep; waiting until it ends or is silent for "
                f"{expiry_s:g} s (use --worker to help it)"
            )
        time.sleep(min(LOOK_S, expiry_s / 10))
