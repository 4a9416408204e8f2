"use strict";
// The first view: two kernels side by side, each with its own time.
const DATA = JSON.parse(document.getElementById("data").textContent);
// Okabe & Ito (2008): told apart by colour-blind readers
const COLOURS = ["#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#f0e442", "#999999"];
const WARP = 32;
const byId = id => document.getElementById(id);
const element = (tag, properties = {}, ...children) => {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children);
  return made;
};
const row = (tag, ...cells) => element("tr", {}, ...cells.map(text => element(tag, { textContent: text })));
const style = name => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
const plural = (count, word) => `${count.toLocaleString("en")} ${word}${count === 1 ? "" : "s"}`;
// leading dimensions are stacked
const shape = array => array.shape.length > 1 ? [array.shape.slice(0, -1).reduce((a, b) => a * b), array.shape.at(-1)] : [1, array.shape[0]];

const changes = (k, place) => place.kind !== "read" && k.arrays[place.array].name === k.result;

class Pane {
  constructor(side) {
    this.select = element("select", { ariaLabel: `kernel, ${side}` }, ...DATA.kernels.map(k => new Option(k.name)));
    this.slider = element("input", { type: "range", min: 0, value: 0, ariaLabel: `time, ${side}` });
    this.when = element("output");
    this.about = element("div", { className: "about" });
    this.now = element("p", { className: "now" });
    this.matrices = element("div", { className: "matrices" });
    this.cell = element("p", { className: "cell" });
    this.source = element("div", { className: "source", tabIndex: 0, ariaLabel: `source, ${side}` });
    this.table = element("table");
    this.root = element("section", { ariaLabel: `kernel ${side}` }, this.select, this.about,
      element("div", { className: "slider" }, this.slider, this.when), this.now, this.matrices, this.cell, this.source,
      element("div", { className: "wide" }, this.table));
    this.select.onchange = () => this.load(this.select.value);
    this.slider.oninput = () => this.draw();
  }

  load(name) {
    this.select.value = name;
    const k = this.kernel = DATA.kernels[this.select.selectedIndex];
    this.block = 0;
    this.fault = null;
    this.starts = [];  // of each interval, in steps
    let steps = 0;
    const stranded = [...new Set(k.stranded.map(([thread]) => Math.floor(thread / k.perBlock)))];
    const met = block => k.barriers.filter(b => b[0] === block).length;
    for (let interval = 0; interval < k.intervals; interval++) {
      this.starts.push(steps);
      const meets = k.barriers.some(b => b[1] === interval) || stranded.some(block => met(block) === interval);
      // one step more, in which all wait that ever will
      steps += Math.max(1, ...k.threads.map(t => (t[interval] || []).length)) + Number(meets);
    }
    this.steps = steps;
    this.stranded = new Map(k.stranded);  // after their block's last barrier
    this.meetings = new Map(k.barriers.map(([block, interval, line, absent]) => [`${block} ${interval}`, { line, absent: new Set(absent) }]));
    this.findOwners();
    this.slider.max = steps - 1;
    this.about.replaceChildren(element("div", { textContent: k.idea }), element("div", { className: "sizes", textContent: this.sizes() }), ...k.faults.map(fault => this.faultButton(fault)));
    this.canvases = k.arrays.map((array, n) => this.canvas(array, n));
    this.captions = k.arrays.map(() => element("figcaption"));
    this.matrices.replaceChildren(...k.arrays.flatMap((array, n) =>
      array.drawn ? [element("figure", {}, this.captions[n], this.canvases[n])] : []));
    this.lines = new Map(k.source.map((text, n) => [k.firstLine + n,
      element("div", {}, element("b", { textContent: k.firstLine + n }), element("code", { textContent: text }))]));
    this.source.replaceChildren(...this.lines.values());
    this.table.replaceChildren(this.heads(), ...k.counts.map(count => this.figures(count)));
    this.cell.textContent = "";
    // a moment at which threads read A, not the first: a start says nothing yet
    this.go(Math.floor(steps / 6) * 2);
  }

  // what the picture shows, where the idea speaks of the kernel's real size
  sizes() {
    const k = this.kernel, c = k.arrays.find(array => array.name === k.result).shape.join(" x ");
    if (k.cores) return `Here c is ${c}, for ${plural(k.perBlock, "core")}.`;
    const [along] = k.block, warp = Math.min(WARP, k.perBlock), lanes = warp % along ? warp : `${along} x ${warp / along}`;
    const threads = k.block.length > 1 ? `${k.block.join(" x ")} = ${k.perBlock} threads` : plural(k.perBlock, "thread");
    return `Here ${k.result} is ${c}, a block has ${threads}, a warp ${lanes} of them.`;
  }

