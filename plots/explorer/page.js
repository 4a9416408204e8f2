"use strict";
const DATA = JSON.parse(document.getElementById("data").textContent);
// Okabe & Ito (2008): told apart by colour-blind readers
const COLOURS = ["#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#f0e442", "#999999"];
const WARP = 32;
const element = (tag, properties = {}, ...children) => {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children);
  return made;
};
const style = name => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

class Pane {
  constructor(chosen, label) {
    this.select = element("select", { ariaLabel: `kernel, ${label}` }, ...DATA.kernels.map(k => new Option(k.name)));
    this.select.value = chosen;
    this.slider = element("input", { type: "range", min: 0, value: 0, ariaLabel: `time, ${label}` });
    this.when = element("output");
    this.now = element("p", { className: "now" });
    this.about = element("div");
    this.matrices = element("div", { className: "matrices" });
    this.source = element("div", { className: "source" });
    this.table = element("table");
    this.root = element("section", {}, this.select, this.about,
      element("div", { className: "slider" }, this.slider, this.when), this.now, this.matrices, this.source,
      element("div", { className: "wide" }, this.table));
    this.select.onchange = () => this.load();
    this.slider.oninput = () => this.draw();
    this.load();
  }

  load() {
    const k = this.kernel = DATA.kernels[this.select.selectedIndex];
    this.steps = [];  // time → [interval, step in it]
    for (let interval = 0; interval < k.intervals; interval++) {
      const length = Math.max(1, ...k.threads.map(t => (t[interval] || []).length));
      for (let step = 0; step < length; step++) this.steps.push([interval, step]);
    }
    this.owner = new Map();  // element of C → thread
    k.threads.forEach((intervals, thread) => intervals.forEach(list => list.forEach(packed => {
      const place = k.places[Math.floor(packed / k.span)];
      if (place.kind !== "read" && k.arrays[place.array].name === k.result) this.owner.set(packed % k.span, thread);
    })));
    this.slider.max = this.steps.length - 1;
    this.slider.value = 0;
    this.about.replaceChildren(element("div", { textContent: k.idea }),
      ...k.faults.map(f => element("div", { className: "fault", textContent: `line ${f.line}: ${f.kind}: ${f.message}` })));
    this.canvases = k.arrays.map(a => {
      const canvas = element("canvas");
      const [rows, columns] = shape(a);
      const cell = Math.max(3, Math.min(11, Math.floor(176 / Math.max(rows, columns))));
      const scale = window.devicePixelRatio || 1;
      canvas.width = columns * cell * scale;
      canvas.height = rows * cell * scale;
      canvas.style.width = `${columns * cell}px`;
      canvas.setAttribute("role", "img");
      return Object.assign(canvas, { cell: cell * scale });
    });
    this.matrices.replaceChildren(...k.arrays.map((a, n) => element("figure", {},
      element("figcaption", { textContent: `${a.name} · ${a.space}${a.space === "shared" ? ", of block 0" : ""}` }),
      this.canvases[n])));
    this.lines = new Map(k.source.map((text, n) =>
      [k.firstLine + n, element("div", {}, element("b", { textContent: k.firstLine + n }), element("code", { textContent: text }))]));
    this.source.replaceChildren(...this.lines.values());
    this.table.replaceChildren(row("th", "line", "access", "sectors / warp access", "bank conflicts", "per c(i,j)"),
      ...k.counts.map(c => {
        const made = row("td", c.line, `${c.kind} ${c.array} (${c.space})`, c.space === "global" ? c.sectors.toFixed(2) : "–",
          c.space === "shared" ? `${c.conflicts.toFixed(2)}×` : "–", c.perResult === null ? "–" : c.perResult.toFixed(2));
        Object.assign(made.dataset, { line: c.line, sectors: c.sectors, conflicts: c.conflicts, perResult: c.perResult });
        return made;
      }));
    this.draw();
  }

