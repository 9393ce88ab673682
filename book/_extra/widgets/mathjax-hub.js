// Widgets typeset what they show by a call of MathJax 2; the pages have MathJax 3, which is there by now.
document.addEventListener("DOMContentLoaded", function () {
  window.MathJax = window.MathJax || {};
  window.MathJax.Hub = {
    Queue: function () {
      if (window.MathJax.typesetPromise) window.MathJax.typesetPromise();
    },
  };
});
