"use strict";
(() => {
  const { labels, pdb, ribbon } = JSON.parse(document.getElementById("structures").textContent);
  const place = document.getElementById("viewer");
  const viewer = window.$3Dmol && $3Dmol.createViewer(place, { backgroundAlpha: 0 });
  if (!viewer) {
    place.textContent = "The interactive 3-D structures need WebGL, which this browser does not support.";
    return;
  }
  const sticks = { stick: { radius: 0.13 }, sphere: { scale: 0.24 } };
  const style = ribbon ? { cartoon: { color: "spectrum" } } : sticks;
  const models = pdb.map((text) => viewer.addModel(text, "pdb", { keepH: true }));
  const buttons = labels.map((label, i) => {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = label;
    button.addEventListener("click", () => show(i));
    document.getElementById("choices").append(button);
    return button;
  });
  const all = document.createElement("button");
  all.type = "button";
  all.textContent = "all";
  all.addEventListener("click", () => show(-1));
  document.getElementById("choices").append(all);
  buttons.push(all);

  function show(chosen) {
    models.forEach((model, i) => {
      const seen = chosen < 0 || i === chosen;
      model.setStyle({}, seen ? (chosen < 0 && !ribbon ? { stick: { radius: 0.07 } } : style) : {});
    });
    buttons.forEach((button, i) => {
      const pressed = i === (chosen < 0 ? models.length : chosen);
      button.setAttribute("aria-pressed", String(pressed));
    });
    viewer.render();
  }

  viewer.zoomTo();
  show(0);
})();
