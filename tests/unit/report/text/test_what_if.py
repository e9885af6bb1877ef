"""What if in words: an answer for each place, and the command that decides so."""

from __future__ import annotations

import json
import shlex
from typing import Any

import pytest

from bakeoff.core.config.parse import parse_settings
from bakeoff.core.decision.what_if import MovedOutcome
from bakeoff.report.text.what_if import WhatIfPanel, describe_outcome, describe_what_if
from unit.report.conftest import make_candidate, make_decision, make_field

COMMANDS = ("bakeoff plan", "bakeoff decide --config 'my folder'", "bakeoff report")
P95 = {"kind": "latency", "batch_size": 1, "quantile": 0.95, "at_most_ms": 6}
PLACES = [(0, 0), (3, -1), (17, 4)]


def panel_of(**settings: Any) -> WhatIfPanel:
    panel = describe_what_if(make_decision(**settings), COMMANDS)
    assert panel is not None
    return panel


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"constraints": [P95, {"kind": "quality", "at_least": 0.5}]},
        {"objective": {"kind": "lexicographic", "accuracy_threshold": 0.01}},
        {"objective": {"kind": "fastest"}},
    ],
)
def test_each_place_has_a_command_that_sets_what_the_grid_was_made_of(settings: dict[str, Any]) -> None:
    decision = make_decision(**settings)
    assert decision.what_if is not None
    commands = json.loads(panel_of(**settings).data)["commands"]
    own = json.dumps({"decision": decision.settings.model_dump(mode="json")})
    for place in PLACES:
        value, limit = min(place[0], len(commands["values"]) - 1), place[1] % len(commands["limits"])
        words = shlex.split(commands["base"] + commands["values"][value] + commands["limits"][limit])
        assert words[:4] == ["bakeoff", "decide", "--config", "my folder"]
        overrides = [word for word in words[4:] if word != "--set"]
        models = {"models": {"m": "folder"}}
        read = parse_settings(
            {"": ("bakeoff.yaml", json.dumps(json.loads(own) | models))}, overrides
        ).decision
        moved = decision.what_if.settings_at(decision.settings, value, limit)
        assert read.model_dump(exclude={"run"}) == moved.model_dump(exclude={"run"})


def test_sliders_have_the_texts_of_all_values_and_begin_at_the_settings() -> None:
    weight, limit = panel_of(constraints=[P95]).sliders
    assert weight.label == "Weight of F1 against latency"
    assert weight.texts[weight.now] == "0.8 F1, 0.2 latency"
    assert limit.label == "Limit of the p95 latency at batch size 1"
    assert (limit.texts[limit.now], limit.texts[-1]) == ("6 ms", "no limit")


def test_an_objective_without_a_weight_has_one_slider_and_says_so() -> None:
    panel = panel_of(objective={"kind": "fastest"})
    (limit,) = panel.sliders
    assert limit.texts[limit.now] == "no limit"
    assert any("speed alone, which has no weight" in note for note in panel.notes)
    assert panel_of().notes[0].startswith("bakeoff decided at ")


def test_without_a_command_that_decides_no_place_has_one() -> None:
    panel = describe_what_if(make_decision(), ("bakeoff try a b",))
    assert panel is not None
    assert json.loads(panel.data)["commands"] == {}


def test_every_outcome_is_a_sentence() -> None:
    decision = make_decision()
    labels = [row.label for row in decision.standings]

    def say(**values: Any) -> str:
        return describe_outcome(decision, MovedOutcome(**values))

    assert say(outcome="winner", winner=1) == f"{labels[1]} wins"
    assert say(outcome="winner", winner=1, tied=(0, 2)).endswith(" wins, the fastest of 3 that are tied")
    assert say(outcome="tie", tied=(0, 1)) == f"{labels[0]} and {labels[1]} are tied"
    assert say(outcome="undecided", best_so_far=0, undecided=(2,)).endswith(
        f"; {labels[2]} may still be better"
    )
    assert say(outcome="undecided", best_so_far=0).endswith("; its own constraint is undecided")
    assert say(outcome="undecided", undecided=(2,)).startswith(f"{labels[2]} may meet every constraint")
    assert say(outcome="none", excluded=tuple(range(6))) == "no candidate may win"


def test_names_in_the_data_hold_no_controls() -> None:
    name = "a\x1b[31m\u202e</script>"
    field = [make_candidate(name, "r", 0.84, 8.0), *make_field()[2:4]]
    panel = describe_what_if(make_decision(field), COMMANDS)
    assert panel is not None
    assert not {"\x1b", "\u202e"} & set(panel.data)
    assert "\\u001b" not in panel.data
