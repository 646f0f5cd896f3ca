// What happened: transitions, switches and recoveries, newest first.

import { attribute, el, name, reconcile, say } from './dom.js';
import { clock, tick } from './format.js';
import { href } from './state.js';

const looks = {
	zone_opened: 'open', pool_suspect: 'open', internal_error: 'open', store_quarantined: 'open',
	zone_half_open: 'half_open', store_half_open: 'half_open', zone_troubled: 'troubled', server_out: 'troubled', state_stale: 'troubled', recovery_paused: 'troubled',
	zone_isolated: 'held', zone_admitted: 'held', store_isolated: 'held', store_admitted: 'held', switch_set: 'maintenance', switch_began: 'maintenance',
};

let numbers = 0;

function entryOf() {
	const at = el('time');
	const subject = el('span', { class: 'subject' });
	const message = el('span', { class: 'message' });
	const why = el('span', { class: 'why' });
	const node = el('li', {}, at, el('div', {}, subject, message, why));
	let told = false;
	return {
		node,
		update(e) {
			if (told) return;
			told = true;
			tick(at, e.at, 'ago');
			at.title = clock(e.at);
			attribute(node, 'data-look', looks[e.kind] ?? 'calm');
			if (e.zone) subject.append(el('a', { href: href('zones', e.zone) }, name(e.zone)), ' ');
			if (e.store) subject.append(el('a', { href: href('stores', e.store) }, name(e.store)), ' ');
			if (e.server) subject.append(name(e.server), ' ');
			say(message, e.message);
			say(why, [e.why, e.by && `by ${e.by}`, e.reason].filter(Boolean).join(' · '));
			if (e.next) attribute(node, 'title', `Next: ${e.next}`);
		},
	};
}

/** Log is the list of what happened. */
export class Log {
	constructor(most = 60) {
		this.most = most;
		this.entries = [];
		this.list = el('ol', { class: 'log' });
		this.empty = el('p', { class: 'muted', text: 'Nothing since the process began.' });
		this.node = el('div', {}, this.empty, this.list);
	}

	add({ events, missed, whole }) {
		for (const e of events) e.number = ++numbers;
		if (missed) events = [...events, { number: ++numbers, kind: 'missed', at: Date.now(), message: `${missed} more events at that moment are left out` }];
		this.entries = whole ? events : [...events, ...this.entries];
		this.entries.length = Math.min(this.entries.length, this.most);
		this.empty.hidden = this.entries.length > 0;
		reconcile(this.list, this.entries, (e) => e.number, entryOf);
	}
}