  colour(thread) {
    const by = document.getElementById("colour").value, per = this.kernel.perBlock;
    const block = Math.floor(thread / per);
    const number = by === "block" ? block : by === "thread" ? thread : block * Math.ceil(per / WARP) + Math.floor(thread % per / WARP);
    return COLOURS[number % COLOURS.length];
  }

  draw() {
    const k = this.kernel, [interval, step] = this.steps[+this.slider.value];
    const touched = k.arrays.map(() => new Map());
    const state = new Array(k.threads.length), counted = new Map(), lines = new Set();
    let waiting = 0, finished = 0;
    k.threads.forEach((intervals, thread) => {
      const list = intervals[interval] || [], block = Math.floor(thread / k.perBlock);
      if (step < list.length) {
        const place = k.places[Math.floor(list[step] / k.span)];
        state[thread] = "run";
        lines.add(place.line);
        const what = `${place.kind} ${k.arrays[place.array].name} (${k.arrays[place.array].space}, line ${place.line})`;
        counted.set(what, (counted.get(what) || 0) + 1);
        if (k.arrays[place.array].space !== "shared" || block === 0) touched[place.array].set(list[step] % k.span, thread);
      } else if (k.barriers.some(b => b[0] === block && b[1] === interval)) {
        state[thread] = "wait";
        waiting++;
        k.barriers.filter(b => b[0] === block && b[1] === interval).forEach(b => lines.add(b[2]));
      } else {
        state[thread] = "done";
        finished++;
      }
    });
    this.when.textContent = `interval ${interval + 1}/${k.intervals}, access ${step + 1}`;
    const parts = [...counted].map(([what, n]) => `${n} ${n > 1 ? "threads" : "thread"}: ${what}`);
    if (waiting) parts.push(`${waiting} wait at the barrier`);
    if (finished) parts.push(`${finished} finished`);
    this.now.textContent = parts.join(" · ");
    this.lines.forEach((line, number) => line.classList.toggle("current", lines.has(number)));
    k.arrays.forEach((a, n) => this.paint(a, this.canvases[n], touched[n], state));
  }

  paint(array, canvas, touched, state) {
    const context = canvas.getContext("2d"), size = canvas.cell, [rows, columns] = shape(array);
    const result = array.name === this.kernel.result;
    context.fillStyle = style("--soft");
    context.fillRect(0, 0, canvas.width, canvas.height);
    for (let cell = 0; cell < rows * columns; cell++) {
      const x = cell % columns * size, y = Math.floor(cell / columns) * size, inner = size - 1;
      const thread = touched.has(cell) ? touched.get(cell) : result ? this.owner.get(cell) : undefined;
      if (thread === undefined) continue;
      context.fillStyle = context.strokeStyle = this.colour(thread);
      if (touched.has(cell) || state[thread] === "run") context.fillRect(x, y, inner, inner);
      else if (state[thread] === "wait") for (let at = 0; at < inner; at += size / 3) context.fillRect(x, y + at, inner, size / 6);
      else context.strokeRect(x + 1, y + 1, inner - 2, inner - 2);
      if (touched.has(cell) && result) {
        context.fillStyle = style("--ink");
        context.fillRect(x + size / 3, y + size / 3, size / 3, size / 3);
      }
    }
    canvas.setAttribute("aria-label", `${array.name}: ${touched.size} cells touched now`);
  }

  move(by) {
    this.slider.value = Math.min(this.steps.length - 1, Math.max(0, +this.slider.value + by));
    this.draw();
  }
}

function shape(array) {
  return array.shape.length > 1 ? array.shape : [1, array.shape[0]];
}

function row(tag, ...cells) {
  return element("tr", {}, ...cells.map(text => element(tag, { textContent: text })));
}

