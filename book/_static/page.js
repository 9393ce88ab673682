// Little things that the theme leaves undone, for readers with a keyboard or a screen reader.
(function () {
  "use strict";

  // A first visit: the theme knows no colours until its own script has run, and complains about that.
  var root = document.documentElement.dataset;
  if (!root.mode) root.mode = "auto";
  if (root.theme !== "light" && root.theme !== "dark")
    root.theme = window.matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light";

  // The arrow that unfolds a part of the side bar shows no words.
  document.addEventListener("DOMContentLoaded", function () {
    document.querySelectorAll(".bd-links details > summary").forEach(function (arrow) {
      var link = arrow.closest("li").querySelector("a");
      if (link && !arrow.textContent.trim()) arrow.setAttribute("aria-label", "Pages below " + link.textContent.trim());
    });
  });

  // What scrolls in its own box can be scrolled by the keyboard.
  var BOXES = ".bd-article .text_html, .bd-article .pst-scrollable-table-container, .bd-article div.math, .bd-article pre";
  function reachScrollable() {
    document.querySelectorAll(BOXES).forEach(function (box) {
      if (box.scrollWidth > box.clientWidth) box.tabIndex = 0;
      else if (box.tabIndex === 0) box.removeAttribute("tabindex");
    });
  }
  window.addEventListener("load", reachScrollable);
  window.addEventListener("resize", reachScrollable);
  document.addEventListener("toggle", reachScrollable, true); // folded boxes
})();
