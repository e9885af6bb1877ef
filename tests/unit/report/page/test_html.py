"""The page: complete in itself, says what the decision says, and shows what comes from outside as text."""

from __future__ import annotations

import json
import re
import unicodedata
from base64 import b64encode
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from hashlib import sha256
from html.parser import HTMLParser
from typing import NamedTuple

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bakeoff.core.decision.candidates import Candidate
from bakeoff.core.decision.decide import Decision
from bakeoff.core.estimate import Estimate
from bakeoff.core.records import BackboneSelection, Flag
from bakeoff.core.validity.flags import CONTENDED, FLAGS, UNSUPPORTED
from bakeoff.disk.digest import digest_json
from bakeoff.report import render_html
from bakeoff.report.figures.scatter import draw_plot
from bakeoff.report.page.gates import list_gates
from bakeoff.report.text.summary import render_summary
from judged import quality_of

CandidateMaker = Callable[..., Candidate]
DecisionMaker = Callable[..., Decision]
Selections = dict[str, BackboneSelection]

VOID = {"meta", "link", "br", "img", "input", "hr"}
FACTS = {"bakeoff": "0.1.0", "command": "bakeoff run"}
DECISIONS = ["decision", "tie", "nobody", "alone", "crowd"]
HOSTILE = (
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "' onload='alert(1)",
    "</title></style></svg></textarea><b>",
    "{{ 7 * 7 }}{% raw %}",
    "&lt;b&gt; &amp;",
    "javascript:alert(1)",
)
UNSEEN = ("model\u202egnp.exe", "\u2066x\u2069", "\x1b[31mred\x1b[0m", "nul\x00bell\x07", "half \ud83c")


class Element(NamedTuple):
    """One start tag."""

    tag: str
    attributes: Mapping[str, str]


class Page(HTMLParser):
    """A page taken apart: its elements, the text in each, and whether every element is closed."""

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[Element] = []
        self.texts: list[tuple[tuple[str, ...], str]] = []
        self._open: list[str] = []
        self.faults: list[str] = []
        self.feed(html)
        self.close()
        self.faults += [f"<{tag}> is not closed" for tag in self._open]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        names = [name for name, _ in attrs]
        if len(names) != len(set(names)):
            self.faults.append(f"<{tag}> has an attribute twice")
        self.elements.append(Element(tag, {name: value or "" for name, value in attrs}))
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self._open.pop()

    def handle_endtag(self, tag: str) -> None:
        if not self._open or self._open[-1] != tag:
            self.faults.append(f"</{tag}> closes {self._open[-1:]}")
        else:
            self._open.pop()

    def handle_data(self, data: str) -> None:
        self.texts.append((tuple(self._open), data))

    def inside(self, tag: str) -> Iterator[str]:
        """The texts inside elements of that name."""
        return (data for path, data in self.texts if tag in path)

    @property
    def text(self) -> str:
        """All text that is shown, with single spaces."""
        shown = (data for path, data in self.texts if not {"style", "script", "head"} & set(path))
        return " ".join(" ".join(shown).split())

    def rows(self) -> list[str]:
        """The text of each table row."""
        rows: list[str] = []
        previous: tuple[str, ...] = ()
        for path, data in self.texts:
            if "tr" in path and path:
                if "tr" not in previous:
                    rows.append("")
                rows[-1] = f"{rows[-1]} {data}"
            previous = path
        return [" ".join(row.split()) for row in rows]


def render(decision: Decision, selections: Selections | None = None, facts: Mapping[str, str] = FACTS) -> str:
    return render_html(decision, selections or {}, facts)


@pytest.fixture(scope="module", params=DECISIONS)
def named(request: pytest.FixtureRequest, selections: Selections) -> tuple[Decision, Page]:
    """Each decision with its page."""
    decision: Decision = request.getfixturevalue(request.param)
    return decision, Page(render(decision, selections))


# --- complete in itself -----------------------------------------------------------------------------------