  findOwners() {
    // where a fault keeps all threads from C, those of the right twin tell whose each c(i,j) would have been
    const k = this.kernel.twin && !this.kernel.places.some(place => changes(this.kernel, place)) ? DATA.kernels.find(other => other.name === this.kernel.twin) : this.kernel;
    this.owner = new Map();  // element of C → thread
    this.written = new Map();  // element of C → steps at which it is
    k.threads.forEach((intervals, thread) => intervals.forEach((list, interval) => list.forEach((packed, step) => {
      const place = k.places[Math.floor(packed / k.span)];
      if (!changes(k, place)) return;
      const cell = packed % k.span;
      this.owner.set(cell, thread);
      if (!this.written.has(cell)) this.written.set(cell, []);
      this.written.get(cell).push(this.starts[interval] + step);
    })));
  }

  faultButton(fault) {
    const button = element("button", { className: "fault", ariaLabel: `watch the ${fault.kind}` },
      element("strong", { textContent: `⚠ ${fault.kind}, line ${fault.line}. Watch it` }), element("span", { textContent: fault.message }));
    button.onclick = () => {
      this.fault = fault;
      if (fault.witnesses.length) this.block = Math.floor(fault.witnesses[0][0] / this.kernel.perBlock);
      this.go(this.starts[fault.at[0]] + fault.at[1]);
    };
    return button;
  }

  canvas(array, n) {
    const canvas = element("canvas"), [rows, columns] = shape(array), scale = window.devicePixelRatio || 1;
    const side = array.name.length > 1 ? 110 : 168;  // A, B and C are what it is about
    const size = Math.max(3, Math.min(14, Math.floor(side / Math.max(rows, columns))));
    Object.assign(canvas, { width: columns * size * scale, height: rows * size * scale, size: size * scale });
    canvas.style.width = `${columns * size}px`;
    canvas.setAttribute("role", "img");
    canvas.onpointermove = canvas.onpointerdown = event => {
      const column = Math.floor(event.offsetX / size), at = Math.floor(event.offsetY / size);
      if (column < columns && at < rows) this.cell.textContent = this.who(array, n, at * columns + column);
    };
    return canvas;
  }

  who(array, n, cell) {
    const columns = shape(array)[1], place = `${array.name}[${Math.floor(cell / columns)}, ${cell % columns}]`;
    const now = this.touched[n].get(cell) || [];
    if (now.length) return `${place}: touched now by ${now.length > 3 ? `${now.length} threads, first ` : ""}${now.slice(0, 3).map(t => this.name(t)).join(", ")}`;
    if (array.name === this.kernel.result && this.owner.has(cell)) return `${place}: computed by ${this.name(this.owner.get(cell))}`;
    return `${place}: untouched at this moment`;
  }

  name(thread) {
    const k = this.kernel;
    if (k.cores) return `core ${thread}`;
    let number = thread % k.perBlock;
    const index = k.block.map(extent => { const at = number % extent; number = Math.floor(number / extent); return at; });
    return `thread (${index.join(", ")}) of block ${Math.floor(thread / k.perBlock)}`;
  }

  heads() {
    const head = row("th", "line", "access", ...(this.kernel.cores ? [] : ["sectors of a warp", "turns of the banks"]), this.kernel.result === "c" ? "for each c(i,j)" : `for each number of ${this.kernel.result}`);
    if (!this.kernel.cores) {
      head.children[2].title = "32-byte sectors of global memory that one access of a warp touches";
      head.children[3].title = "turns that one access of a warp to shared memory takes: more than one where lanes want different numbers of one bank";
    }
    return head;
  }

  figures(count) {
    const made = row("td", count.line, `${count.kind} ${count.array}${this.kernel.cores ? "" : ` (${count.space})`}`,
      ...(this.kernel.cores ? [] : [count.space === "global" ? count.sectors.toFixed(2) : "–", count.space === "shared" ? `${count.conflicts.toFixed(2)}×` : "–"]),
      count.perResult === null ? "–" : count.perResult.toFixed(2));
    Object.assign(made.dataset, { line: count.line, sectors: count.sectors, conflicts: count.conflicts, perResult: count.perResult });
    return made;
  }

  go(step) {
    this.slider.value = Math.min(this.steps - 1, Math.max(0, step));
    this.draw();
  }

  move(by) { this.go(+this.slider.value + by); }

  get atEnd() { return +this.slider.value === this.steps - 1; }

  colour(thread) {
    const by = byId("colour").value, { perBlock, cores } = this.kernel, block = Math.floor(thread / perBlock);
    const warp = block * Math.ceil(perBlock / WARP) + Math.floor(thread % perBlock / WARP);
    return COLOURS[(by === "thread" || cores ? thread : by === "block" ? block : warp) % COLOURS.length];
  }

