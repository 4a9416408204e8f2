"use strict";
// The second view: how many of a launch's threads a machine holds at once.
const field = (label, input) => element("label", {}, `${label} `, input);
const choice = (id, texts) => element("select", { id }, ...texts.map((text, n) => new Option(text, n)));
const number = (id, value) => element("input", { id, type: "number", min: 1, required: true, value, inputMode: "numeric" });
const NUMBERS = ["order", "count", "each"];  // the fields' ids
const CPU = DATA.machines.length;  // in the list of machines, after the GPUs

byId("settings").append(
  field("machine", choice("gpu", [...DATA.machines.map(m => m.name), `this CPU: ${DATA.cpu.name}`])),
  field("kernel", choice("launch", DATA.launches.map(l => l.name))),
  field("rows and columns of C", number("order", 1024)),
  field("multiprocessors", number("count", 1)), field("cores of each", number("each", 1)));

function chosenMachine() {
  const cpu = +byId("gpu").value === CPU, gpu = DATA.machines[byId("gpu").value];
  byId("count").value = cpu ? DATA.cpu.cores : gpu.multiprocessors;
  byId("each").value = cpu ? 1 : gpu.coresEach;
  byId("each").disabled = byId("launch").disabled = cpu;
  byId("count").parentElement.firstChild.data = cpu ? "cores " : "multiprocessors ";
  showMachine();
}

function showMachine() {
  const wrong = NUMBERS.map(byId).filter(input => !input.checkValidity());
  const [order, count, each] = NUMBERS.map(id => +byId(id).value);
  byId("answer").replaceChildren(...(wrong.length ? wrong.map(input => say(`${input.parentElement.firstChild.data.trim()}: needs a whole number, at least 1.`))
    : +byId("gpu").value === CPU ? onCores(order, count) : onGPU(order, count, each)));
}

const results = order => `${(order * order).toLocaleString("en")} c(i,j)`;
const say = (text, id = "") => element("p", { textContent: text, id });

function onCores(order, count) {
  const each = Math.ceil(order / count), busy = Math.min(order, count);
  return [
    say(`${results(order)}, and ${plural(busy, "core")} to compute them: each takes ${plural(each, "row")}, one after another.`, "waves"),
    say("A thread more than there are cores waits for one. Vector lanes multiply what a core does at once by 4 to 16, and its pipelines, which begin a multiply-add before the last are done, by about as much again."),
    ...units(count, n => Number(n < busy), 1, "core"),
  ];
}

function onGPU(order, count, each) {
  const gpu = DATA.machines[byId("gpu").value], launch = DATA.launches[byId("launch").value], fit = launch.occupancy[gpu.architecture];
  const blocks = Math.ceil(order / launch.rows) * Math.ceil(order / launch.columns), together = count * fit.blocks;
  const waves = Math.ceil(blocks / together), last = blocks - (waves - 1) * together, running = Math.min(blocks, together);
  const threads = running * launch.threads, cores = count * each;
  // a core takes threads of its own multiprocessor alone
  const [fewer, more] = [Math.floor(running / count), Math.ceil(running / count)].map(blocks => Math.min(each, blocks * launch.threads));
  const busy = running % count * more + (count - running % count) * fewer;
  const balance = busy < cores ? "some cores have nothing to do" : threads > cores ? "the others wait for memory while these compute" : "one for each";
  return [
    say(`${results(order)} make ${plural(blocks, "block")} of ${plural(launch.threads, "thread")}; ${together.toLocaleString("en")} fit at once: ${plural(waves, "wave")}.`, "waves"),
    say(`${plural(threads, "thread")} resident, for ${plural(cores, "core")}: ${balance}.`, "resident"),
    element("div", { className: "shares" }, ...share("threads resident", threads, count * fit.warps / fit.share * WARP), ...share("cores", busy, cores)),
    say(`Occupancy ${(100 * fit.share).toFixed(0)}%: ${plural(fit.blocks, "block")}, ${plural(fit.warps, "warp")} on each multiprocessor, limited by ${fit.limitedBy}; ${fit.registers} registers a thread as compiled (${launch.compilers}), ${plural(launch.shared, "byte")} of shared memory a block.`, "occupancy"),
    ...inWaves(count, fit.blocks, waves, last),
  ];
}

function share(label, part, whole) {
  return [element("span", { textContent: label }), element("meter", { max: whole, value: part, ariaLabel: label }),
    element("span", { textContent: `${part.toLocaleString("en")} of ${Math.round(whole).toLocaleString("en")}` })];
}

// each multiprocessor with its blocks of one wave; the last wave is the one that may leave some idle
function inWaves(count, room, waves, last) {
  const slider = element("input", { id: "wave", type: "range", min: 1, max: waves, value: waves, ariaLabel: "wave" });
  const label = element("output"), drawn = element("div");
  slider.oninput = () => {
    const blocks = +slider.value === waves ? last : count * room;
    label.textContent = `wave ${(+slider.value).toLocaleString("en")} of ${waves.toLocaleString("en")}: ${plural(blocks, "block")}, shared out among ${plural(count, "multiprocessor")}:`;
    drawn.replaceChildren(...units(count, n => Math.floor(blocks / count) + Number(n < blocks % count), room, "multiprocessor"));
  };
  slider.oninput();
  return [element("div", { className: "slider" }, slider, label), drawn];
}

function units(count, holds, room, word) {
  const shown = Math.min(count, 512);
  const boxes = Array.from({ length: shown }, (_, n) => {
    const box = element("i", { textContent: holds(n), title: `${word} ${n}: ${holds(n)} of ${room}` });
    box.style.setProperty("--share", holds(n) / room);
    return box;
  });
  return [element("div", { className: "units" }, ...boxes), ...(count > shown ? [say(`and ${(count - shown).toLocaleString("en")} more`)] : [])];
}

byId("gpu").onchange = chosenMachine;
byId("launch").onchange = showMachine;
for (const id of NUMBERS) byId(id).oninput = showMachine;
chosenMachine();

for (const view of ["threads", "machine"])
  byId(`tab-${view}`).onclick = () => {
    for (const other of ["threads", "machine"]) {
      byId(other).hidden = other !== view;
      byId(`tab-${other}`).setAttribute("aria-selected", other === view);
    }
  };