def test_every_page_is_whole_and_every_element_is_closed(named: tuple[Decision, Page]) -> None:
    assert named[1].faults == []
    ids = [element.attributes["id"] for element in named[1].elements if "id" in element.attributes]
    assert len(ids) == len(set(ids))
    for element in named[1].elements:
        for id_ in element.attributes.get("aria-labelledby", "").split():
            assert id_ in ids


def test_a_page_fetches_nothing_and_has_no_handler(named: tuple[Decision, Page]) -> None:
    page = named[1]
    tags = {element.tag for element in page.elements}
    ids = {element.attributes["id"] for element in page.elements if "id" in element.attributes}
    assert not tags & {"iframe", "object", "embed", "form", "base", "img", "image", "use", "video"}
    for element in page.elements:
        for name, value in element.attributes.items():
            assert not name.startswith("on")
            if name in {"src", "href", "srcset", "action", "data", "poster", "xlink:href", "style"}:
                if element.tag == "a":  # to a place on this page
                    assert value.removeprefix("#") in ids
                    continue
                assert (element.tag, name, value) == ("link", "href", "data:,")
    style = "".join(page.inside("style"))
    assert "url(" not in style
    assert "@import" not in style
    assert "@font-face" not in style
    assert "--accent" in style


def test_a_browser_is_told_to_fetch_nothing_and_to_run_one_known_script(decision: Decision) -> None:
    page = Page(render(decision))
    (policy,) = (
        element.attributes["content"]
        for element in page.elements
        if element.attributes.get("http-equiv") == "Content-Security-Policy"
    )
    (script,) = page.inside("script")
    digest = b64encode(sha256(script.encode()).digest()).decode()
    allowed = f"script-src 'sha256-{digest}'; style-src 'unsafe-inline'; img-src data:"
    assert policy == f"default-src 'none'; {allowed}"
    assert not re.search(r"fetch|XMLHttp|import|eval|Storage|innerHTML|window\.open", script)


def test_equal_values_give_an_equal_page(decision: Decision, selections: Selections) -> None:
    again = Decision.model_validate_json(decision.model_dump_json())
    assert render(again, selections) == render(decision, selections)


# --- the verdict ------------------------------------------------------------------------------------------


def test_title_and_first_heading_are_the_verdict(decision: Decision, tie: Decision, nobody: Decision) -> None:
    for made, eyebrow, headline in (
        (decision, "The model to ship", str(decision.winner)),
        (tie, "No clear winner", "A tie between 2 candidates"),
        (nobody, "Nothing to ship yet", "No winner"),
    ):
        page = Page(render(made))
        assert "".join(page.inside("h1")) == headline
        assert headline in "".join(page.inside("title"))
        assert " ".join(" ".join(page.inside("main")).split()).startswith(f"{eyebrow} {headline} ")


def test_only_a_winner_has_a_green_headline(
    decision: Decision, tie: Decision, nobody: Decision, undecided: Decision
) -> None:
    for made in (decision, tie, nobody, undecided):
        page = Page(render(made))
        assert f"verdict is-{made.outcome}" in [each.attributes.get("class") for each in page.elements]
        style = "".join(page.inside("style"))
        # Amber by default; the accent, which is green, needs the class of a winner.
        assert ".verdict { --outcome: var(--c1); }" in style
        assert re.findall(r"(\S+) \{ --outcome: var\(--accent\); \}", style) == [".verdict.is-winner"]
        assert re.search(r"\.eyebrow \{[^}]*color: var\(--outcome\)", style)


