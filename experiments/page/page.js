"use strict";

const NARROW = 380; // pixels of a panel

// A chart's data come by columns, which is shorter; Vega wants a row an object.
function expand(spec) {
  for (const [name, { columns, rows }] of Object.entries(spec.datasets)) {
    spec.datasets[name] = rows.map((row) => Object.fromEntries(row.map((value, n) => [columns[n], value])));
  }
  return spec;
}

// What the chart shows, for those who do not see it: its rows of means, or of whatever it has.
function table(spec) {
  const all = Object.values(spec.datasets);
  const rows = all.find((rows) => rows[0]?.interval) ?? all.find((rows) => rows[0]?.series) ?? [];
  const names = Object.keys(rows[0] ?? {}).filter((name) => name !== "low" && name !== "high");
  const made = document.createElement("table");
  const add = (kind, cells) => {
    const line = made.insertRow();
    for (const cell of cells) line.append(Object.assign(document.createElement(kind), { textContent: cell ?? "" }));
  };
  add("th", names);
  for (const row of rows) add("td", names.map((name) => row[name]));
  const scroll = Object.assign(document.createElement("div"), { className: "scroll", tabIndex: 0 });
  scroll.append(made);
  return scroll;
}

// A legend that is wider than its panel would be cut, as on a phone.
function narrow(spec) {
  const channels = spec.layer.flatMap((layer) => Object.values(layer.encoding ?? {}));
  for (const { legend } of channels) if (legend) legend.columns -= 1;
}

async function draw(panel) {
  const spec = expand(JSON.parse(panel.querySelector("script").textContent));
  if (panel.clientWidth < NARROW) narrow(spec);
  const details = panel.querySelector("details");
  details.querySelector("summary").textContent = `The numbers of “${spec.title.text}”`;
  details.append(table(spec));
  const options = { actions: false, renderer: "svg", tooltip: { theme: "custom" } };
  panel.view = (await vegaEmbed(panel.querySelector(".drawn"), spec, options)).view;
}

function offerThemes(button) {
  const themes = ["system", "light", "dark"];
  const remembered = () => { try { return localStorage.getItem("longreach-theme"); } catch { return null; } };
  const remember = (theme) => { try { localStorage.setItem("longreach-theme", theme); } catch { /* not kept */ } };
  function set(theme) {
    document.documentElement.dataset.theme = theme;
    button.textContent = `theme: ${theme}`;
  }
  set(themes.includes(remembered()) ? remembered() : "system");
  button.hidden = false;
  button.addEventListener("click", () => {
    const next = themes[(themes.indexOf(document.documentElement.dataset.theme) + 1) % themes.length];
    set(next);
    remember(next);
  });
}

offerThemes(document.getElementById("theme"));
const drawn = Promise.all([...document.querySelectorAll(".panel")].map(draw));
