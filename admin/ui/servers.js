// The API servers, if there are several: how each is, its workers, and draining.

import { attribute, el, icon, reconcile, say, setIcon, show } from './dom.js';
import { clock, plural, servers as conditions, tick } from './format.js';
import { button, drain, undrain } from './actions.js';
import { Meter } from './state.js';

const few = 12;

// conditionOf is how a server is. What an operator wants comes first.
function conditionOf(s) {
	if (s.draining) return s.live ? 'draining' : 'drained';
	return s.state;
}

function why(s) {
	const drained = s.draining && s.drain ? [s.drain.by && `by ${s.drain.by}`, s.drain.reason].filter(Boolean).join(': ') + (s.drain.until ? `, until ${clock(s.drain.until)}` : '') : '';
	const observed = s.state === 'in_service' ? '' : [s.evidence, s.check && `its check fails: ${s.check}`].filter(Boolean).join('; ');
	return [drained, s.draining && observed ? `${conditions[s.state].word.toLowerCase()}: ${observed}` : observed].filter(Boolean).join('; ');
}

function tileOf() {
	const title = el('bdi', { class: 'name' });
	const shape = icon('calm');
	const word = el('span');
	const badge = el('span', { class: 'badge' }, shape, word);
	const since = el('time');
	const sinceLine = el('p', { class: 'since' }, since);
	const reason = el('p', { class: 'evidence' });
	const lost = el('p', { class: 'took' });
	const meter = new Meter();
	let server = null;
	const act = button('', () => (server.drain ? undrain(server.address) : drain(server.address)), { class: 'act' });
	return {
		node: el('article', { class: 'tile server' }, el('header', {}, el('h3', {}, title), badge), sinceLine, reason, meter.node, lost, el('footer', {}, act)),
		update(s) {
			server = s;
			const condition = conditionOf(s);
			const { word: text, look } = conditions[condition];
			say(title, s.address);
			attribute(title, 'title', s.address);
			attribute(this.node, 'data-server', s.address);
			attribute(this.node, 'data-state', condition);
			attribute(this.node, 'data-look', look);
			attribute(badge, 'data-look', look);
			setIcon(shape, look);
			say(word, text);
			tick(since, s.draining ? s.drain?.since ?? 0 : s.since);
			show(sinceLine, condition !== 'in_service');
			const because = why(s);
			say(reason, because);
			attribute(reason, 'title', because || null);
			show(reason, Boolean(because));
			meter.update({ live: s.live, hung: s.hung, limit: s.workers });
			say(lost, s.lost ? `${plural(s.lost, 'request')} lost` : '');
			show(lost, s.lost > 0);
			say(act, s.drain ? 'Undrain…' : 'Drain…');
			attribute(act, 'aria-label', `${s.drain ? 'Undrain' : 'Drain'}: server ${s.address}`);
		},
	};
}

/** serversInWords is how many servers there are, and how many of them are not in service. */
export function serversInWords({ servers: n, servers_out: out, servers_draining: draining }) {
	if (!(n > 1)) return '';
	const rest = [out && `${out} out of service`, draining && `${draining} drained`].filter(Boolean);
	return rest.length ? `${rest.join(', ')} of ${n} servers` : plural(n, 'server');
}

/** Servers is their section. It is not there while there is only one. */
export class Servers {
	constructor() {
		this.all = false;
		this.list = [];
		this.grid = el('div', { class: 'grid servers', id: 'servers' });
		this.more = button('', () => {
			this.all = !this.all;
			this.#show();
		});
		this.node = el('section', { 'aria-labelledby': 'servers-title', hidden: true },
			el('div', { class: 'section-head' }, el('h2', { id: 'servers-title', text: 'Servers' }), this.more), this.grid);
	}

	/** update takes the servers, those in trouble first. */
	update(list) {
		this.list = list;
		this.#show();
	}

	#show() {
		show(this.node, this.list.length > 1);
		const ill = this.list.filter((s) => conditionOf(s) !== 'in_service').length;
		const some = Math.max(few, Math.min(ill, 2 * few));
		reconcile(this.grid, this.all ? this.list : this.list.slice(0, some), (s) => s.address, tileOf);
		show(this.more, this.list.length > some);
		say(this.more, this.all ? 'Show fewer' : `All ${this.list.length} servers`);
	}
}