def test_every_candidate_has_its_place_its_numbers_and_its_reason(named: tuple[Decision, Page]) -> None:
    decision, page = named
    rows = page.rows()
    for standing in decision.standings:
        name = f"{standing.backbone} × {standing.runtime} {standing.place} "
        number, row = next((n, row) for n, row in enumerate(rows) if row.startswith(name))
        quality, latency, score = quality_of(standing), standing.latency_ms, standing.score
        assert f" {quality.value:.3f} [{quality.low:.3f}, {quality.high:.3f}] " in row
        assert score is not None
        assert f" {score.value:.3f} [{score.low:.3f}, {score.high:.3f}] " in row
        assert latency.high is not None
        digits = f"{latency.value:.3g}"
        assert f" {digits}" in row or f" {latency.value:.2f}" in row or f" {latency.value:,.0f}" in row
        assert row.endswith(" yes" if standing.is_on_front else " no")
        assert rows[number + 1] == standing.reason


def test_the_reasons_of_the_decision_stand_below_the_verdict(named: tuple[Decision, Page]) -> None:
    decision, page = named
    for reason in decision.reasons:
        assert reason[1:] in page.text


def test_units_level_and_reference_are_told(make_decision: DecisionMaker) -> None:
    text = Page(render(make_decision(confidence=0.9, batch_size=8, quantile=0.95))).text
    assert "p95 latency, batch size 8, ms" in text
    assert "Small figures are 90% intervals" in text
    assert "The reference is minilm-l6 × torch-fp32, and score 1 is minilm-l6 × torch-fp32" in text
    assert "bakeoff computes F1 again on 400 resamples of the test documents" in text


def test_each_constraint_has_an_answer_for_each_candidate(decision: Decision) -> None:
    rows = Page(render(decision)).rows()
    for standing in decision.standings:
        marks = {"met": "✓", "failed": "✗", "cannot tell": "?"}
        answers = [f"{marks[result.result]} {result.result} {result.text}" for result in standing.constraints]
        assert f"{standing.backbone} × {standing.runtime} {' '.join(answers)}" in rows


def test_without_constraints_the_page_says_that_everyone_may_win(alone: Decision) -> None:
    assert "No constraint was set: every candidate may win." in Page(render(alone)).text


@pytest.mark.parametrize("name", DECISIONS)
@pytest.mark.parametrize(("kind", "width", "height"), [("wide", 1040, 560), ("narrow", 460, 460)])
def test_marks_and_whiskers_are_drawn_where_the_plot_has_them(
    name: str, kind: str, width: int, height: int, request: pytest.FixtureRequest
) -> None:
    decision: Decision = request.getfixturevalue(name)
    plot = draw_plot(decision, width=width, height=height)
    html = render(decision)
    _, _, rest = html.partition(f'<svg class="plot {kind}" viewBox="0 0 {width} {height}"')
    elements = Page(f"<svg{rest.partition('</svg>')[0]}</svg>").elements
    marks = [e.attributes["transform"] for e in elements if e.attributes.get("class", "").startswith("mark ")]
    # The most important is drawn last, on top of the others.
    assert marks == [f"translate({point.x} {point.y})" for point in reversed(plot.points)]
    whiskers = [e.attributes["d"] for e in elements if e.attributes.get("class") == "whisker"]
    assert len(whiskers) == 2 * len(plot.points)
    for point, across, along in zip(reversed(plot.points), whiskers[::2], whiskers[1::2], strict=True):
        assert f"M{point.across.start} {point.y}H{point.across.end}" in across
        assert f"M{point.x} {point.along.start}V{point.along.end}" in along
        assert across.endswith("v8") != point.across.is_open_at_end
        assert along.endswith("h8") != point.along.is_open_at_end
        assert across.startswith(f"M{point.across.start} {point.y - 4}v8") != point.across.is_open_at_start
    paths = {e.attributes.get("class"): e.attributes.get("d") for e in elements if e.tag == "path"}
    assert paths["front"] == plot.front.path
    assert paths.get("equal", "") == plot.equal_score.path


# --- nothing is left unsaid -------------------------------------------------------------------------------


