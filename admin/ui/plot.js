// Plots of the last minutes: requests that were ok, refused and bad, stacked.

import uPlot from './vendor/uplot/uPlot.esm.js';
import { number } from './format.js';

const lines = new Map(); // by zone, '' for all: { at, ok, refused, bad }
const step = 5; // seconds
const kept = 120;

/** setPlots takes whole lines. */
export function setPlots({ at, zones, all }) {
	const set = (key, [ok, refused, bad]) => lines.set(key, { at, ok, refused, bad });
	for (const [zone, line] of Object.entries(zones)) set(`zone ${zone}`, line);
	if (all) set('', all);
}

/** addPoints adds one point to every line that is shown; those that are not
 * named had no requests. */
export function addPoints({ at, zones, all }) {
	for (const [key, line] of lines) {
		const point = (key === '' ? all : zones[key.slice(5)]) ?? [0, 0, 0];
		line.at = at;
		for (const [i, part] of [line.ok, line.refused, line.bad].entries()) {
			part.push(point[i]);
			if (part.length > kept) part.shift();
		}
	}
}

/** forgetPlots drops all lines but those of zones. */
export function forgetPlots(zones) {
	const keep = new Set(zones.map((zone) => `zone ${zone}`));
	for (const key of lines.keys()) {
		if (key !== '' && !keep.has(key)) lines.delete(key);
	}
}

// data stacks a line the way uPlot draws areas: the whole first, then what is
// drawn over it. Numbers become requests a second.
function data(line) {
	const end = Math.floor((line?.at ?? Date.now()) / 1000);
	const xs = [], all = [], answered = [], ok = [];
	const missing = kept - (line?.ok.length ?? 0);
	for (let i = 0; i < kept; i++) {
		xs.push(end - (kept - 1 - i) * step);
		const j = i - missing;
		if (j < 0) {
			all.push(null);
			answered.push(null);
			ok.push(null);
			continue;
		}
		ok.push(line.ok[j] / step);
		answered.push((line.ok[j] + line.refused[j]) / step);
		all.push((line.ok[j] + line.refused[j] + line.bad[j]) / step);
	}
	return [xs, all, answered, ok];
}

function colours() {
	const style = getComputedStyle(document.documentElement);
	const get = (name) => style.getPropertyValue(name).trim();
	return { bad: get('--plot-bad'), refused: get('--plot-refused'), ok: get('--plot-ok'), text: get('--muted'), grid: get('--line') };
}

const plots = new Set();
const due = new Set();
const patience = 8; // milliseconds of a frame

/** drawSoon draws plots when there is time, a few in each frame: making one
 * takes a millisecond or two. */
export function drawSoon(plot) {
	if (due.add(plot).size === 1) requestAnimationFrame(drawSome);
}

function drawSome() {
	const start = performance.now();
	for (const plot of due) {
		due.delete(plot);
		plot.draw();
		if (performance.now() - start > patience) break;
	}
	performance.measure('firebreak-draw', { start, end: performance.now() });
	if (due.size) requestAnimationFrame(drawSome);
}

/** Plot draws one line into a node. Small ones have no axes. */
export class Plot {
	constructor(node, key, { height = 40, axes = false } = {}) {
		Object.assign(this, { node, key, height, axes });
		plots.add(this);
		this.sizes = new ResizeObserver(() => this.#resize());
		this.sizes.observe(node);
	}

	#options() {
		const c = colours();
		const area = (colour) => ({ stroke: colour, fill: colour, width: 0, points: { show: false } });
		const axis = { stroke: c.text, grid: { stroke: c.grid, width: 1 }, ticks: { stroke: c.grid, width: 1 }, font: '12px system-ui, sans-serif' };
		return {
			width: this.node.clientWidth, height: this.height,
			cursor: { show: false }, legend: { show: false },
			padding: this.axes ? [8, 18, 0, 0] : [2, 0, 0, 0],
			scales: { y: { range: (_, __, max) => [0, Math.max(1, max * 1.05)] } },
			axes: this.axes
				? [{ ...axis, values: '{HH}:{mm}', space: 70 }, { ...axis, size: 48, values: (_, values) => values.map((v) => number(v)) }]
				: [{ show: false }, { show: false }],
			series: [{}, area(c.bad), area(c.refused), area(c.ok)],
		};
	}

	/** draw brings the plot up to date. */
	draw() {
		if (!this.node.clientWidth) return;
		const line = data(lines.get(this.key));
		if (this.plot) this.plot.setData(line);
		else this.plot = new uPlot(this.#options(), line, this.node);
	}

	#resize() {
		const width = this.node.clientWidth;
		if (!width) return;
		if (!this.plot) drawSoon(this);
		else if (this.plot.width !== width) this.plot.setSize({ width, height: this.height });
	}

	/** again draws with the colours of the moment. */
	again() {
		this.plot?.destroy();
		this.plot = null;
		this.draw();
	}

	/** end takes the plot away. */
	end() {
		plots.delete(this);
		due.delete(this);
		this.sizes.disconnect();
		this.plot?.destroy();
	}
}

matchMedia('(prefers-color-scheme: dark)').addEventListener('change', () => {
	for (const plot of plots) plot.again();
});