  draw() {
    const began = performance.now(), k = this.kernel, at = +this.slider.value;
    const interval = this.starts.findLastIndex(start => start <= at), step = at - this.starts[interval];
    this.touched = k.arrays.map(() => new Map());
    this.changed = new Set();  // elements of C
    this.fetched = k.arrays.map(() => new Set());  // sectors, by the first warp of the block
    const warp = this.block * k.perBlock;
    const state = new Array(k.threads.length), doing = new Map(), lines = new Set();
    let waiting = 0, finished = 0;
    k.threads.forEach((intervals, thread) => {
      const list = intervals[interval] || [], block = Math.floor(thread / k.perBlock);
      const met = this.meetings.get(`${block} ${interval}`);
      const waitsAt = !met ? this.stranded.get(thread) : met.absent.has(thread % k.perBlock) ? undefined : met.line;
      if (step < list.length) {
        const number = Math.floor(list[step] / k.span), place = k.places[number], cell = list[step] % k.span;
        state[thread] = "run";
        lines.add(place.line);
        doing.set(number, (doing.get(number) || 0) + 1);
        if (k.arrays[place.array].space === "shared" && block !== this.block) return;
        if (thread >= warp && thread < warp + Math.min(WARP, k.perBlock)) this.fetched[place.array].add(Math.floor(cell / k.arrays[place.array].perSector));
        const cells = this.touched[place.array];
        if (changes(k, place)) this.changed.add(cell);
        if (cells.has(cell)) cells.get(cell).push(thread); else cells.set(cell, [thread]);
      } else if (waitsAt !== undefined) {
        state[thread] = "wait";
        waiting++;
        lines.add(waitsAt);
      } else {
        state[thread] = "done";
        finished++;
      }
    });
    this.when.textContent = k.intervals > 1 ? `interval ${interval + 1} of ${k.intervals}, access ${step + 1}` : `access ${step + 1} of ${this.steps}`;
    this.say(doing, waiting, finished, interval);
    this.lines.forEach((line, number) => line.classList.toggle("current", lines.has(number)));
    this.follow(lines);
    k.arrays.forEach((array, n) => array.drawn && this.paint(array, n, state, at));
    this.root.dataset.milliseconds = (performance.now() - began).toFixed(1);
  }

  say(doing, waiting, finished, interval) {
    const k = this.kernel, word = k.cores ? "core" : "thread";
    const parts = [...doing].map(([number, count]) => {
      const place = k.places[number], array = k.arrays[place.array];
      const figure = k.counts[place.figure];
      const cost = !figure || k.cores ? "" : figure.space === "global" ? `: ${figure.sectors.toFixed(1)} sectors for a warp`
        : figure.conflicts > 1 ? `: ${figure.conflicts.toFixed(1)}-way bank conflict` : "";
      const verb = place.kind === "atomic" ? "update" : place.kind;
      return `${plural(count, word)} ${verb}${count === 1 ? "s" : ""} ${array.name}${k.cores ? "" : ` (${array.space})`}, line ${place.line}${cost}`;
    });
    if (waiting) parts.push(`${plural(waiting, word)} wait${waiting === 1 ? "s" : ""} at a barrier`);
    if (finished) parts.push(`${plural(finished, word)} ${finished === 1 ? "has" : "have"} finished`);
    this.now.textContent = parts.join(" · ");
    if (this.fault && this.fault.at[0] === interval && this.fault.witnesses.length) {
      const seen = this.fault.witnesses.map(([thread, when, step, line]) => `${this.name(thread)} at line ${line}, interval ${when + 1}, access ${step + 1}`);
      this.now.append(element("span", { className: "witness", textContent: ` ⚠ ${seen.join("; ")}${seen.length > 1 ? `: ${k.cores ? "nothing" : "no barrier"} orders them, either may come first` : ""}` }));
    }
  }

  // only the source box scrolls, never the page
  follow(lines) {
    const first = this.lines.get(Math.min(...lines));
    if (!first) return;
    const box = this.source, above = first.offsetTop - box.offsetTop;
    if (above < box.scrollTop || above + first.offsetHeight > box.scrollTop + box.clientHeight) box.scrollTop = above - box.clientHeight / 2;
  }

