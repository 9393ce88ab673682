// What Jupyter's widgets need of a page, set before they start.
(function () {
  "use strict";

  // Their font lies beside this file, not where their package would be on the web.
  var folder = document.currentScript.src.replace(/\/[^/]*$/, "");
  window.requirejs.config({ paths: { "@jupyter-widgets/html-manager/dist": folder } });

  // The handle of a slider has neither a name nor words for its value: it gets those beside it.
  function name(handle) {
    var widget = handle.closest(".jupyter-widgets");
    var label = widget && widget.querySelector(".widget-label");
    var readout = widget && widget.querySelector(".widget-readout");
    if (!label || handle.hasAttribute("aria-label")) return;
    handle.setAttribute("aria-label", label.textContent.trim());
    if (!readout) return;
    function say() {
      handle.setAttribute("aria-valuetext", readout.textContent.trim());
    }
    say();
    new MutationObserver(say).observe(readout, { childList: true, characterData: true, subtree: true });
  }

  new MutationObserver(function () {
    document.querySelectorAll(".noUi-handle").forEach(name);
  }).observe(document.documentElement, { childList: true, subtree: true });
})();
