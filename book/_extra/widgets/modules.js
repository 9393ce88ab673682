// Where require.js finds the module of our own widgets, which pages fetch that show one, and where embed-amd.js finds its fonts.
(function () {
  var here = document.currentScript.src.replace(/\/modules\.js.*$/, "");
  require.config({ paths: { anywidget: here + "/anywidget", "@jupyter-widgets/html-manager/dist": here } });
})();