def test_every_flag_is_told_with_its_meaning_and_those_whom_it_concerns(
    make_decision: DecisionMaker, field: list[Candidate]
) -> None:
    told = [kind for kind in FLAGS.values() if kind is not UNSUPPORTED]
    flags = [*(kind.raised(f"{kind.name} at 9.1%") for kind in told), Flag(name="a_new_flag", detail="?")]
    marked = field[0].model_copy(update={"flags": tuple(flags)})
    rows = Page(render(make_decision([marked, *field[1:]]))).rows()
    for flag in flags:
        (row,) = (row for row in rows if row.startswith(f"{flag.name} 1 candidate"))
        assert row.endswith(f"{flag.detail} {marked.label}")
        if flag.name in FLAGS:
            assert FLAGS[flag.name].meaning in row
    (row,) = (row for row in rows if row.startswith("unsupported "))
    assert all(candidate.label in row for candidate in field[1:])
    assert marked.label not in row


def test_a_flag_of_all_is_told_once_with_what_to_do(decision: Decision) -> None:
    (row,) = (row for row in Page(render(decision)).rows() if row.startswith("unsupported "))
    assert row.startswith(
        "unsupported all 6 candidates This quantile is not shown. Raise protocol.min_repeats"
    )
    assert row.endswith("p99, batch size 8: 150 samples, 368 are needed")


def test_measurements_that_do_not_count_come_first_among_the_flags(
    make_decision: DecisionMaker, field: list[Candidate]
) -> None:
    marked = field[0].model_copy(update={"flags": (*field[0].flags, CONTENDED.raised("94% of the rounds"))})
    rows = Page(render(make_decision([marked, *field[1:]]))).rows()
    names = [row.partition(" ")[0] for row in rows if " candidate" in row]
    assert names.index("contended") < names.index("unsupported")


def test_measurements_whose_contention_is_accepted_pass_the_gate(
    make_decision: DecisionMaker, field: list[Candidate]
) -> None:
    flag = CONTENDED.raised("94% of the rounds", is_accepted=True)
    marked = field[0].model_copy(update={"flags": (flag,)})
    gate = list_gates(make_decision([marked, *field[1:]]))[-1]
    assert (gate.result, gate.word) == ("met", "valid")


def test_gates_say_what_the_winner_passed(decision: Decision) -> None:
    page = Page(render(decision))
    gates = "✓ p95 at batch size 1 ≤ 12 ms: met ✓ F1 ≥ 0.78: met ✓ all measurements: valid"
    assert gates in page.text.replace(" :", ":")


def test_without_a_winner_gates_say_how_many_pass(nobody: Decision) -> None:
    assert "✗ F1 ≥ 0.99: met by 0 of 6" in Page(render(nobody)).text


def test_the_settings_that_could_move_are_told_with_who_would_lead(decision: Decision) -> None:
    page = Page(render(decision))
    (moved,) = decision.sensitivity
    (row,) = (row for row in page.rows() if row.startswith("quality share "))
    for turn in (moved.low, moved.high):
        assert (f"{turn.at:.3g}: {turn.leader} leads" if turn else "nowhere") in row


def test_commands_and_settings_can_be_copied_line_by_line(decision: Decision) -> None:
    commands = ("bakeoff plan --config config", "bakeoff bench --config config")
    page = Page(render_html(decision, {}, FACTS, commands=commands))
    texts = "".join(page.inside("pre"))
    assert texts.startswith("bakeoff plan --config config\nbakeoff bench --config config\n")
    assert '\n  "confidence": 0.95,\n' in texts


def test_of_many_candidates_those_that_a_reader_looks_for_stand_open(crowd: Decision) -> None:
    html = render(crowd)
    opened = Page(re.sub(r"<details>.*?</details>", "", html, flags=re.S))
    rows, everything = opened.rows(), Page(html).rows()
    for standing in crowd.standings:
        name = f"{standing.backbone} × {standing.runtime} {standing.place} "
        is_open = any(row.startswith(name) for row in rows)
        if standing.place in {"winner", "tied"} or standing.is_on_front or standing.label == crowd.reference:
            assert is_open
        assert sum(row.startswith(name) for row in everything) == 1
    assert sum(" beaten " in row for row in rows) < sum(" beaten " in row for row in everything)


