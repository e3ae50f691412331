"use strict";
// Sorts tables by a click on a header, and shows the columns of the chosen metric and candidate set.
(() => {
  const value = (row, at) => {
    const cell = row.cells[at];
    if (cell.dataset.value === undefined) return cell.textContent.trim().toLowerCase();
    return cell.dataset.value === "" ? null : Number(cell.dataset.value);
  };
  const compare = (a, b, down) => {
    if (a === null || b === null) return (a === null) - (b === null); // what is missing comes last either way
    const order = typeof a === "number" ? a - b : a < b ? -1 : a > b ? 1 : 0;
    return down ? -order : order;
  };
  const sort = (head) => {
    const table = head.closest("table"), at = head.cellIndex;
    const first = head.classList.contains("number") && !head.classList.contains("cost") ? "descending" : "ascending";
    const other = first === "descending" ? "ascending" : "descending";
    const order = head.getAttribute("aria-sort") === first ? other : first;
    for (const cell of head.parentElement.cells) if (cell.hasAttribute("aria-sort")) cell.setAttribute("aria-sort", "none");
    head.setAttribute("aria-sort", order);
    for (const body of table.tBodies) { // each group is sorted for itself: controls stay beside the competitors
      const rows = [...body.rows].filter((row) => !row.classList.contains("group"));
      const keyed = rows.map((row) => [value(row, at), row]);
      keyed.sort((a, b) => compare(a[0], b[0], order === "descending"));
      body.append(...keyed.map(([, row]) => row));
    }
    const said = table.closest("section").querySelector("[role=status]");
    if (said) said.textContent = `sorted by ${head.textContent.trim().replace(/\s+/g, " ")}, ${order}`;
  };
  const choose = (section) => {
    const [metric, set] = ["metric", "set"].map((name) => section.querySelector(`select[name=${name}]`)?.value ?? "");
    for (const cell of section.querySelectorAll("[data-metric]"))
      cell.hidden = !((metric === "" || cell.dataset.metric === metric) && (set === "" || cell.dataset.set === set));
  };
  for (const button of document.querySelectorAll("th > button")) {
    button.disabled = false;
    button.addEventListener("click", () => sort(button.parentElement));
  }
  for (const form of document.querySelectorAll(".choice")) {
    form.hidden = false;
    form.addEventListener("change", () => choose(form.closest("section")));
    choose(form.closest("section"));
  }
})();
