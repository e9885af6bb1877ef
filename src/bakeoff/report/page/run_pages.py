"""Pages of runs in the tracking server's own interface."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING
from urllib.parse import quote

if TYPE_CHECKING:
    from bakeoff.core.records import BackboneSelection


def list_run_pages(selections: Mapping[str, BackboneSelection], address: str | None) -> dict[str, str]:
    """List the page of each run of a champion, by run id; none without a tracking server.

    Args:
        selections: Selections with the champions.
        address: Address of the tracking server's pages; None if it has none.
    """
    champions = [each.champion for each in selections.values() if each.champion is not None]
    if address is None:
        return {}
    return {
        run_id: f"{address}/#/experiments/{_quote(champion.experiment_id)}/runs/{_quote(run_id)}"
        for champion in champions
        for run_id in (champion.refit_run_id, champion.trial_run_id, champion.sweep_run_id)
    }


def _quote(text: str) -> str:
    return quote(text, safe="", errors="replace")
