// The first page: which zones are in trouble, who causes it, how many workers,
// since when; and one button.

import { attribute, el, name, reconcile, say, show } from './dom.js';
import { clock, number, percent, plural, states, stateWords, tick } from './format.js';
import { button, maintenanceOff, maintenanceOn } from './actions.js';
import { Badge, Meter, href, lookOf } from './state.js';
import { Plot, drawSoon, forgetPlots } from './plot.js';
import { Log } from './log.js';

const perPage = 24;

function tileOf() {
	const badge = new Badge();
	const meter = new Meter();
	const title = el('bdi');
	const link = el('a', { class: 'zone-link' }, title);
	const since = el('time');
	const rate = el('span');
	const ok = el('span');
	const evidence = el('p', { class: 'evidence' });
	const culprits = el('p', { class: 'culprits' });
	const probe = el('time');
	const probeLine = el('p', { class: 'probe' }, 'Tried again ', probe);
	const by = el('p', { class: 'by' });
	const chart = el('div', { class: 'chart', role: 'img' });
	let zone = '', rateNow = 0, on = false;
	const act = button('', () => (on ? maintenanceOff('zone', zone) : maintenanceOn('zone', zone, rateNow)), { class: 'act' });
	const node = el('article', { class: 'tile' },
		el('header', {}, el('h3', {}, link), badge.node),
		el('p', { class: 'since' }, since), evidence, culprits, probeLine, by, meter.node,
		el('p', { class: 'numbers' }, rate, ok), chart, el('footer', {}, act));
	let plot = null;
	return {
		node,
		draw: () => plot && drawSoon(plot),
		gone: () => plot?.end(),
		update(t) {
			if (!plot) {
				zone = t.zone;
				say(title, zone);
				attribute(link, 'href', href('zones', zone));
				attribute(link, 'title', zone);
				attribute(node, 'data-zone', zone);
				plot = new Plot(chart, `zone ${zone}`);
			}
			rateNow = t.rate;
			badge.update(t);
			attribute(node, 'data-state', t.state);
			attribute(node, 'data-look', lookOf(t));
			const began = t.hold ? t.since : t.episode ?? t.since;
			tick(since, t.state === 'calm' ? 0 : began);
			show(since.parentNode, t.state !== 'calm' && began > 0);
			say(evidence, t.evidence ?? '');
			show(evidence, t.state !== 'calm' && Boolean(t.evidence));
			sayCulprits(culprits, t);
			tick(probe, t.retry_at, 'ahead');
			show(probeLine, t.state === 'open' && !t.hold && t.retry_at > 0);
			sayBy(by, t);
			meter.update(t);
			say(rate, `${number(t.rate)} requests/s`);
			const kept = t.switch?.mode === 'full';
			say(ok, t.ok === undefined ? 'no requests' : kept && t.ok === 0 ? 'all refused' : `${percent(t.ok)} ok`);
			attribute(ok, 'data-low', t.ok !== undefined && t.ok < 99 && !kept);
			attribute(chart, 'aria-label', `Last 10 minutes; now ${number(t.rate)} requests a second, ${percent(t.ok)} ok`);
			on = Boolean(t.switch && t.switch.scope === 'zone');
			say(act, on ? 'Maintenance off…' : 'Maintenance on…');
			attribute(act, 'aria-label', `${on ? 'Maintenance off' : 'Maintenance on'}: zone ${zone}`);
			attribute(act, 'class', t.state === 'calm' || on ? 'act' : 'act danger');
		},
	};
}

function sayCulprits(node, t) {
	const text = `${t.quarantined ?? 0}|${(t.stores ?? []).join('|')}|${t.window ?? ''}`;
	show(node, Boolean(t.quarantined) || t.state === 'half_open');
	if (node.dataset.said === text) return;
	node.dataset.said = text;
	const parts = [];
	if (t.state === 'half_open') parts.push(`Window: ${plural(t.window ?? 0, 'request')} at once. `);
	if (t.quarantined) {
		parts.push(`${plural(t.quarantined, 'store')} in quarantine: `);
		(t.stores ?? []).forEach((store, i) => {
			if (i) parts.push(', ');
			parts.push(el('a', { href: href('stores', store) }, name(store)));
		});
		const more = t.quarantined - (t.stores ?? []).length;
		if (more > 0) parts.push(` and ${more} more`);
	}
	node.replaceChildren(...parts);
}

