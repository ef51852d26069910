"use strict";
(() => {
  const table = document.getElementById("enrollments");
  if (!table) return;
  const STEP = 200;
  const body = table.tBodies[0];
  const rows = Array.from(body.rows, (element) => {
    const cells = Array.from(element.cells, (cell) => cell.textContent);
    return { element, cells, text: cells.join("\n").toLowerCase() };
  });
  const form = document.getElementById("filters");
  const search = document.getElementById("search");
  const selects = Array.from(form.querySelectorAll("select"));
  const more = document.getElementById("more");
  const shown = document.getElementById("shown");
  let order = rows;
  let limit = STEP;

  function show() {
    const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
    const matching = order.filter((row) =>
      words.every((word) => row.text.includes(word)) &&
      selects.every((select) => !select.value || row.cells[Number(select.dataset.column)] === select.value));
    body.replaceChildren(...matching.slice(0, limit).map((row) => row.element));
    more.hidden = matching.length <= limit;
    shown.textContent = `${Math.min(limit, matching.length).toLocaleString("en")} of ${matching.length.toLocaleString("en")} shown`;
  }

  function sort(heading, position) {
    const descending = heading.getAttribute("aria-sort") === "ascending";
    const numeric = heading.classList.contains("number");
    const compare = new Intl.Collator(undefined, { numeric: true }).compare;
    for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
    heading.setAttribute("aria-sort", descending ? "descending" : "ascending");
    order = rows.slice().sort((one, other) => {
      const [a, b] = [one.cells[position], other.cells[position]];
      // Empty cells come last in both directions.
      if (!a || !b) return (a ? 0 : 1) - (b ? 0 : 1);
      const result = numeric ? Number(a) - Number(b) : compare(a, b);
      return descending ? -result : result;
    });
    show();
  }

  Array.from(table.tHead.rows[0].cells, (heading, position) => {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = heading.textContent;
    button.addEventListener("click", () => sort(heading, position));
    heading.replaceChildren(button);
  });
  const restart = () => { limit = STEP; show(); };
  search.addEventListener("input", restart);
  for (const select of selects) select.addEventListener("change", restart);
  form.addEventListener("submit", (event) => event.preventDefault());
  more.addEventListener("click", () => { limit *= 4; show(); });
  form.hidden = false;
  show();
})();
