// One store: where it lives, why it is refused.

import { attribute, el, name, say, show } from './dom.js';
import { clock, span, tick } from './format.js';
import { button, hold, maintenanceOff, maintenanceOn, more, purge } from './actions.js';
import { Badge, href } from './state.js';
import { Facts, holdWords, switchWords } from './facts.js';
import { get, path } from './net.js';

const outcomes = {
	ok: 'ok', slow: 'ok, slow', failure: 'failed', broken: 'connection broke', hung: 'hung', gone: 'client left', gone_late: 'client left late',
	refused: 'refused upstream', no_upstream: 'API server away', abandoned: 'given up',
};

const reasons = { zone_open: 'its zone is cut off', quarantine: 'it is in quarantine', busy: 'no worker is free for it', maintenance: 'it is in maintenance' };

/** Store is a store's page. */
export class Store {
	constructor({ subject }) {
		this.subject = subject;
		this.title = `Store ${subject}`;
		this.badge = new Badge();
		this.verdict = el('p', { class: 'verdict', role: 'status' });
		this.probe = el('time');
		this.seen = el('time');
		this.facts = new Facts({
			zone: 'Lives in zone', found: 'Found by', evidence: 'Why it is so', probe: 'Tried again', live: 'Workers it has', wasted: 'Workers’ time lost', seen: 'Last outcome',
			recent: 'Latest outcomes, newest first', proven: 'Proven', maintenance: 'Maintenance', hold: 'By hand',
		});
		this.facts.place('probe', this.probe);
		this.facts.place('seen', this.seen);
		this.zone = el('a', {}, el('bdi'));
		this.zoneBadge = new Badge();
		this.facts.place('zone', el('span', {}, this.zone, ' ', this.zoneBadge.node));
		this.on = false;
		this.main = button('Maintenance on…', () => (this.on ? maintenanceOff('store', this.store) : maintenanceOn('store', this.store)), { class: 'danger', id: 'act' });
		this.buttons = el('div', { class: 'buttons', hidden: true }, this.main,
			more(button('Isolate…', () => hold('isolate', 'store', this.store)), button('Admit…', () => hold('admit', 'store', this.store)), button('Hand back…', () => hold('auto', 'store', this.store)), button('Purge answers…', () => purge('store', this.store))));
		this.heading = el('h1', { id: 'headline', tabindex: '-1' }, 'Store ', name(subject));
		this.node = el('div', {},
			el('p', { class: 'crumb' }, el('a', { href: '#/', text: 'Zones' })),
			el('section', { class: 'hero', 'aria-labelledby': 'headline' }, el('div', { class: 'hero-text' }, this.heading, el('p', { class: 'sub' }, this.badge.node), this.verdict, this.buttons)),
			this.facts.node);
		this.load();
		this.timer = setInterval(() => document.hidden || this.load(), 2000);
	}

	query() {
		return { count: 0 };
	}

	receive(kind, data) {
		if (kind === 'log' && !data.whole) this.load();
	}

	settle() { /* it asks by itself */ }

	async load() {
		try {
			this.#show(await get(path('stores', this.subject)));
		} catch (error) {
			say(this.verdict, error.message);
			show(this.buttons, false);
			show(this.badge.node, false);
		}
	}

	#show(s) {
		this.store = s.store;
		const f = this.facts;
		this.badge.update({ ...s, condition: undefined, switch: s.maintenance, refused: s.verdict === 'refused' });
		show(this.badge.node, true);
		attribute(this.node.children[1], 'data-look', s.verdict !== 'refused' ? 'calm' : s.reason === 'maintenance' ? 'maintenance' : 'open');
		const left = s.refused_for_ms ? ` For ${span(s.refused_for_ms)} more.` : '';
		say(this.verdict, s.verdict === 'refused' ? `Its requests are refused${reasons[s.reason] ? `, since ${reasons[s.reason]}` : ''}: ${s.why}.${left}` : `Its requests are let in: ${s.why}.`);
		say(this.zone.firstChild, s.zone);
		attribute(this.zone, 'href', href('zones', s.zone));
		this.zoneBadge.update({ condition: { open: 'cut_off', half_open: 'coming_back' }[s.zone_state] ?? s.zone_state });
		f.show('zone', true);
		f.set('found', s.found === 'key' ? `the key ${this.subject}; its id is ${s.store}` : '');
		f.set('evidence', s.evidence);
		tick(this.probe, s.open_until, 'ahead');
		f.show('probe', s.state === 'open' && Boolean(s.open_until));
		f.set('live', s.live + s.hung ? `${s.live} live, ${s.hung} hung` : 'none now');
		f.set('wasted', s.worker_seconds ? `${s.worker_seconds.toFixed(1)} s` : '');
		tick(this.seen, s.last_outcome, 'ago');
		f.show('seen', Boolean(s.last_outcome));
		f.set('recent', s.recent.map((o) => outcomes[o] ?? o).join(', '));
		f.set('proven', s.proven ? '' : 'no: nothing of it was answered since its zone began to hang');
		f.set('maintenance', switchWords(s.maintenance, clock));
		f.set('hold', holdWords(s.hold, clock));
		this.on = Boolean(s.maintenance && s.maintenance.scope === 'store');
		say(this.main, this.on ? 'Maintenance off…' : 'Maintenance on…');
		attribute(this.main, 'class', this.on ? 'primary' : 'danger');
		show(this.buttons, true);
	}

	end() {
		clearInterval(this.timer);
	}
}
