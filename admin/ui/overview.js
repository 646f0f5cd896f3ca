// The first page: which zones are in trouble, the culprits, how many workers,
// since when; and one button.

import { attribute, el, name, reconcile, say, show } from './dom.js';
import { clock, conditions, latency, number, percent, plural, tick } from './format.js';
import { button } from './actions.js';
import { Next } from './next.js';
import { Badge, Meter, href, lookOf } from './state.js';
import { Plot, drawSoon, forgetPlots } from './plot.js';
import { Log } from './log.js';
import { Servers, serversInWords } from './servers.js';

const perPage = 24;

function tileOf() {
	const badge = new Badge();
	const meter = new Meter();
	const next = new Next({ sentence: false });
	const title = el('bdi');
	const link = el('a', { class: 'zone-link' }, title);
	const since = el('time');
	const rate = el('span');
	const ok = el('span');
	const took = el('p', { class: 'took' });
	const evidence = el('p', { class: 'evidence' });
	const culprits = el('p', { class: 'culprits' });
	const probe = el('time');
	const probeLine = el('p', { class: 'probe' }, 'Tried again ', probe);
	const by = el('p', { class: 'by' });
	const chart = el('div', { class: 'chart', role: 'img' });
	const node = el('article', { class: 'tile' },
		el('header', {}, el('h3', {}, link), badge.node),
		el('p', { class: 'since' }, since), evidence, culprits, probeLine, by, meter.node,
		el('p', { class: 'numbers' }, rate, ok), took, chart, el('footer', {}, next.button));
	let plot = null;
	return {
		node,
		draw: () => plot && drawSoon(plot),
		gone: () => plot?.end(),
		update(t) {
			if (!plot) {
				say(title, t.zone);
				attribute(link, 'href', href('zones', t.zone));
				attribute(link, 'title', t.zone);
				attribute(node, 'data-zone', t.zone);
				plot = new Plot(chart, `zone ${t.zone}`);
			}
			badge.update(t);
			attribute(node, 'data-state', t.state);
			attribute(node, 'data-look', lookOf(t));
			const began = beganOf(t);
			tick(since, began);
			show(since.parentNode, began > 0);
			say(evidence, t.cause ?? t.evidence ?? '');
			show(evidence, t.state !== 'calm' && !t.hold && Boolean(t.evidence));
			sayCulprits(culprits, t);
			tick(probe, t.retry_at, 'ahead');
			show(probeLine, t.state === 'open' && !t.hold && t.retry_at > 0);
			sayBy(by, t);
			meter.update({ ...t, limit: t.observe ? 0 : t.limit });
			sayNumbers(rate, ok, t);
			say(took, latency(t));
			show(took, Boolean(t.p50_ms));
			attribute(chart, 'aria-label', `Last 10 minutes; now ${number(t.rate)} requests a second, ${percent(t.ok)} ok`);
			next.update(t);
		},
	};
}

// beganOf is when what a tile says began.
function beganOf(t) {
	if (t.hold || t.state === 'calm') return 0;
	return t.episode ?? t.since ?? 0;
}

function sayNumbers(rate, ok, t) {
	say(rate, `${number(t.rate)} requests/s`);
	const kept = t.switch?.mode === 'full';
	say(ok, t.ok === undefined ? 'no requests' : kept && t.ok === 0 ? 'all refused' : `${percent(t.ok)} ok`);
	attribute(ok, 'data-low', t.ok !== undefined && t.ok < 99 && !kept);
}

// calmOf is a zone of which there is nothing to tell.
function calmOf() {
	const title = el('bdi');
	const link = el('a', { class: 'zone-link' }, title);
	const rate = el('span');
	const ok = el('span');
	const mode = el('span', { class: 'muted' });
	const node = el('article', { class: 'tile small', 'data-look': 'calm' }, el('header', {}, el('h3', {}, link), mode), el('p', { class: 'numbers' }, rate, ok));
	return {
		node,
		update(t) {
			say(title, t.zone);
			attribute(link, 'href', href('zones', t.zone));
			attribute(link, 'title', [t.zone, `${t.live + t.hung} workers`, latency(t)].filter(Boolean).join(' · '));
			attribute(node, 'data-zone', t.zone);
			attribute(node, 'data-state', t.state);
			sayNumbers(rate, ok, t);
			say(rate, `${number(t.rate)}/s`);
			say(mode, t.observe ? 'observed' : '');
		},
	};
}

const quiet = (t) => t.condition === 'calm' && !t.quarantined;