  paint(array, n, state, at) {
    const canvas = this.canvases[n], context = canvas.getContext("2d"), size = canvas.size, [rows, columns] = shape(array);
    const result = array.name === this.kernel.result, touched = this.touched[n];
    context.fillStyle = style("--soft");
    context.fillRect(0, 0, canvas.width, canvas.height);
    for (let cell = 0; cell < rows * columns; cell++) {
      const x = cell % columns * size, y = Math.floor(cell / columns) * size, inner = size - 1, now = touched.get(cell);
      const thread = now ? now[0] : result ? this.owner.get(cell) : undefined;
      if (thread === undefined) continue;
      context.fillStyle = context.strokeStyle = this.colour(thread);
      if (now || !this.kernel.cores && state[thread] === "run") context.fillRect(x, y, inner, inner);
      else if (this.kernel.cores) {  // how far a core has come with this c(i,j)
        const times = this.written.get(cell);
        context.globalAlpha = 0.65 * times.filter(time => time <= at).length / times.length;
        context.fillRect(x, y, inner, inner);
        context.globalAlpha = 1;
      }
      else if (state[thread] === "wait") for (let to = 0; to < inner; to += size / 3) context.fillRect(x, y + to, inner, size / 6);
      else context.strokeRect(x + 1, y + 1, inner - 2, inner - 2);
      if (now && result && this.changed.has(cell)) {
        context.fillStyle = style("--ink");
        context.fillRect(x + size / 3, y + size / 3, size / 3, size / 3);
      }
    }
    const sectors = array.space === "global" && !this.kernel.cores ? [...this.fetched[n]] : [];
    for (const sector of sectors) this.frame(context, sector * array.perSector, array.perSector, rows, columns, size);
    if (this.fault && this.fault.array === n) this.ring(context, this.fault.element, columns, size);
    const of = array.space === "shared" ? `shared, of block ${this.block}` : this.kernel.cores ? "" : array.space;
    this.captions[n].textContent = array.name + (of && ` · ${of}`) + (sectors.length ? `, ${plural(sectors.length, "sector")}` : "");
    canvas.setAttribute("aria-label", `${array.name}: ${touched.size} cells touched now`);
  }

  // a sector's cells, which may go on in the next row
  frame(context, first, length, rows, columns, size) {
    context.strokeStyle = style("--ink");
    context.lineWidth = Math.max(1, size / 8);
    const behind = Math.min(first + length, rows * columns);
    for (let cell = first; cell < behind;) {
      const x = cell % columns, end = Math.min(behind, cell - x + columns);
      context.strokeRect(x * size, Math.floor(cell / columns) * size, (end - cell) * size - 1, size - 1);
      cell = end;
    }
    context.lineWidth = 1;
  }

  ring(context, cell, columns, size) {
    context.strokeStyle = style("--ink");
    context.lineWidth = Math.max(2, size / 4);
    context.strokeRect(cell % columns * size - 1, Math.floor(cell / columns) * size - 1, size + 1, size + 1);
    context.lineWidth = 1;
  }
}

const panes = ["left", "right"].map(side => new Pane(side));
byId("panes").append(...panes.map(pane => pane.root));
byId("pair").append(...DATA.pairs.map((pair, n) => new Option(pair.label, n)));
let shown = [];  // one pane where there is nothing to compare with
byId("pair").onchange = () => {
  const names = DATA.pairs[byId("pair").value].names;
  panes.forEach((pane, n) => pane.root.hidden = n >= names.length);
  shown = panes.slice(0, names.length);
  shown.forEach((pane, n) => pane.load(names[n]));
};
byId("pair").onchange();
byId("colour").onchange = () => shown.forEach(pane => pane.draw());

let playing = null;
const stop = () => {
  clearInterval(playing);
  playing = null;
  byId("play").textContent = "▶ Play";
};
byId("play").onclick = () => {
  if (playing) return stop();
  if (shown.every(pane => pane.atEnd)) shown.forEach(pane => pane.go(0));
  // both by the same number of steps, so that one can finish first; a long run in a minute at most
  const by = Math.max(1, Math.round(Math.max(...shown.map(pane => pane.steps)) / 240));
  playing = setInterval(() => {
    shown.forEach(pane => pane.move(by));
    if (shown.every(pane => pane.atEnd)) stop();
  }, 250);
  byId("play").textContent = "❚❚ Pause";
};
for (const [id, by] of [["back", -1], ["forward", 1]]) byId(id).onclick = () => shown.forEach(pane => pane.move(by));
document.addEventListener("keydown", event => {
  if (/^(INPUT|SELECT|BUTTON)$/.test(event.target.tagName) || byId("threads").hidden) return;
  if (event.key === " ") { event.preventDefault(); byId("play").click(); }
  if (event.key === "ArrowLeft" || event.key === "ArrowRight") { event.preventDefault(); byId(event.key === "ArrowLeft" ? "back" : "forward").click(); }
});
