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
