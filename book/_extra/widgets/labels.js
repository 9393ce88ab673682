// Sliders of widgets say neither their name nor their value to screen readers (they say the number of the choice):
// give the handle the text of the label beside it, and the text that the slider shows.
document.addEventListener("DOMContentLoaded", function () {
  function set(element, name, value) {
    if (element.getAttribute(name) !== value) element.setAttribute(name, value);
  }
  function tell(slider) {
    var label = slider.querySelector(".widget-label");
    var shown = slider.querySelector(".widget-readout");
    slider.querySelectorAll("[role=slider]").forEach(function (handle) {
      if (label) set(handle, "aria-label", label.textContent);
      if (shown) set(handle, "aria-valuetext", shown.textContent);
    });
    // What is shown is one of the choices, and cannot be typed.
    if (shown && slider.classList.contains("rhm-control")) set(shown, "contenteditable", "false");
  }
  new MutationObserver(function (changes) {
    var sliders = new Set();
    changes.forEach(function (change) {
      var at = change.target.nodeType === 1 ? change.target : change.target.parentElement;
      var around = at && at.closest(".widget-slider");
      if (around) sliders.add(around);
      change.addedNodes.forEach(function (node) {
        if (node.nodeType !== 1) return;
        if (node.matches(".widget-slider")) sliders.add(node);
        node.querySelectorAll(".widget-slider").forEach(function (inner) {
          sliders.add(inner);
        });
      });
    });
    sliders.forEach(tell);
  }).observe(document.body, {
    attributes: true,
    attributeFilter: ["aria-valuetext"],
    characterData: true,
    childList: true,
    subtree: true,
  });
});