def test_nothing_on_the_page_moves(decision: Decision) -> None:
    # What a reader asks for with prefers-reduced-motion holds for everybody.
    style = "".join(Page(render(decision)).inside("style"))
    assert not re.search(r"animation|transition|scroll-behavior", style)


def test_no_number_is_a_negative_nothing(named: tuple[Decision, Page]) -> None:
    assert not re.search(r"-0\.0+(?![0-9])", named[1].text)


def test_measurements_without_flags_are_said_to_have_none(
    make_decision: DecisionMaker, field: list[Candidate]
) -> None:
    decision = make_decision([candidate.model_copy(update={"flags": ()}) for candidate in field])
    assert "No measurement has a flag" in Page(render(decision)).text


def test_every_study_group_that_was_left_out_is_told_with_its_reason(
    decision: Decision, selections: Selections
) -> None:
    rows = Page(render(decision, selections)).rows()
    n_left_out = 0
    for selection in selections.values():
        for group in selection.all_groups:
            (row,) = (row for row in rows if row.startswith(f"{group.study_key_hash[:12]} "))
            assert f" {group.schema_version} {group.n_trials} {group.n_valid} {group.n_invalid} " in row
            if group.left_out:
                n_left_out += 1
                assert row.endswith(f"– excluded: {group.left_out}")
            else:
                assert row.endswith("chosen")
    assert n_left_out == 4


def test_counts_of_a_selection_that_read_a_part_of_the_trials_are_told_as_lower_bounds(
    decision: Decision, selections: Selections
) -> None:
    partly = {name: row.model_copy(update={"is_whole": False}) for name, row in selections.items()}
    page = Page(render(decision, partly))
    assert "the counts are lower bounds, and groups that cannot win may be missing" in page.text
    group = selections["minilm-l6"].all_groups[-1]
    (row,) = (row for row in page.rows() if row.startswith(f"{group.study_key_hash[:12]} "))
    assert f" ≥ {group.n_trials} ≥ {group.n_valid} ≥ {group.n_invalid} " in row
    assert "lower bounds" not in Page(render(decision, selections)).text


def test_a_backbone_without_champion_is_told_with_the_reason(
    decision: Decision, selections: Selections
) -> None:
    text = Page(render(decision, selections)).text
    assert f"No champion: {selections['minilm-l12'].reason}" in text


def test_a_champion_without_checkpoint_metric_or_fold_metrics_is_shown(
    decision: Decision, selections: Selections
) -> None:
    selection = selections["minilm-l3"]
    assert selection.champion is not None
    bare = selection.champion.model_copy(
        update={"refit_metric": None, "checkpoint_digest": None, "fold_metrics": (None, 0.5)}
    )
    page = Page(render(decision, {"minilm-l3": selection.model_copy(update={"champion": bare})}))
    assert "folds –, 0.5000" in page.text.replace(" ,", ",")
    assert "of the refit" not in page.text


def test_runs_link_to_their_pages_if_the_tracking_server_has_some(
    decision: Decision, selections: Selections
) -> None:
    address = "https://mlflow.example:5000/team"
    html = render_html(decision, selections, FACTS, tracking_address=address)
    page = Page(html)
    links = [each for each in page.elements if each.attributes.get("href", "").startswith("http")]
    champion = selections["minilm-l6"].champion
    assert champion is not None
    hrefs = {each.attributes["href"] for each in links}
    assert f"{address}/#/experiments/1/runs/{champion.refit_run_id}" in hrefs
    assert f"{address}/#/experiments/1/runs/{champion.trial_run_id}" in hrefs
    for each in links:
        assert each.tag == "a"
        assert each.attributes["rel"] == "noopener noreferrer"
    assert "://" not in render(decision, selections)


