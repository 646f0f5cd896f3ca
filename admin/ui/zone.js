// One zone: its state, its culprits, its events, and its stores.

import { attribute, el, name, reconcile, row, say, show, table } from './dom.js';
import { clock, conditions, latency, milliseconds, plural, tick } from './format.js';
import { button, hold, maintenanceOff, maintenanceOn, more, purge, recover } from './actions.js';
import { Next } from './next.js';
import { get, path } from './net.js';
import { Badge, Meter, href, lookOf } from './state.js';
import { Facts, holdWords, switchWords } from './facts.js';
import { Plot } from './plot.js';
import { Log } from './log.js';
import { Stores } from './stores.js';
import { legend } from './overview.js';

function culpritRow() {
	const badge = new Badge();
	let store = '';
	const view = row([
		{ head: true, make: () => el('a', { class: 'name' }, el('bdi')), update: (node, c) => {
			store = c.store;
			say(node.firstChild, c.store);
			attribute(node, 'href', href('stores', c.store));
			attribute(node, 'title', c.store);
		} },
		{ make: () => badge.node, update: (_, c) => badge.update(c) },
		{ class: 'figure', text: (c) => `${c.worker_seconds.toFixed(1)} s` },
		{ class: 'figure', text: (c) => String(c.hung) },
		{ class: 'figure', text: (c) => String(c.failures) },
		{ make: () => el('time'), update: (node, c) => tick(node, c.first_seen, 'ago') },
		{ make: () => el('time'), update: (node, c) => tick(node, c.last_seen, 'ago') },
		{ class: 'wide', text: (c) => c.evidence },
		{ make: () => button('Maintenance on…', () => maintenanceOn('store', store)), update: (node, c) => attribute(node, 'aria-label', `Maintenance on: store ${c.store}`) },
	]);
	return view;
}

/** Zone is a zone's page. */
export class Zone {
	constructor({ subject, has, go }) {
		this.zone = subject;
		this.#check(go);
		this.title = `Zone ${subject}`;
		this.badge = new Badge();
		this.meter = new Meter();
		this.since = el('time');
		this.probe = el('time');
		this.facts = new Facts({
			latest: 'Latest', probe: 'Tried again', turn: 'Times it was cut off in this episode', window: 'Slow start', doubt: 'In doubt', blockers: 'Held up in its database by', asked: 'Its database', latency: 'Time to the first byte', stores: 'Stores that are bad', quarantined: 'In quarantine',
			remembered: 'Hung since before a restart', waiting: 'Waiting for a worker', worst: 'Workers at worst', abandoned: 'Connections closed', streams: 'Open streams', maintenance: 'Maintenance', hold: 'By hand',
			mode: 'Mode', memory: 'Answered from memory',
		});
		this.facts.place('probe', this.probe);
		this.on = false;
		this.main = button('Maintenance on…', () => (this.on ? maintenanceOff('zone', this.zone) : maintenanceOn('zone', this.zone, this.rate)), { id: 'act' });
		this.step = new Next({ name: 'first' });
		this.why = el('p', { class: 'cause', hidden: true });
		this.incident = el('a', { hidden: true, text: 'Its incident' });
		this.recover = button('Check and release…', () => recover(this.zone), { hidden: !has.recoveries });
		this.chart = el('div', { class: 'chart large', role: 'img', 'aria-label': `Requests to zone ${subject} in the last 10 minutes` });
		this.plot = new Plot(this.chart, `zone ${subject}`, { height: 150, axes: true });
		this.culprits = table('Culprits', ['Store', 'State', 'Workers’ time lost', 'Hung', 'Failures', 'First seen', 'Last seen', 'Evidence', 'Action']);
		this.none = el('p', { class: 'muted', text: 'No store is named as a cause.' });
		this.earlier = el('p', { class: 'muted', hidden: true });
		this.log = new Log(200);
		this.stores = new Stores(subject);
		this.node = el('div', {},
			el('p', { class: 'crumb' }, el('a', { href: '#/', text: 'Zones' })),
			el('section', { class: 'hero', 'aria-labelledby': 'headline' },
				el('div', { class: 'hero-text' },
					el('h1', { id: 'headline', tabindex: '-1' }, 'Zone ', name(subject)),
					el('p', { class: 'sub' }, this.badge.node, ' ', this.since, ' ', this.words = el('span')), this.why, this.step.sentence,
					el('div', { class: 'buttons' }, this.step.button, this.main, this.recover, this.incident,
						more(button('Isolate…', () => hold('isolate', 'zone', this.zone)), button('Admit…', () => hold('admit', 'zone', this.zone)), button('Hand back…', () => hold('auto', 'zone', this.zone)), button('Purge answers…', () => purge('zone', this.zone)))),
					this.meter.node),
				el('figure', {}, this.chart, legend())),
			this.facts.node,
			el('section', { 'aria-labelledby': 'culprits-title' }, el('h2', { id: 'culprits-title', text: 'Culprits, by workers’ time lost' }), this.none, this.culprits.node, this.earlier),
			el('section', { 'aria-labelledby': 'timeline-title' }, el('h2', { id: 'timeline-title', text: 'Timeline' }), this.log.node),
			this.stores.node);
	}

	query() {
		return this.gone ? { count: 0 } : { zone: this.zone };
	}

