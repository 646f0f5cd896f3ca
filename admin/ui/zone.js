// One zone: how it is, who causes it, what happened, and its stores.

import { attribute, el, name, reconcile, row, say, show, table } from './dom.js';
import { clock, plural, stateWords, tick } from './format.js';
import { button, hold, maintenanceOff, maintenanceOn, recover } from './actions.js';
import { Badge, Meter, href } from './state.js';
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
		{ make: () => badge.node, update: (_, c) => badge.update({ ...c, of: 'store' }) },
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
	constructor({ subject, has }) {
		this.zone = subject;
		this.title = `Zone ${subject}`;
		this.badge = new Badge();
		this.meter = new Meter();
		this.since = el('time');
		this.probe = el('time');
		this.facts = new Facts({
			evidence: 'Why', probe: 'Tried again', turn: 'Openings in this episode', window: 'Window of the triage', stores: 'Stores that are bad', quarantined: 'In quarantine',
			explained: 'Hung, explained', remembered: 'Hung since before a restart', waiting: 'Waiting for a worker', worst: 'Workers at worst', abandoned: 'Workers taken for dead', streams: 'Open streams', maintenance: 'Maintenance', hold: 'By hand',
			mode: 'Mode',
		});
		this.facts.place('probe', this.probe);
		this.on = false;
		this.main = button('Maintenance on…', () => (this.on ? maintenanceOff('zone', this.zone) : maintenanceOn('zone', this.zone)), { class: 'danger', id: 'act' });
		this.recover = button('Check and release…', () => recover(this.zone), { hidden: !has.recoveries });
		this.chart = el('div', { class: 'chart large', role: 'img', 'aria-label': `Requests to zone ${subject} in the last 10 minutes` });
		this.plot = new Plot(this.chart, `zone ${subject}`, { height: 150, axes: true });
		this.culprits = table('Culprits', ['Store', 'State', 'Workers’ time lost', 'Hung', 'Failures', 'First seen', 'Last seen', 'Evidence', 'Action']);
		this.none = el('p', { class: 'muted', text: 'No store is named as a cause.' });
		this.log = new Log(200);
		this.stores = new Stores(subject);
		this.node = el('div', {},
			el('p', { class: 'crumb' }, el('a', { href: '#/', text: 'Zones' })),
			el('section', { class: 'hero', 'aria-labelledby': 'headline' },
				el('div', { class: 'hero-text' },
					el('h1', { id: 'headline', tabindex: '-1' }, 'Zone ', name(subject)),
					el('p', { class: 'sub' }, this.badge.node, ' ', this.since, ' ', this.words = el('span')), this.meter.node,
					el('div', { class: 'buttons' }, this.main, this.recover,
						button('Isolate…', () => hold('isolate', 'zone', this.zone)), button('Admit…', () => hold('admit', 'zone', this.zone)), button('Hand back…', () => hold('auto', 'zone', this.zone)))),
				el('figure', {}, this.chart, legend())),
			this.facts.node,
			el('section', { 'aria-labelledby': 'culprits-title' }, el('h2', { id: 'culprits-title', text: 'Culprits, by workers’ time lost' }), this.none, this.culprits.node),
			el('section', { 'aria-labelledby': 'timeline-title' }, el('h2', { id: 'timeline-title', text: 'Timeline' }), this.log.node),
			this.stores.node);
	}

	query() {
		return { zone: this.zone };
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
		this.badge.update({ ...z, switch: sw });
		attribute(this.node.children[1], 'data-look', z.state);
		const what = sw && z.state === 'calm' ? 'its requests are refused by a switch' : stateWords[z.state] ?? '';
		say(this.words, what);
		tick(this.since, z.state === 'calm' ? 0 : z.hold ? z.since : z.episode_since ?? z.since);
		this.meter.update({ live: z.live, hung: z.hung, limit: z.max_inflight, probes: z.probe_slots, what: 'workers it may have' });
		const f = this.facts;
		f.set('evidence', z.state === 'calm' ? '' : z.evidence);
		tick(this.probe, z.open_until, 'ahead');
		f.show('probe', z.state === 'open' && Boolean(z.open_until));
		f.set('turn', z.turn);
		f.set('window', z.state === 'half_open' ? `${plural(z.window ?? 0, 'request')} at once` : '');
		f.set('stores', z.state === 'calm' ? '' : `${z.stores_bad} of ${z.stores_seen} seen`);
		f.set('quarantined', z.quarantined_count ? z.quarantined.slice(0, 10).join(', ') + (z.quarantined_count > 10 ? ` and ${z.quarantined_count - 10} more` : '') : '');
		f.set('explained', z.explained || '');
		f.set('remembered', z.remembered || '');
		f.set('waiting', z.waiting || '');
		f.set('worst', z.worst_occupied ? `${z.worst_occupied}, limit ${z.max_inflight} and ${z.probe_slots} to find out who is well` : '');
		f.set('abandoned', z.abandoned || '');
		f.set('streams', z.streams || '');
		f.set('maintenance', switchWords(sw, clock));
		f.set('hold', holdWords(z.hold, clock));
		f.set('mode', z.observe ? 'observe: nothing is refused' : '');
		this.on = Boolean(sw && sw.scope === 'zone');
		say(this.main, this.on ? 'Maintenance off…' : 'Maintenance on…');
		attribute(this.main, 'class', this.on ? 'primary' : 'danger');
		show(this.none, !z.culprits.length);
		show(this.culprits.node, z.culprits.length > 0);
		reconcile(this.culprits.body, z.culprits, (c) => c.store, culpritRow);
	}

	end() {
		this.plot.end();
		this.stores.end();
	}
}