const panes = DATA.start.map((name, n) => new Pane(name, ["left", "right"][n]));
document.getElementById("panes").append(...panes.map(p => p.root));
document.getElementById("colour").onchange = () => panes.forEach(p => p.draw());
let playing = null;
const play = document.getElementById("play");
play.onclick = () => {
  if (playing) { clearInterval(playing); playing = null; }
  else playing = setInterval(() => panes.forEach(p => p.move(+p.slider.value === p.steps.length - 1 ? -p.steps.length : 1)), 250);
  play.textContent = playing ? "❚❚ Pause" : "▶ Play";
  play.setAttribute("aria-pressed", Boolean(playing));
};
document.addEventListener("keydown", event => {
  if (/^(INPUT|SELECT|BUTTON)$/.test(event.target.tagName)) return;
  if (event.key === " ") { event.preventDefault(); play.click(); }
  if (event.key === "ArrowLeft" || event.key === "ArrowRight") panes.forEach(p => p.move(event.key === "ArrowLeft" ? -1 : 1));
});

const machine = document.getElementById("machine");
const choose = (id, label, options) => {
  const select = element("select", { id }, ...options.map((text, n) => new Option(text, n)));
  select.onchange = showMachine;
  return element("label", {}, `${label} `, select);
};
const number = (id, label, value) => {
  const input = element("input", { id, type: "number", min: 1, value });
  input.oninput = showMachine;
  return element("label", {}, `${label} `, input);
};
const result = element("div");
machine.append(element("p", { className: "bar" }, choose("gpu", "machine", DATA.machines.map(m => m.name)),
  choose("launch", "kernel", DATA.launches.map(l => l.name)), number("order", "rows and columns of C", 1024),
  number("count", "multiprocessors", DATA.machines[0].multiprocessors)), result);
document.getElementById("gpu").addEventListener("change", event => {
  document.getElementById("count").value = DATA.machines[event.target.value].multiprocessors;
  showMachine();
});

function showMachine() {
  const value = id => Math.max(0, Math.floor(+document.getElementById(id).value));
  const gpu = DATA.machines[value("gpu")], launch = DATA.launches[value("launch")];
  const fit = launch.occupancy[gpu.architecture], count = Math.max(1, value("count")), order = Math.max(1, value("order"));
  const blocks = Math.ceil(order / launch.rows) * Math.ceil(order / launch.columns);
  const together = count * fit.blocks, waves = Math.ceil(blocks / together), last = blocks - (waves - 1) * together;
  const threads = Math.min(blocks, together) * launch.threads, cores = Math.round(gpu.cores / gpu.multiprocessors * count);
  const say = text => element("p", { textContent: text });
  const say2 = n => n.toLocaleString("en");
  const squares = Array.from({ length: count }, (_, n) => element("i", { className: n < last ? "busy" : "", title: `multiprocessor ${n}` }));
  result.replaceChildren(
    Object.assign(say(`${say2(blocks)} blocks of ${launch.threads} threads; ${say2(together)} blocks fit at once: ${say2(waves)} ${waves > 1 ? "waves" : "wave"}.`), { id: "waves" }),
    say(`${say2(threads)} threads are resident, for ${say2(cores)} cores: the others wait for memory while these compute.`),
    say(`Occupancy ${(100 * fit.share).toFixed(0)}% (${fit.blocks} blocks, ${fit.warps} warps on each multiprocessor), limited by ${fit.limitedBy}; ${launch.registers} registers per thread at most, ${say2(launch.shared)} bytes of shared memory per block.`),
    say(`The last wave has ${say2(last)} ${last > 1 ? "blocks" : "block"}; multiprocessors with work in it:`),
    element("div", { className: "multiprocessors" }, ...squares));
}
showMachine();

for (const view of ["threads", "machine"])
  document.getElementById(`tab-${view}`).onclick = () => {
    for (const other of ["threads", "machine"]) {
      document.getElementById(other).hidden = other !== view;
      document.getElementById(`tab-${other}`).setAttribute("aria-selected", other === view);
    }
  };