function sayBy(node, t) {
	const sw = t.switch;
	const who = (x) => [x.by && `by ${x.by}`, x.reason].filter(Boolean).join(': ');
	let text = '';
	if (sw) text = `${sw.mode === 'read_only' ? 'Read-only' : 'Maintenance'}${sw.scope === 'all' ? ' of everything' : ''} since ${clock(sw.since)}${sw.until ? ` until ${clock(sw.until)}` : ''} ${who(sw)}`;
	else if (t.hold) text = `${t.hold.as === 'isolated' ? 'Isolated' : 'Admitted'}${t.hold.until ? ` until ${clock(t.hold.until)}` : ''} ${who(t.hold)}`;
	else if (t.observe) text = 'Observed only: nothing is refused';
	say(node, text);
	show(node, Boolean(text));
}

/** Overview is the page of all zones. */
export class Overview {
	title = 'Zones';

	constructor({ params, go }) {
		this.from = Math.max(0, Number(params.get('from')) || 0);
		this.match = params.get('match') ?? '';
		this.go = go;
		this.tiles = new Map();
		this.headline = el('h1', { tabindex: '-1', text: 'Zones' });
		this.since = el('time');
		this.words = el('span');
		this.sub = el('p', { class: 'sub' }, this.since, this.words);
		this.meter = new Meter();
		this.figures = el('p', { class: 'figures' });
		this.culprits = el('p', { class: 'culprits', hidden: true });
		this.act = button('', () => maintenanceOn('zone', this.worst.zone, this.worst.rate), { class: 'danger' });
		this.buttons = el('div', { class: 'buttons', hidden: true }, this.act);
		this.chart = el('div', { class: 'chart large', role: 'img', 'aria-label': 'All requests of the last 10 minutes: ok, refused, bad' });
		this.grid = el('div', { class: 'grid', id: 'zones' });
		this.filter = el('input', { type: 'search', id: 'filter', value: this.match, placeholder: 'Part of a name', maxlength: '128', autocomplete: 'off', spellcheck: 'false' });
		this.range = el('p', { class: 'range', role: 'status' });
		this.previous = button('Previous', () => this.#page(-perPage));
		this.next = button('Next', () => this.#page(perPage));
		this.log = new Log();
		this.node = el('div', {},
			el('section', { class: 'hero', 'aria-labelledby': 'headline' }, el('div', { class: 'hero-text' }, this.headline, this.sub, this.culprits, this.meter.node, this.figures, this.buttons),
				el('figure', {}, this.chart, legend())),
			el('section', { 'aria-labelledby': 'zones-title' },
				el('div', { class: 'section-head' }, el('h2', { id: 'zones-title', text: 'Zones by trouble' }),
					el('div', { class: 'pager' }, el('label', { for: 'filter', text: 'Filter' }), this.filter, this.range, this.previous, this.next)),
				this.grid),
			el('section', { 'aria-labelledby': 'log-title' }, el('h2', { id: 'log-title', text: 'What happened' }), this.log.node));
		this.headline.id = 'headline';
		this.plot = new Plot(this.chart, '', { height: 150, axes: true });
		this.filter.addEventListener('input', () => {
			clearTimeout(this.typing);
			this.typing = setTimeout(() => {
				this.match = this.filter.value;
				this.from = 0;
				this.#ask();
			}, 250);
		});
	}

	query() {
		return { from: this.from, count: perPage, match: this.match };
	}

	#page(by) {
		this.from = Math.max(0, this.from + by);
		this.#ask();
	}

	#ask() {
		const params = new URLSearchParams();
		if (this.from) params.set('from', this.from);
		if (this.match) params.set('match', this.match);
		history.replaceState(null, '', `#/${params.size ? `?${params}` : ''}`);
		this.go();
	}

	receive(kind, data) {
		switch (kind) {
		case 'pool': return this.#pool(data);
		case 'tiles':
			for (const t of data) this.tiles.set(t.zone, t);
			this.stale = true;
			return undefined;
		case 'order':
			this.order = data;
			this.stale = true;
			return undefined;
		case 'plots':
		case 'points':
			this.drawn = false;
			return undefined;
		case 'log': return this.log.add(data);
		default: return undefined;
		}
	}