function sayCulprits(node, t) {
	const coming = t.condition === 'coming_back';
	const text = `${t.quarantined ?? 0}|${(t.stores ?? []).join('|')}|${coming ? t.window : ''}`;
	show(node, Boolean(t.quarantined) || coming);
	if (node.dataset.said === text) return;
	node.dataset.said = text;
	const parts = [];
	if (coming) parts.push(`${plural(t.window ?? 0, 'request')} at once. `);
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
		this.cause = el('p', { class: 'cause', hidden: true });
		this.step = new Next({ name: 'first' });
		this.page = el('a', { class: 'page' });
		this.buttons = el('div', { class: 'buttons', hidden: true }, this.step.button, this.page);
		this.chart = el('div', { class: 'chart large', role: 'img', 'aria-label': 'All requests of the last 10 minutes: ok, refused, bad' });
		this.grid = el('div', { class: 'grid', id: 'zones' });
		this.calm = el('div', { class: 'grid dense', role: 'group', 'aria-label': 'Calm zones' });
		this.filter = el('input', { type: 'search', id: 'filter', value: this.match, placeholder: 'Part of a name', maxlength: '128', autocomplete: 'off', spellcheck: 'false' });
		this.range = el('p', { class: 'range', role: 'status' });
		this.previous = button('Previous', () => this.#page(-perPage));
		this.next = button('Next', () => this.#page(perPage));
		this.log = new Log();
		this.servers = new Servers();
		this.node = el('div', {},
			el('section', { class: 'hero', 'aria-labelledby': 'headline' }, el('div', { class: 'hero-text' }, this.headline, this.sub, this.cause, this.culprits, this.step.sentence, this.buttons, this.meter.node, this.figures),
				el('figure', {}, this.chart, legend())),
			this.servers.node,
			el('section', { 'aria-labelledby': 'zones-title' },
				el('div', { class: 'section-head' }, el('h2', { id: 'zones-title', text: 'Zones by trouble' }),
					el('div', { class: 'pager' }, el('label', { for: 'filter', text: 'Filter' }), this.filter, this.range, this.previous, this.next)),
				this.grid, this.calm),
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
		case 'servers': return this.servers.update(data);
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
			reconcile(this.grid, shown.filter((t) => !quiet(t)), (t) => t.zone, tileOf);
			reconcile(this.calm, shown.filter(quiet), (t) => t.zone, calmOf);
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
			`${number(pool.rate)} requests/s`, `${percent(pool.ok)} ok`, latency(pool), pool.waiting ? `${pool.waiting} waiting for a worker` : '',
			serversInWords(pool), pool.stores ? plural(pool.stores.toLocaleString(), 'store') : '',
			pool.quarantined ? `${plural(pool.quarantined, 'store')} in quarantine` : '',
		].filter(Boolean).join(' · '));
		this.#headline();
	}

	#headline() {
		if (!this.pool || !this.order) return;
		const { conditions: by, zones, everything } = this.pool;
		const worst = this.match || this.from ? null : this.tiles.get(this.order.zones[0]);
		const first = ['cut_off', 'isolated', 'coming_back', 'troubled', 'observed'].find((c) => by[c]);
		// The zone that cause, next step and action are about.
		this.worst = first && worst?.condition === first ? worst : null;
		const several = by[first] > 1;
		const look = first ? conditions[first].look : everything || by.maintenance ? 'maintenance' : this.pool.servers_out ? 'troubled' : 'calm';
		say(this.headline, this.#title(first, by, zones, everything));
		attribute(this.node.firstChild, 'data-look', look);
		const began = this.worst ? beganOf(this.worst) : 0;
		tick(this.since, began);
		show(this.since, Boolean(began));
		const others = Object.keys(conditions).filter((c) => by[c] && c !== first).map((c) => `${by[c]} ${conditions[c].is}`);
		say(this.words, [this.worst ? capital(conditions[first].means) : '', first || others.length > 1 ? others.join(', ') : ''].filter(Boolean).join('. '));
		say(this.cause, this.worst ? `${several ? `Zone ${this.worst.zone}: ` : ''}${this.worst.cause ?? this.worst.evidence ?? ''}` : '');
		show(this.cause, Boolean(this.worst && (this.worst.cause ?? this.worst.evidence)));
		sayCulprits(this.culprits, this.worst ?? {});
		this.step.update(this.worst ?? {});
		show(this.buttons, Boolean(this.worst));
		say(this.page, this.worst ? `All about zone ${this.worst.zone}` : '');
		attribute(this.page, 'href', this.worst ? href('zones', this.worst.zone) : null);
	}

	#title(first, by, zones, everything) {
		if (everything) return 'Everything is in maintenance';
		if (this.worst && by[first] === 1) return `Zone ${this.worst.zone} is ${conditions[first].is}`;
		if (first) {
			const named = this.worst ? this.order.zones.map((zone) => this.tiles.get(zone)).filter((t) => t?.condition === first).slice(0, 3).map((t) => t.zone) : [];
			const more = named.length && by[first] > named.length ? ` and ${by[first] - named.length} more` : '';
			return `${plural(by[first], 'zone')} ${by[first] === 1 ? 'is' : 'are'} ${conditions[first].is}${named.length ? `: ${named.join(', ')}${more}` : ''}`;
		}
		if (!zones) return 'No zone has had a request yet';
		const quarantined = [this.pool.quarantined && `, ${plural(this.pool.quarantined, 'store')} in quarantine`,
			this.pool.servers_out && `, ${plural(this.pool.servers_out, 'server')} out of service`].filter(Boolean).join('');
		if (by.calm === zones) return `${zones === 1 ? 'The zone is' : `All ${zones} zones are`} calm${quarantined}`;
		const rest = ['maintenance', 'admitted'].filter((c) => by[c]).map((c) => `${by[c]} ${conditions[c].is}`);
		return `${by.calm ? `${plural(by.calm, 'zone')} calm, ` : ''}${rest.join(', ')}${quarantined}`;
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
