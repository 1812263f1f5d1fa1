"use strict";

// Each figure carries its numbers as JSON: names of series, and panels of points
// [series, left, top, x, mean, interval, seeds], where left and top are in the panel's SVG.
const SVG = "http://www.w3.org/2000/svg";
const REACH = 48; // pixels between pointer and point
const tip = document.getElementById("tip");

function say(lines, left, top) {
  tip.replaceChildren(...lines.map((line, n) => {
    const part = document.createElement(n ? "span" : "strong");
    part.textContent = line;
    return part;
  }));
  tip.hidden = false;
  const box = tip.getBoundingClientRect();
  const beside = left + 16 + box.width > window.innerWidth ? left - 16 - box.width : left + 16;
  const above = top - 12 - box.height < 0 ? top + 16 : top - 12 - box.height;
  tip.style.left = `${Math.max(4, Math.min(beside, window.innerWidth - box.width - 4))}px`;
  tip.style.top = `${above}px`;
}

function silence() {
  tip.hidden = true;
  for (const mark of document.querySelectorAll(".mark")) mark.remove();
}

function bringToLife(figure) {
  const data = JSON.parse(figure.querySelector("script").textContent);
  const keys = [...figure.querySelectorAll(".key[data-key]")];
  const hidden = new Set();

  function show(series, on) {
    on ? hidden.delete(series) : hidden.add(series);
    keys[series].setAttribute("aria-pressed", String(on));
    for (const part of figure.querySelectorAll(`[data-series="${series}"]`)) part.classList.toggle("off", !on);
    silence();
  }

  keys.forEach((key, series) => key.addEventListener("click", () => show(series, hidden.has(series))));
  figure.querySelector(".every")?.addEventListener("click", () => {
    const on = hidden.size > 0;
    keys.forEach((_, series) => show(series, on));
  });

  figure.querySelectorAll(".panel > svg").forEach((svg, number) => {
    const panel = data.panels[number];
    const seen = () => panel.points.filter((point) => !hidden.has(point[0]));
    let current = null;

    function tell(point) {
      silence();
      current = point;
      const [series, left, top, x, mean, interval, seeds] = point;
      const mark = document.createElementNS(SVG, "circle");
      mark.setAttribute("class", "mark");
      for (const [name, value] of [["cx", left], ["cy", top], ["r", 4.5]]) mark.setAttribute(name, value);
      svg.append(mark);
      const lines = [data.names[series] ?? panel.y, `${panel.x || "x"}: ${x}`, `${panel.y || "y"}: ${mean}`];
      if (interval) lines.push(`95 % interval: ${interval}`);
      if (seeds) lines.push(`${seeds.split(", ").length === 1 ? "seed" : "seeds"}: ${seeds}`);
      const at = new DOMPoint(left, top).matrixTransform(svg.getScreenCTM());
      say(lines, at.x, at.y);
    }

    function nearest(x, y) {
      const matrix = svg.getScreenCTM();
      let best = null, least = REACH;
      for (const point of seen()) {
        const at = new DOMPoint(point[1], point[2]).matrixTransform(matrix);
        const distance = Math.hypot(at.x - x, at.y - y);
        if (distance < least) [best, least] = [point, distance];
      }
      return best;
    }

    function follow(event) {
      const point = nearest(event.clientX, event.clientY);
      if (!point) silence();
      else if (point !== current || tip.hidden) tell(point);
    }

    svg.addEventListener("pointermove", follow);
    svg.addEventListener("pointerdown", follow);
    svg.addEventListener("pointerleave", (event) => event.pointerType === "touch" || silence());
    svg.addEventListener("blur", silence);

    // Left and right go along a series, up and down to the next one at the nearest place.
    svg.addEventListener("keydown", (event) => {
      const points = seen();
      if (event.key === "Escape") return silence();
      if (!points.length || !event.key.startsWith("Arrow")) return;
      event.preventDefault();
      if (!points.includes(current)) return tell(points[0]);
      const aside = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
      const [series, left] = current;
      if (aside) {
        const mine = points.filter((point) => point[0] === series);
        return tell(mine[(mine.indexOf(current) + aside + mine.length) % mine.length]);
      }
      const names = [...new Set(points.map((point) => point[0]))];
      const next = names[(names.indexOf(series) + (event.key === "ArrowDown" ? 1 : -1) + names.length) % names.length];
      const there = points.filter((point) => point[0] === next);
      tell(there.reduce((a, b) => (Math.abs(b[1] - left) < Math.abs(a[1] - left) ? b : a)));
    });
  });
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

document.documentElement.classList.add("lives");
document.querySelectorAll("figure.plot").forEach(bringToLife);
offerThemes(document.getElementById("theme"));
window.addEventListener("scroll", silence, { passive: true });