def test_a_champion_is_shown_with_its_hyper_parameters_and_all_trials_of_its_group(
    decision: Decision, selections: Selections
) -> None:
    page = Page(render(decision, {"minilm-l6": selections["minilm-l6"]}))
    assert (
        "Hyper-parameters that the trials vary learning_rate 3e-05 epochs 3 2 more hyper-parameters"
        in page.text
    )
    assert "1 hyper-parameter not shown; the trial run holds all." in page.text
    (strip,) = (each for each in page.elements if each.attributes.get("class") == "trials")
    assert strip.attributes["aria-label"].startswith(
        "f1 of 9 trials, of which more is better: from 0.31 to 0.8123"
    )
    assert "Its folds have 0.8011 to 0.8206." in strip.attributes["aria-label"]
    many = selections["minilm-l6"].picked
    assert many is not None
    thinned = selections["minilm-l6"].replace(picked=many.replace(n_scores=100_000), is_whole=False)
    text = Page(render(decision, {"minilm-l6": thinned})).text
    assert "shows 9 of 100,000 trials, at equal distances in their order" in text
    assert "bakeoff read only the trials that could win." in text


def test_the_summary_can_be_copied_as_it_is(decision: Decision) -> None:
    page = Page(render(decision))
    assert "".join(page.inside("textarea")).strip() == render_summary(decision).strip()


def test_sliders_have_labels_and_hold_a_grid_in_the_settings_of_the_decision(
    named: tuple[Decision, Page],
) -> None:
    decision, page = named
    sliders = [each for each in page.elements if each.attributes.get("type") == "range"]
    labels = {each.attributes.get("for") for each in page.elements if each.tag == "label"}
    assert {each.attributes["id"] for each in sliders} <= labels
    assert len(sliders) == (0 if decision.what_if is None else 2)
    panels = [each.attributes for each in page.elements if each.attributes.get("id") == "what-if-panel"]
    for panel in panels:
        assert "hidden" in panel
        grid = json.loads(panel["data-grid"])
        value, limit = grid["now"]
        assert [int(each.attributes["value"]) for each in sliders] == [value, limit]
        found = grid["outcomes"][grid["found"][value][limit]]
        first = decision.standings[found["winner"]].label if found["winner"] is not None else None
        assert first == decision.winner


def test_twin_trials_are_told(decision: Decision, selections: Selections) -> None:
    (twin,) = selections["minilm-l3"].selection_metadata["tied_trials"]
    text = Page(render(decision, selections)).text
    assert f"tied with {twin[:12]} ; the earliest start wins" in text


def test_candidates_that_could_not_be_ranked_are_listed(make_decision: DecisionMaker) -> None:
    left_out = "minilm-l12 × torch-fp32: no latency measurement"
    page = Page(render(make_decision(None, [left_out])))
    assert left_out in list(page.inside("li"))


def test_a_quantile_with_too_few_samples_is_a_dash_and_the_page_says_what_it_takes(
    decision: Decision,
) -> None:
    page = Page(render(decision))
    cells = [data for path, data in page.texts if path[-1:] == ("abbr",)]
    assert cells == ["–"] * len(decision.standings)
    assert "An interval of p99 needs at least 368 samples." in page.text


def test_a_batch_size_that_one_candidate_lacks_is_a_dash_there(
    make_decision: DecisionMaker, field: list[Candidate]
) -> None:
    partial = field[0].model_copy(update={"latency": {1: field[0].latency[1]}})
    page = Page(render(make_decision([partial, *field[1:]])))
    assert [data for path, data in page.texts if path[-1:] == ("abbr",)] == ["–"] * (4 + 5)


def test_costs_are_told_and_what_is_absent_says_why(priced: Decision) -> None:
    page = Page(render(priced))
    assert page.faults == []
    assert "87.3 MiB 21.8 MiB 123 ms 45.6 ms 512 ms 0.0371 ms 1.23 mJ 1.23 0.694" in page.text
    assert "First call and warm-up are at batch size 1, which a process runs first" in page.text
    assert "on one instance that never idles, at 0.5 per hour" in page.text
    titles = [element.attributes.get("title") for element in page.elements if element.tag == "abbr"]
    assert "the limit was met at no rate in 5 of 5 processes" in titles


