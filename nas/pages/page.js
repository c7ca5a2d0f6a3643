"use strict";
// The replay of a search: a slider moves its heat maps, its drawing and the marks in the curves to an epoch.
for (const replay of document.querySelectorAll(".replay")) {
  const data = JSON.parse(replay.querySelector("script").textContent);
  const controls = replay.querySelector(".controls");
  const [button, slider] = [controls.querySelector("button"), controls.querySelector("input")];
  const [title, line] = replay.querySelector(".now").children;
  const of = title.textContent.replace(/^epoch \d+ /, "");
  const drawings = replay.querySelectorAll(".drawings");
  const tables = [...replay.querySelectorAll(".heat")].map((table) =>
    [...table.tBodies[0].rows].map((row) => [...row.cells].slice(1)));
  const cursors = document.querySelectorAll(".cursor");

  const paint = (map, rows, epoch) => {
    const chosen = new Set(map.chosen[epoch]);
    rows.forEach((cells, row) => cells.forEach((cell, column) => {
      const weight = map.weights[epoch][row][column];
      cell.classList.toggle("absent", weight === null);
      cell.textContent = weight === null ? "–" : weight.toFixed(3);
      cell.style.setProperty("--v", map.high > map.low ? (weight - map.low) / (map.high - map.low) : 0);
      cell.classList.toggle("chosen", chosen.has(row * cells.length + column));
    }));
  };

  const show = (epoch) => {
    title.textContent = `epoch ${epoch + 1} ${of}`;
    line.textContent = data.lines[epoch];
    slider.setAttribute("aria-valuetext", `${title.textContent}, ${data.lines[epoch]}`);
    drawings.forEach((drawing, place) => { drawing.hidden = place !== data.cells[epoch]; });
    data.maps.forEach((map, place) => paint(map, tables[place], epoch));
    for (const cursor of cursors) {
      const { left, step } = cursor.ownerSVGElement.dataset;
      const x = Number(left) + Number(step) * (epoch + 1);
      cursor.setAttribute("x1", x);
      cursor.setAttribute("x2", x);
    }
  };

  let timer = 0;
  const stop = () => {
    clearInterval(timer);
    timer = 0;
    button.textContent = "▶";
    button.setAttribute("aria-label", "play");
  };
  const play = () => {
    if (Number(slider.value) === data.lines.length - 1) slider.value = 0;
    show(Number(slider.value));
    button.textContent = "❚❚";
    button.setAttribute("aria-label", "pause");
    timer = setInterval(() => {
      slider.stepUp();
      show(Number(slider.value));
      if (Number(slider.value) === data.lines.length - 1) stop();
    }, Math.max(60, Math.min(700, 8000 / data.lines.length)));
  };

  slider.addEventListener("input", () => { stop(); show(Number(slider.value)); });
  button.addEventListener("click", () => (timer ? stop() : play()));
  controls.hidden = data.lines.length < 2;
}
