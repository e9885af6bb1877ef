"""The report in a real browser: drawn, legible, quiet, and harmless whatever the names are."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from playwright.sync_api import expect

from bakeoff.core.decision.candidates import Candidate
from bakeoff.core.decision.decide import Decision, decide
from bakeoff.core.records import BackboneSelection, Flag, Measurement
from bakeoff.report import render_html
from bakeoff.report.figures.scatter import draw_plot
from unit.report.figures.test_raw_measurements import contend, decide_on, with_rates
from unit.report.measured import measure_field

pytestmark = pytest.mark.slow

Open = Callable[..., Any]
Selections = dict[str, BackboneSelection]
FACTS = {"bakeoff": "0.1.0"}
DECISIONS = ["decision", "tie", "nobody", "alone", "crowd"]
# Widths, and whether the page is dark. Pages differ by what is on them, not by what a width does to it.
FEW_VIEWS = ((500, True), (1400, False))
VIEWS = (*FEW_VIEWS, (500, False), (900, True))
HOSTILE = (
    "<script>alert(1)</script>",
    '"><img src=https://example.org/x onerror=alert(1)>',
    "</title></style><iframe src=https://example.org></iframe>",
    "model\u202egnp.exe",
)

# Centre, size and paint of every mark of the drawing that is seen, in units of the drawing.
MARKS = """() => {
  const seen = [...document.querySelectorAll("svg.plot")].filter(svg => svg.checkVisibility());
  if (seen.length !== 1) throw new Error(`${seen.length} drawings are seen`);
  const [svg] = seen, box = svg.getBoundingClientRect(), scale = box.width / svg.viewBox.baseVal.width;
  return [...svg.querySelectorAll(".mark")].map(mark => {
    const outline = mark.querySelector(".outline"), b = outline.getBoundingClientRect();
    const ctm = mark.getScreenCTM();
    return {
      x: (ctm.e - box.left) / scale, y: (ctm.f - box.top) / scale, width: b.width / scale,
      stroke: getComputedStyle(outline).stroke, fill: getComputedStyle(outline).fill,
      inside: b.left >= box.left && b.right <= box.right && b.top >= box.top && b.bottom <= box.bottom,
    };
  });
}"""
# Texts of the drawing that is seen which stick out of it, and would be cut off.
OUTSIDE = """() => [...document.querySelectorAll("svg.plot")].filter(svg => svg.checkVisibility())
  .flatMap(svg => [...svg.querySelectorAll("text")].filter(text => {
    const box = svg.getBoundingClientRect(), b = text.getBoundingClientRect();
    return b.left < box.left || b.right > box.right || b.top < box.top || b.bottom > box.bottom;
  }).map(text => text.textContent))"""
# Contrast of the text of an element with the page, as WCAG 2.2 defines it (relative luminance of sRGB).
CONTRAST = """([selector, property]) => {
  const canvas = document.createElement("canvas").getContext("2d", {willReadFrequently: true});
  const luminance = colour => {
    canvas.fillStyle = colour; canvas.fillRect(0, 0, 1, 1);
    const [r, g, b] = [...canvas.getImageData(0, 0, 1, 1).data].slice(0, 3).map(v => v / 255)
      .map(v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const page = luminance(getComputedStyle(document.body).backgroundColor);
  return [...document.querySelectorAll(selector)].map(element => {
    const text = luminance(getComputedStyle(element)[property]);
    return (Math.max(text, page) + 0.05) / (Math.min(text, page) + 0.05);
  });
}"""


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize(("width", "size"), [(1280, (1040, 560)), (500, (460, 460))])
@pytest.mark.parametrize("name", DECISIONS)
def test_every_mark_is_drawn_at_its_place_and_the_page_is_quiet(
    *,
    open_page: Open,
    selections: Selections,
    request: pytest.FixtureRequest,
    name: str,
    width: int,
    size: tuple[int, int],
    dark: bool,
) -> None:
    decision: Decision = request.getfixturevalue(name)
    opened = open_page(render_html(decision, selections, FACTS), width=width, dark=dark)
    marks = opened.page.evaluate(MARKS)
    points = draw_plot(decision, width=size[0], height=size[1]).points
    assert len(marks) == len(points) == len(decision.standings)
    for mark, point in zip(reversed(marks), points, strict=True):
        assert (mark["x"], mark["y"]) == pytest.approx((point.x, point.y), abs=0.1)
        assert mark["inside"]
        assert 5 < mark["width"] < 20
        assert mark["stroke"].startswith(("rgb(", "color("))
        assert (mark["fill"] == mark["stroke"]) == (point.look.filling == "full")
    assert opened.complaints == []
    assert len(opened.requests) == 1
    assert opened.requests[0].startswith("file:")


@pytest.mark.parametrize("name", DECISIONS)
@pytest.mark.parametrize("width", [360, 500, 800, 1280])
def test_only_tables_scroll_sideways_never_the_page(
    open_page: Open, selections: Selections, request: pytest.FixtureRequest, name: str, width: int
) -> None:
    page = open_page(render_html(request.getfixturevalue(name), selections, FACTS), width=width).page
    assert page.evaluate("document.documentElement.scrollWidth") == width
    assert page.evaluate(OUTSIDE) == []
    # The smallest text of the drawing can still be read.
    sizes = page.evaluate(
        """() => [...document.querySelectorAll("svg.plot")].filter(svg => svg.checkVisibility())
        .map(svg => 13 * svg.getBoundingClientRect().width / svg.viewBox.baseVal.width)"""
    )
    assert all(size > 8.5 for size in sizes)


@pytest.mark.parametrize("width", [500, 1280])
def test_long_names_are_not_cut_off_at_the_edge_of_the_drawing(
    open_page: Open,
    make_decision: Callable[..., Decision],
    make_candidate: Callable[..., Candidate],
    width: int,
) -> None:
    names = ("multilingual-minilm-l12-h384", "distilbert-base-uncased-ner")
    candidates = [
        make_candidate(name, runtime, recall, ms)
        for name, recall in zip(names, (0.8, 0.6), strict=True)
        for runtime, ms in (("onnxruntime-int8-cuda-t16", 3.0), ("torch-fp32-compiled-cuda-t16", 30.0))
    ]
    limits = [
        {"kind": "latency", "batch_size": 1, "quantile": 0.5, "at_most_ms": 10},
        {"kind": "quality", "at_least": 0.8},
    ]
    page = open_page(render_html(make_decision(candidates, constraints=limits), {}, FACTS), width=width).page
    assert page.evaluate(OUTSIDE) == []


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_all_text_stands_out_from_the_page(open_page: Open, decision: Decision, dark: bool) -> None:
    page = open_page(render_html(decision, {}, FACTS), dark=dark).page
    colours = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (max(map(int, colours.strip("rgb()").split(","))) < 64) == dark
    for selector, property_ in (
        ("body, .soft, .sub, .note, .eyebrow, .place, .answer, summary, thead th", "color"),
        (".plot text", "fill"),
    ):
        ratios = page.evaluate(CONTRAST, [selector, property_])
        assert len(ratios) > 5
        assert min(ratios) >= 4.5


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_names_are_shown_as_text_and_do_nothing(
    open_page: Open,
    make_decision: Callable[..., Decision],
    make_candidate: Callable[..., Candidate],
    text: str,
) -> None:
    candidates = [
        make_candidate(f"a {text}", f"r {text}", 0.84, 8.0, flags=(Flag(name=f"flag: {text}", detail=text),)),
        make_candidate(f"b {text}", f"r {text}", 0.70, 3.0),
    ]
    decision = make_decision(candidates, [f"left out: {text}"])
    opened = open_page(render_html(decision, {}, {text: text}))
    shown = text.replace("\u202e", "")
    assert opened.page.inner_text("h1") in {f"a {shown} × r {shown}", f"b {shown} × r {shown}"}
    assert opened.page.title() == f"{opened.page.inner_text('h1')} – bakeoff"
    everything = opened.page.inner_text("body")
    assert everything.count(shown) > 10
    assert f"left out: {shown}" in everything
    assert opened.page.locator("img, iframe, [onerror]").count() == 0
    assert opened.page.locator("script").count() == 1
    assert opened.complaints == []
    assert len(opened.requests) == 1


def test_a_reader_of_the_artifact_in_mlflow_sees_the_drawing(
    open_page: Open, decision: Decision, selections: Selections
) -> None:
    # MLflow shows HTML artifacts in a sandboxed frame, from a blob of its own origin.
    html = render_html(decision, selections, FACTS, tracking_address="http://mlflow.test")
    opened = open_page("<!doctype html><title>file</title>")
    page = opened.page
    viewer = "<!doctype html><title>viewer</title>"
    page.route("http://mlflow.test/", lambda route: route.fulfill(content_type="text/html", body=viewer))
    page.goto("http://mlflow.test/")
    page.evaluate(
        """html => {
          const frame = document.createElement("iframe");
          frame.sandbox = "allow-scripts"; frame.width = 1200; frame.height = 800;
          frame.src = URL.createObjectURL(new Blob([html], {type: "text/html"}));
          document.body.append(frame);
        }""",
        html,
    )
    frame = page.frame_locator("iframe")
    assert frame.locator("h1").inner_text() == decision.winner
    marks = frame.locator("svg.plot.wide .mark")
    expect(marks).to_have_count(len(decision.standings), timeout=60_000)
    for number in range(marks.count()):
        box = marks.nth(number).bounding_box()
        assert box is not None
        assert box["width"] > 5
    # Links lead to places on the page there too.
    output, decided = frame.locator("#what-if-panel output"), decision.what_if
    assert decided is not None
    before = output.inner_text()
    frame.locator("#what-if-value").press("Home")
    expect(output).not_to_have_text(before)
    # No permission for the clipboard is needed: at the least the text is selected.
    frame.get_by_role("button", name="Copy the summary").click()
    summary = frame.locator("#summary")
    assert summary.evaluate("it => it.selectionEnd - it.selectionStart === it.value.length")
    assert frame.locator("#copied").inner_text().startswith(("Copied", "Selected"))
    frame.get_by_role("link", name="Reproduce").click()
    expect(frame.locator("h2#reproduce")).to_be_in_viewport(timeout=60_000)
    heading = frame.locator("h2#reproduce").bounding_box()
    assert heading is not None
    assert 0 <= heading["y"] < 820
    # No page opens from there, so that the address of a run is shown in its place.
    champion = next(each.champion for each in selections.values() if each.champion)
    address = f"http://mlflow.test/#/experiments/{champion.experiment_id}/runs/{champion.refit_run_id}"
    expect(frame.get_by_text(address, exact=True).first).to_be_visible(timeout=60_000)
    assert frame.locator('a[target="_blank"]').count() == 0
    assert opened.complaints == []


@pytest.mark.parametrize(
    ("name", "width", "dark"),
    [(name, *view) for name in ("decision", "measured") for view in VIEWS]
    + [(name, *view) for name in ("tie", "nobody", "crowd", "busy") for view in FEW_VIEWS],
)
def test_axe_finds_nothing_that_keeps_anybody_out(
    *,
    open_page: Open,
    axe: str,
    selections: Selections,
    request: pytest.FixtureRequest,
    name: str,
    width: int,
    dark: bool,
) -> None:
    measurements = {
        "measured": lambda: with_rates(measure_field()),
        "busy": lambda: with_rates(contend(measure_field(threads=1)), unmet=1),
    }.get(name, list[Measurement])()
    decision = decide_on(measurements) if measurements else request.getfixturevalue(name)
    html = render_html(decision, selections, FACTS, measurements=measurements, commands=("bakeoff plan",))
    page = open_page(html, width=width, dark=dark).page
    # What is folded away is looked at too.
    page.evaluate("for (const one of document.querySelectorAll('details')) one.open = true")
    page.evaluate(axe)
    found = page.evaluate("axe.run()")
    assert [(row["id"], row["nodes"][0]["html"]) for row in found["violations"]] == []
    assert len(found["passes"]) > 20


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_a_page_of_200_candidates_keeps_nobody_out(
    open_page: Open,
    axe: str,
    make_decision: Callable[..., Decision],
    make_candidate: Callable[..., Candidate],
    dark: bool,
) -> None:
    candidates = [
        make_candidate(f"backbone-{n}", f"runtime-{m}", 0.5 + 0.01 * n, 2.0 * 1.08**n * (1 + m))
        for n in range(40)
        for m in range(5)
    ]
    opened = open_page(render_html(make_decision(candidates), {}, FACTS), dark=dark)
    assert len(opened.page.evaluate(MARKS)) == 200
    assert opened.page.evaluate(OUTSIDE) == []
    opened.page.evaluate(axe)
    found = opened.page.evaluate("axe.run()")
    assert [(row["id"], row["nodes"][0]["html"]) for row in found["violations"]] == []
    assert opened.complaints == []


def test_the_shapes_of_the_calls_are_seen(open_page: Open) -> None:
    measurements = measure_field()
    decision = decide_on(measurements)
    opened = open_page(render_html(decision, {}, FACTS, measurements=measurements))
    hills = opened.page.locator(".ridge .hill")
    assert hills.count() == 2 * len(decision.standings)
    for number in range(hills.count()):
        hill, drawing = (
            hills.nth(number).bounding_box(),
            opened.page.locator(".ridge").nth(number).bounding_box(),
        )
        assert hill is not None
        assert drawing is not None
        assert hill["width"] > 10
        assert hill["height"] > 15
        assert hill["x"] >= drawing["x"]
        assert hill["x"] + hill["width"] <= drawing["x"] + drawing["width"]
    assert opened.complaints == []


def test_a_keyboard_skips_to_the_verdict_and_reaches_every_section(
    open_page: Open, decision: Decision
) -> None:
    page = open_page(render_html(decision, {}, FACTS)).page
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to the verdict"
    assert page.evaluate("document.activeElement.getBoundingClientRect().top") >= 0
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "main"
    links = page.locator("nav a")
    assert links.count() >= 8
    for number in range(links.count()):
        links.nth(number).press("Enter")
        target = links.nth(number).get_attribute("href")
        assert page.evaluate("location.hash") == target
        top = page.locator(f"h2{target}").bounding_box()
        assert top is not None
        assert -1 <= top["y"] < 900
        page.evaluate("scrollTo(0, 0)")


def test_what_is_folded_away_opens_by_keyboard(open_page: Open, decision: Decision) -> None:
    page = open_page(render_html(decision, {}, FACTS)).page
    key = page.get_by_text(decision.standings[0].benchmark_keys[0], exact=True)
    assert not key.is_visible()
    page.get_by_text("Checkpoints and benchmark keys").focus()
    page.keyboard.press("Enter")
    assert key.is_visible()


def test_a_printed_page_holds_what_is_folded_away_on_screen(open_page: Open, decision: Decision) -> None:
    page = open_page(render_html(decision, {}, FACTS), dark=True).page
    page.emulate_media(media="print")
    assert page.get_by_text(decision.standings[0].benchmark_keys[0], exact=True).is_visible()
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"


@pytest.mark.parametrize(("width", "dark"), [(500, True), (900, False), (1400, False)])
def test_sliders_move_the_winner_by_keyboard_to_the_one_that_decide_names(
    open_page: Open, field: list[Candidate], make_decision: Callable[..., Decision], width: int, *, dark: bool
) -> None:
    decision = make_decision(field)
    grid = decision.what_if
    assert grid is not None
    opened = open_page(render_html(decision, {}, FACTS, commands=("bakeoff decide",)), width=width, dark=dark)
    page = opened.page
    output = page.locator("#what-if-panel output")
    assert output.get_attribute("aria-live") == "polite"
    ring = 'svg.plot .point[data-place="winner"]'

    def seen() -> tuple[str, set[str | None]]:
        rings = [each for each in page.locator(ring).all() if each.is_visible()]
        shown = {each.get_attribute("data-n") for each in rings if each.locator(".ring").is_visible()}
        return output.inner_text(), shown

    winner = decision.winner
    assert winner is not None
    assert f"{winner} wins" in seen()[0]
    moves = {("#what-if-value", "Home"): (0, grid.limit_now), ("#what-if-limit", "Home"): (0, 0)}
    for (slider, key), (value, limit) in moves.items():
        page.locator(slider).focus()
        page.keyboard.press(key)
        moved = decide(field, grid.settings_at(decision.settings, value, limit))
        text, marked = seen()
        numbers = {str(n) for n, row in enumerate(decision.standings) if row.label == moved.winner}
        assert marked == numbers
        assert (f"{moved.winner} wins" in text) == (moved.winner is not None)
        assert page.locator(slider).get_attribute("aria-valuetext") in text
    assert "decision.constraints=" in page.locator("#what-if-command").inner_text()
    page.get_by_role("button", name="Back to the settings").press("Enter")
    assert f"{winner} wins" in seen()[0]
    assert page.locator("#what-if-limit").input_value() == str(grid.limit_now)
    assert opened.complaints == []
    assert len(opened.requests) == 1


def test_standings_are_cards_where_a_table_has_no_room(open_page: Open, decision: Decision) -> None:
    page = open_page(render_html(decision, {}, FACTS), width=500).page
    region = page.get_by_role("region", name="Standings", exact=True)
    assert region.evaluate("it => it.scrollWidth <= it.clientWidth")
    assert region.get_by_role("row").count() == 1 + 2 * len(decision.standings)
    for number, row in enumerate(decision.standings):
        card = region.locator("tbody").nth(number)
        assert "P(best)" in card.evaluate(
            "it => [...it.querySelectorAll('td')].map(td => getComputedStyle(td, '::before').content).join()"
        )
        assert row.reason in card.inner_text()
