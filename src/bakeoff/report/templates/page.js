"use strict";
// MLflow shows artifacts from a blob in a sandboxed frame. There a browser follows no link, even within the page.
document.addEventListener("click", (event) => {
  const link = event.target.closest('a[href^="#"]');
  const target = link && document.getElementById(link.getAttribute("href").slice(1));
  if (!target || location.protocol !== "blob:") return;
  event.preventDefault();
  target.tabIndex = -1;
  target.focus({preventScroll: true});
  target.scrollIntoView();
});
// A link to a run becomes its address, to copy: nothing can be opened from that frame.
if (location.protocol === "blob:") {
  for (const link of document.querySelectorAll('a[target="_blank"]')) {
    const address = document.createElement("code");
    address.className = "address";
    address.textContent = link.href;
    link.replaceWith(...link.childNodes, " ", address);
  }
}

// The answers are those of bakeoff, one for each place of the sliders; nothing is computed here.
const panel = document.getElementById("what-if-panel");
if (panel) {
  const grid = JSON.parse(panel.dataset.grid);
  const sliders = ["what-if-value", "what-if-limit"].map((id) => document.getElementById(id));
  const decided = document.getElementById("what-if-decided");
  const command = document.getElementById("what-if-command");
  const placeOf = (outcome, n) => {
    if (n === outcome.winner) return "winner";
    if (n === outcome.best_so_far) return "best so far";
    return ["tied", "undecided", "excluded"].find((place) => outcome[place].includes(n)) || "beaten";
  };
  const show = () => {
    const [value, limit] = sliders.map((slider, which) => slider ? Number(slider.value) : grid.now[which]);
    const isNow = value === grid.now[0] && limit === grid.now[1];
    const outcome = grid.outcomes[grid.found[value][limit]];
    const words = sliders.filter(Boolean).map((slider) => {
      const text = grid.texts[slider.id][Number(slider.value)];
      slider.setAttribute("aria-valuetext", text);
      slider.parentElement.querySelector(".value").textContent = text;
      return text;
    });
    panel.querySelector("output").textContent = `${words.join("; ")}: ${outcome.text}${grid.p[value][limit]}.`;
    decided.textContent = isNow ? "These are the settings of the decision." : grid.decided;
    const {base, values, limits} = grid.commands;
    command.hidden = !base || isNow;
    if (base) command.firstElementChild.textContent = base + values[value] + limits[limit];
    for (const plot of document.querySelectorAll("svg.plot")) {
      plot.classList.toggle("is-moved", !isNow);
      for (const one of plot.querySelectorAll("[data-n]")) {
        one.dataset.place = placeOf(outcome, Number(one.dataset.n));
      }
    }
  };
  for (const slider of sliders.filter(Boolean)) slider.addEventListener("input", show);
  document.getElementById("what-if-reset").addEventListener("click", () => {
    sliders.forEach((slider, which) => { if (slider) slider.value = grid.now[which]; });
    show();
  });
  show();
  panel.hidden = false;
}

// A sandboxed frame may not write to the clipboard by itself; then the text is selected for the reader to copy.
const copy = document.getElementById("copy");
copy.addEventListener("click", () => {
  const summary = document.getElementById("summary");
  summary.focus();
  summary.select();
  const isDone = document.execCommand("copy");
  document.getElementById("copied").textContent = isDone ? "Copied." : "Selected: press Ctrl+C or ⌘C to copy it.";
});
copy.hidden = false;
