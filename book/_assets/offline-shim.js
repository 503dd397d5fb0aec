/* The first script of every page (see html_js_files in _config.yml). */
(function () {
  "use strict";
  /* Where the widgets' html-manager finds its fonts: beside its own copy in this site. */
  var here = document.currentScript.src;
  window.__jupyter_widgets_assets_path__ = new URL("vendor/html-manager/", here).href;

  /* html-manager speaks MathJax 2 (MathJax.Hub.Queue) to whatever MathJax it finds. MathJax 3
     has no Hub, so each MathJax that appears is given one that typesets the element asked for. */
  function typeset(element) {
    var mathjax = window.MathJax;
    if (!element || !mathjax || !mathjax.startup || !mathjax.startup.promise) { return; }
    mathjax.startup.promise
      .then(function () { return mathjax.typesetPromise([element]); })
      .catch(function (error) { console.warn("MathJax:", error); });
  }
  var hub = {
    Queue: function () {
      for (var i = 0; i < arguments.length; i += 1) {
        if (Array.isArray(arguments[i])) { typeset(arguments[i][2]); }
      }
    }
  };
  var current;
  function adopt(value) {
    if (value) { value.Hub = hub; }
    current = value;
  }
  adopt(window.MathJax);
  Object.defineProperty(window, "MathJax", {
    configurable: true,
    get: function () { return current; },
    set: adopt
  });
})();
