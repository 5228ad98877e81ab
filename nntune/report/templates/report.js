"use strict";
// Tables sort by the column whose heading is pressed; numbers as numbers, what has none last.
for (const button of document.querySelectorAll("th button")) {
  button.addEventListener("click", () => {
    const head = button.closest("th");
    const body = head.closest("table").tBodies[0];
    const down = head.getAttribute("aria-sort") === "ascending";
    for (const other of head.parentNode.children) other.removeAttribute("aria-sort");
    head.setAttribute("aria-sort", down ? "descending" : "ascending");
    const key = (row) => row.cells[head.cellIndex].textContent.trim();
    const isEmpty = (text) => text === "" || text === "-";
    const numeric = (text) => Number(text.replaceAll(",", "").replace(/^#/, "").split(" ")[0]);
    const sign = down ? -1 : 1;
    const rows = [...body.rows].sort((one, two) => {
      const [a, b] = [key(one), key(two)];
      if (isEmpty(a) || isEmpty(b)) return isEmpty(a) - isEmpty(b);
      const [x, y] = [numeric(a), numeric(b)];
      return sign * (Number.isNaN(x) || Number.isNaN(y) ? a.localeCompare(b) : x - y);
    });
    body.append(...rows);
  });
}
// The nearest mark under the pointer says what it is.
const note = document.getElementById("note");
const marks = new WeakMap();
const marksOf = (svg) => {
  if (!marks.has(svg)) {
    marks.set(svg, [...svg.querySelectorAll("[data-places]")].flatMap((path) => {
      const notes = path.dataset.notes.split("\n");
      return path.dataset.places.split(" ").map((place, at) => {
        const [x, y] = place.split(",").map(Number);
        return { x, y, text: notes[notes.length > 1 ? at : 0] };
      });
    }));
  }
  return marks.get(svg);
};
const hide = () => { note.hidden = true; };
for (const svg of document.querySelectorAll("figure svg")) {
  svg.addEventListener("pointermove", (event) => {
    const box = svg.getBoundingClientRect();
    const scale = svg.viewBox.baseVal.width / box.width;
    const [x, y] = [(event.clientX - box.left) * scale, (event.clientY - box.top) * scale];
    let best = null;
    let least = 18 * 18;
    for (const mark of marksOf(svg)) {
      const distance = (mark.x - x) ** 2 + (mark.y - y) ** 2;
      if (distance < least) { least = distance; best = mark; }
    }
    if (best === null) { hide(); return; }
    note.textContent = best.text;
    note.hidden = false;
    note.style.left = `${Math.min(event.clientX + 14, innerWidth - note.offsetWidth - 8)}px`;
    note.style.top = `${Math.max(8, event.clientY - note.offsetHeight - 10)}px`;
  });
  svg.addEventListener("pointerleave", hide);
}
addEventListener("scroll", hide, { passive: true });