	// Says so if there is no such zone.
	async #check(go) {
		try {
			await get(path('zones', this.zone));
		} catch (error) {
			if (error.status !== 404) return;
			this.gone = true;
			this.#missing(error.message.replace(/;? ?GET \/.*$/, ''));
			go();
		}
	}

	receive(kind, data) {
		switch (kind) {
		case 'zone': return this.#zone(data);
		case 'plots':
		case 'points': return this.plot.draw();
		case 'log': return this.log.add(data);
		default: return undefined;
		}
	}

	settle() { /* everything is drawn as it comes */ }

	#zone(z) {
		const sw = z.maintenance;
		const item = { ...z, switch: sw, quarantined: z.quarantined_count, evidence: z.cause ?? z.evidence };
		this.badge.update(item);
		attribute(this.node.children[1], 'data-look', lookOf(item));
		say(this.words, z.condition === 'maintenance' && sw?.mode === 'read_only' ? 'its changes are refused by a switch' : conditions[z.condition]?.means ?? '');
		tick(this.since, z.state === 'calm' ? 0 : z.hold ? z.since : z.episode_since ?? z.since);
		const cause = z.state === 'calm' || z.hold ? '' : z.cause ?? z.evidence ?? '';
		say(this.why, cause);
		show(this.why, Boolean(cause));
		this.step.update(item);
		this.meter.update({ live: z.live, hung: z.hung, limit: z.observe ? 0 : z.max_inflight, what: z.observe ? 'workers; mode observe has no limit' : 'workers it may have' });
		const f = this.facts;
		f.set('latest', z.state !== 'calm' && z.evidence !== cause && !z.hold ? z.evidence : '');
		tick(this.probe, z.open_until, 'ahead');
		f.show('probe', z.state === 'open' && Boolean(z.open_until));
		f.set('turn', z.turn);
		f.set('doubt', z.doubt ? `no request is answered for longer than ${z.patience_ms} ms` : '');
		f.set('blockers', (z.blockers ?? []).slice(0, 3).map(b => `process ${b.pid} (${b.state}, ${Math.round(b.age_s)} s: ${b.query}), which ${plural(b.blocks, 'query', 'queries')} wait for`).join('; '));
		f.set('asked', z.database_trouble ? `cannot be asked: ${z.database_trouble}` : '');
		f.set('window', z.window ? `${plural(z.window, 'request')} at once` : '');
		f.set('latency', latency(z));
		f.set('stores', z.state !== 'calm' && z.stores_seen && z.stores_bad ? `${z.stores_bad} of ${z.stores_seen} seen` : '');
		f.set('quarantined', z.quarantined_count ? z.quarantined.slice(0, 10).join(', ') + (z.quarantined_count > 10 ? ` and ${z.quarantined_count - 10} more` : '') : '');
		f.set('remembered', z.remembered || '');
		f.set('waiting', z.waiting || '');
		f.set('worst', z.worst_occupied && z.state !== 'calm' ? String(z.worst_occupied) : '');
		f.set('abandoned', z.abandoned || '');
		f.set('streams', z.streams || '');
		f.set('maintenance', switchWords(sw, clock));
		f.set('hold', holdWords(z.hold, clock));
		f.set('memory', z.from_memory ? plural(z.from_memory, 'request') : '');
		f.set('mode', z.observe ? 'observe: nothing is refused' : '');
		this.#find(z.condition);
		this.on = Boolean(sw && sw.scope === 'zone');
		say(this.main, this.on ? 'Maintenance off…' : 'Maintenance on…');
		show(this.main, !this.step.action?.label.endsWith(`zone ${z.zone}`) || Boolean(z.hold));
		this.#culprits(z);
	}

	// Those of an earlier episode are no culprits of this one.
	#culprits(z) {
		const since = milliseconds(z.episode_since);
		const current = (c) => c.state !== 'calm' || c.hung > 0 || (z.state !== 'calm' && milliseconds(c.last_seen) >= since);
		const now = z.culprits.filter(current);
		const before = z.culprits.filter((c) => !current(c)).map((c) => c.store);
		show(this.none, !now.length);
		show(this.culprits.node, now.length > 0);
		reconcile(this.culprits.body, now, (c) => c.store, culpritRow);
		say(this.earlier, before.length ? `In earlier episodes, and well now: ${before.slice(0, 10).join(', ')}${before.length > 10 ? ` and ${before.length - 10} more` : ''}` : '');
		show(this.earlier, before.length > 0);
	}

	// The link to the incident that goes on, asked for when the condition changes.
	async #find(condition) {
		if (this.condition === condition) return;
		this.condition = condition;
		try {
			const { incidents } = await get(path('incidents'), { zone: this.zone, limit: 1 });
			const latest = incidents[0];
			if (latest) attribute(this.incident, 'href', href('incidents', latest.id));
			say(this.incident, latest?.ongoing ? 'Its incident' : 'Its latest incident');
			show(this.incident, Boolean(latest));
		} catch {
			show(this.incident, false);
		}
	}

	#missing(text) {
		this.node.replaceChildren(el('p', { class: 'crumb' }, el('a', { href: '#/', text: 'Zones' })),
			el('h1', { id: 'headline', tabindex: '-1' }, 'No zone ', name(this.zone)), el('p', { class: 'sub', role: 'status', text }));
		this.end();
	}

	end() {
		this.plot.end();
		this.stores.end();
	}
}
