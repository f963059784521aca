"use strict";
(() => {
  const all = (selector, root = document) => Array.from(root.querySelectorAll(selector));
  const say = (id, text) => { document.getElementById(id).textContent = text; };

  // -- sorting: first click the usual direction, second the other, third the table's own order
  const sort = (button) => {
    const head = button.closest("th");
    const heads = all("th", head.parentElement);
    const at = heads.indexOf(head);
    const body = head.closest("table").tBodies[0];
    const rows = Array.from(body.rows);
    rows.forEach((row, i) => { if (!row.dataset.place) row.dataset.place = i + 1; });
    const ways = at === 0 ? ["ascending", "descending", "none"] : ["descending", "ascending", "none"];
    const way = ways[(ways.indexOf(head.getAttribute("aria-sort")) + 1) % 3];
    heads.forEach((other) => other.setAttribute("aria-sort", other === head ? way : "none"));
    const place = (row) => Number(row.dataset.place);
    const number = (row) => (row.cells[at].dataset.v === undefined ? null : Number(row.cells[at].dataset.v));
    const sign = way === "descending" ? -1 : 1;
    const order = (a, b) => {
      if (way === "none") return place(a) - place(b);
      if (at === 0) {
        return sign * a.cells[0].textContent.localeCompare(b.cells[0].textContent, "en", { numeric: true }) || place(a) - place(b);
      }
      const x = number(a);
      const y = number(b);
      if (x === null || y === null) return (x === null) - (y === null) || place(a) - place(b);
      return sign * (x - y) || place(a) - place(b);
    };
    body.append(...rows.sort(order));
    const name = button.textContent;
    say("sorted", way === "none" ? "Rows in their own order." : `Rows sorted by ${name}, ${way}.`);
  };
  all(".sort").forEach((button) => button.addEventListener("click", () => sort(button)));

  // -- filter: every word must be in the name
  const filter = document.getElementById("filter");
  const apply = () => {
    const words = filter.value.toLowerCase().split(/\s+/).filter(Boolean);
    const fits = (item) => words.every((word) => item.dataset.name.includes(word));
    all("[data-name]").forEach((item) => { item.hidden = !fits(item); });
    const rows = all(".view:not([hidden]) .main tbody tr");
    const shown = rows.filter((row) => !row.hidden).length;
    say("shown", words.length ? `${shown} of ${rows.length} rows` : "");
  };
  filter.addEventListener("input", apply);
  filter.form.addEventListener("submit", (event) => event.preventDefault());

  // -- selection rule
  all("input[name=rule]").forEach((input) => input.addEventListener("change", () => {
    all(".view").forEach((view) => { view.hidden = view.dataset.rule !== input.value; });
    apply();
  }));

  // -- what is shown
  all("[data-shows]").forEach((input) => input.addEventListener("change", () => {
    document.body.classList.toggle(`hide-${input.dataset.shows}`, !input.checked);
  }));
  const columns = all("[data-column]");
  columns.forEach((input) => input.addEventListener("change", () => {
    const off = columns.filter((other) => !other.checked).map((other) => `[data-c="${other.dataset.column}"]`);
    document.getElementById("hidden-columns").textContent = off.length ? `${off.join(",")}{display:none}` : "";
  }));

  // -- while a study is watched the page is written again and again; it is not taken away from who uses it
  const every = Number(document.documentElement.dataset.refresh);
  const used = () => filter.value || document.querySelector("details[open]")
    || all("input").some((input) => input.checked !== input.defaultChecked);
  if (every) setInterval(() => { if (!used()) location.reload(); }, 1000 * every);

  // -- a link to a section opens it
  const open = () => {
    const target = location.hash && document.getElementById(decodeURIComponent(location.hash.slice(1)));
    if (!target) return;
    if (target.matches("details")) {
      target.open = true;
      target.hidden = false;
      target.querySelector("summary").focus({ preventScroll: true });
    } else {
      target.focus({ preventScroll: true });
    }
    target.scrollIntoView();
  };
  addEventListener("hashchange", open);
  open();
})();