def test_costs_without_a_price_hold_no_money(priced: Decision) -> None:
    settings = priced.settings.model_copy(update={"price_per_hour": None})
    text = Page(render(priced.model_copy(update={"settings": settings}))).text
    assert "Costs other than time." in text
    assert "Energy is not shown" not in text
    assert "per million" not in text


def test_a_page_without_costs_has_no_table_of_them(decision: Decision) -> None:
    assert "Costs other than time" not in Page(render(decision)).text


def test_a_machine_that_tells_no_energy_has_no_column_of_it_but_the_reason(priced: Decision) -> None:
    why = "this machine tells no energy"
    rows = []
    for row in priced.standings:
        assert row.costs is not None
        absent = {**row.costs.absent, "energy_per_document_uj": why}
        costs = row.costs.model_copy(update={"energy_per_document_uj": None, "absent": absent})
        rows.append(row.model_copy(update={"costs": costs}))
    text = Page(render(priced.model_copy(update={"standings": tuple(rows)}))).text
    assert f"Energy is not shown: {why}." in text
    assert "energy per document" not in text


def test_an_interval_without_upper_bound_is_open(decision: Decision) -> None:
    row = decision.standings[0]
    unknown = Estimate(value=12.3, low=11.8, high=None)
    changed = row.model_copy(update={"latency_by_batch_ms": {1: {"p95": unknown}}, "latency_ms": unknown})
    page = Page(render(decision.model_copy(update={"standings": (changed, *decision.standings[1:])})))
    assert "12.3 [11.8, ∞)" in page.text
    assert page.faults == []


def test_what_reproduces_the_decision_is_there(decision: Decision, selections: Selections) -> None:
    text = Page(render(decision, selections, {"command": "bakeoff run", "mlflow": "3.17.2"})).text
    assert f"decision digest {digest_json(decision.model_dump(mode='json'))}" in text
    assert "command bakeoff run mlflow 3.17.2 seed 0" in text
    for standing in decision.standings:
        assert standing.champion_run_id in text
        assert standing.checkpoint_digest in text
        assert all(key in text for key in standing.benchmark_keys)


def test_the_machine_is_described(decision: Decision) -> None:
    text = Page(render(decision)).text
    assert "Processor Example CPU @ 2.90GHz Cores 4 physical; 4 CPUs usable" in text
    assert "governor performance" in text
    assert "onnxruntime 1.23.0" in text


# --- what comes from outside ------------------------------------------------------------------------------


def spoil(text: str, make_decision: DecisionMaker, make_candidate: CandidateMaker) -> Decision:
    """A decision in which everything that can come from outside is that text."""
    candidates = [
        make_candidate(
            f"a{text}", f"r{text}", 0.84, 8.0, flags=(Flag(name=text, detail=text),), champion_run_id=text
        ),
        make_candidate(f"b{text}", f"r{text}", 0.70, 3.0, checkpoint_digest=text, benchmark_keys=(text,)),
    ]
    hardware = candidates[0].environment.hardware.model_copy(
        update={"cpu_model": text, "machine": text, "accelerators": (text,)}
    )
    environment = candidates[0].environment.model_copy(
        update={"hardware": hardware, "libraries": {text: text}, "facts": {text: text}}
    )
    return make_decision(
        [candidate.model_copy(update={"environment": environment}) for candidate in candidates],
        [f"left out: {text}"],
        constraints=[{"kind": "quality", "at_least": 0.75}],
    )