	/** settle is called when a batch has been received. */
	settle() {
		if (this.stale && this.order) {
			this.stale = false;
			const shown = this.order.zones.map((zone) => this.tiles.get(zone)).filter(Boolean);
			reconcile(this.grid, shown, (t) => t.zone, tileOf);
			this.#trim();
			this.#range();
			this.#headline();
		}
		if (this.drawn === false) {
			this.drawn = true;
			drawSoon(this.plot);
			for (const view of this.grid.kept?.values() ?? []) view.draw();
		}
	}

	#trim() {
		const keep = new Set(this.order.zones);
		for (const zone of this.tiles.keys()) {
			if (!keep.has(zone)) this.tiles.delete(zone);
		}
		forgetPlots(this.order.zones);
	}

	#range() {
		const { from, total, zones } = this.order;
		const some = total > zones.length;
		say(this.range, zones.length ? `${from + 1} to ${from + zones.length} of ${total}` : (this.match ? 'No zone has such a name' : 'No zones yet'));
		show(this.previous, some);
		show(this.next, some);
		this.previous.disabled = from === 0;
		this.next.disabled = from + zones.length >= total;
	}

	#pool(pool) {
		this.pool = pool;
		this.meter.update({ live: pool.live, hung: pool.hung, limit: pool.workers, what: 'workers busy' });
		say(this.figures, [
			`${number(pool.rate)} requests/s`, `${percent(pool.ok)} ok`, pool.waiting ? `${pool.waiting} waiting for a worker` : '',
			pool.stores ? plural(pool.stores.toLocaleString(), 'store') : '',
			pool.quarantined ? `${plural(pool.quarantined, 'store')} in quarantine` : '',
		].filter(Boolean).join(' · '));
		this.#headline();
	}

	#headline() {
		if (!this.pool || !this.order) return;
		const { states: by, zones, maintained, everything } = this.pool;
		const worst = this.match || this.from ? null : this.tiles.get(this.order.zones[0]);
		let look = 'calm';
		let text = zones ? `All ${plural(zones, 'zone')} calm` : 'No zone has had a request yet';
		if (zones > 1 && !by.open && !by.half_open && !by.troubled) text = `All ${zones} zones are calm`;
		for (const state of ['open', 'half_open', 'troubled']) {
			if (!by[state]) continue;
			look = state;
			text = worst && worst.state === state && by[state] === 1
				? `Zone ${worst.zone} is ${state === 'open' ? 'cut off' : state === 'half_open' ? 'in triage' : 'in trouble'}`
				: `${plural(by[state], 'zone')} ${by[state] === 1 ? 'is' : 'are'} ${state === 'open' ? 'cut off' : state === 'half_open' ? 'in triage' : 'in trouble'}`;
			break;
		}
		if (everything) {
			look = look === 'calm' ? 'maintenance' : look;
			text = 'Everything is in maintenance';
		}
		say(this.headline, text);
		attribute(this.node.firstChild, 'data-look', look);
		// The one zone in trouble has its button right here.
		this.worst = worst && worst.state === look && look !== 'calm' && by[look] === 1 && !worst.switch ? worst : null;
		show(this.buttons, Boolean(this.worst));
		say(this.act, this.worst ? `Maintenance on: zone ${this.worst.zone}…` : '');
		sayCulprits(this.culprits, this.worst ? { ...this.worst, state: '' } : {});
		const also = ['open', 'half_open', 'troubled'].filter((s) => by[s] && s !== look).map((s) => `${by[s]} ${states[s].toLowerCase()}`);
		const calm = by.calm && look !== 'calm' ? [`${by.calm} calm`] : [];
		const kept = maintained && !everything ? [`${maintained} in maintenance`] : [];
		const began = worst && worst.state === look && look !== 'calm' ? worst.episode ?? worst.since : 0;
		tick(this.since, began);
		show(this.since, Boolean(began));
		say(this.words, [look === 'maintenance' ? '' : capital(stateWords[look] ?? ''), [...also, ...calm, ...kept].join(', ')].filter(Boolean).join('. '));
	}

	end() {
		clearTimeout(this.typing);
		this.plot.end();
		for (const view of this.grid.kept?.values() ?? []) view.gone();
	}
}

function capital(text) {
	return text && text[0].toUpperCase() + text.slice(1);
}

/** legend says which colour of a plot is what. */
export function legend() {
	return el('figcaption', { class: 'legend' },
		['ok', 'refused', 'bad'].map((kind) => el('span', {}, el('span', { class: `swatch ${kind}`, 'aria-hidden': 'true' }), kind)),
		el('span', { class: 'muted', text: 'requests a second, last 10 minutes' }));
}