def spoil_selections(text: str, selections: Selections) -> Selections:
    champion = selections["minilm-l3"].champion
    assert champion is not None
    group = (
        selections["minilm-l12"]
        .all_groups[0]
        .model_copy(update={"study_key_hash": text, "schema_version": text, "left_out": text})
    )
    named = dict.fromkeys(("refit_run_id", "trial_run_id", "checkpoint_digest", "metric_name"), text)
    crowned = selections["minilm-l3"].model_copy(
        update={
            "champion": champion.model_copy(update=named),
            "all_groups": (group,),
            "reason": text,
            "selection_metadata": {"top_k": text, "tied_trials": [text], "tied_groups": [text]},
        }
    )
    return {text: crowned}


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_text_is_shown_as_text_and_makes_no_element(
    make_decision: DecisionMaker, make_candidate: CandidateMaker, selections: Selections, text: str
) -> None:
    tame, wild = (
        Page(
            render(
                spoil(word, make_decision, make_candidate),
                spoil_selections(word, selections),
                {word: word},
            )
        )
        for word in ("tame", text)
    )
    assert wild.faults == []
    # As many elements of each kind, so that nothing of the text became one; only marks and names may move.
    kinds = [
        Counter(element.tag for element in page.elements if element.tag not in {"path", "text", "br"})
        for page in (wild, tame)
    ]
    assert kinds[0] == kinds[1]
    assert {element.tag for element in wild.elements} == {element.tag for element in tame.elements}
    assert not [name for element in wild.elements for name in element.attributes if name.startswith("on")]
    assert f" × r{text}" in "".join(wild.inside("h1"))
    for tag in ("title", "h3", "th", "td", "dd", "dt", "li", "p", "caption"):
        assert any(text in data for data in wild.inside(tag)), tag


@pytest.mark.parametrize("text", UNSEEN)
def test_what_is_not_seen_but_turns_or_hides_text_is_taken_out(
    make_decision: DecisionMaker, make_candidate: CandidateMaker, selections: Selections, text: str
) -> None:
    # No digest can be made of half a surrogate pair, so it cannot stand in a decision.
    decision = spoil(text.replace("\ud83c", ""), make_decision, make_candidate)
    html = render(decision, spoil_selections(text, selections), {text: text})
    unseen = {char for char in html if unicodedata.category(char) in {"Cc", "Cf", "Cs"}} - {"\n"}
    assert unseen == set()
    html.encode()


@settings(max_examples=15, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture])
@given(text=st.text(min_size=1, max_size=40))
def test_any_text_leaves_the_page_whole(
    make_decision: DecisionMaker, make_candidate: CandidateMaker, selections: Selections, text: str
) -> None:
    text = text.encode("utf-8", "replace").decode()
    page = Page(
        render(spoil(text, make_decision, make_candidate), spoil_selections(text, selections), {text: text})
    )
    assert page.faults == []
    assert len([element for element in page.elements if element.tag == "h1"]) == 1


@pytest.mark.parametrize(
    ("changes", "shown"),
    [
        ({}, ("f1, cross-validated", "trained once more on all training data", "Champion run (refit)")),
        (
            {"fold_metrics": (), "evaluation": "single split", "is_refitted": False},
            ("f1, single split", "the trial was not refitted", "Champion run"),
        ),
        ({"fold_metrics": ()}, ("f1, as logged",)),
    ],
)
def test_the_page_says_how_a_champion_came_about(
    decision: Decision, selections: Selections, changes: Mapping[str, object], shown: tuple[str, ...]
) -> None:
    (name, selection) = next(iter(selections.items()))
    assert selection.champion is not None
    page = render(decision, {name: selection.replace(champion=selection.champion.replace(**changes))})
    assert all(text in page for text in shown)
    assert ("cross-validated" in page) is (not changes)
    assert ("trained once more" in page) is ("is_refitted" not in changes)


def test_a_page_about_an_error_names_it_everywhere_and_says_that_less_is_better(errors: Decision) -> None:
    page = Page(render(errors))
    assert "F1" not in page.text
    assert "ntities" not in page.text
    for words in (
        "RMSE against p50 latency, batch size 1",
        "↑ less is better",
        "higher is better, which means less RMSE",
        "RMSE ≤ 20: met",
        "bakeoff computes RMSE again",
        "(RMSE of the reference / RMSE)^0.8",
    ):
        assert words in page.text
