// How a zone or store stands, in one word with an icon: the shape and the word
// tell as much as the colour.

import { attribute, el, icon, say, setIcon } from './dom.js';
import { states, storeStates } from './format.js';

/** lookOf is which of the looks something has: what operators want comes
 * before what is observed only where nothing is observed. */
export function lookOf({ state, switch: sw, hold }) {
	if (hold && state === 'calm') return 'held';
	if (sw && state === 'calm') return 'maintenance';
	return state;
}

function wordOf(item) {
	if (item.hold) return item.hold.as === 'isolated' ? 'Isolated' : 'Admitted';
	if (item.switch && item.state === 'calm') return item.switch.mode === 'read_only' ? 'Read-only' : 'Maintenance';
	return (item.of === 'store' ? storeStates : states)[item.state] ?? item.state;
}

/** Badge shows a state. */
export class Badge {
	constructor() {
		this.icon = icon('calm');
		this.word = el('span');
		this.node = el('span', { class: 'badge' }, this.icon, this.word);
	}

	update(item) {
		const look = lookOf(item);
		attribute(this.node, 'data-look', look);
		setIcon(this.icon, look);
		say(this.word, wordOf(item));
	}
}

/** Meter shows workers: live, hung and free of a limit. */
export class Meter {
	constructor() {
		this.live = el('span', { class: 'live' });
		this.hung = el('span', { class: 'hung' });
		this.bar = el('span', { class: 'bar', 'aria-hidden': 'true' }, this.hung, this.live);
		this.text = el('span', { class: 'meter-text' });
		this.node = el('div', { class: 'meter' }, this.bar, this.text);
	}

	update({ live, hung, limit, probes = 0, what = 'workers' }) {
		const used = live + hung;
		const whole = Math.max(limit, used, 1);
		const width = (n) => `${(100 * n / whole).toFixed(1)}%`;
		if (this.live.style.width !== width(live)) this.live.style.width = width(live);
		if (this.hung.style.width !== width(hung)) this.hung.style.width = width(hung);
		const most = used > limit && probes ? `${limit} + ${probes}` : limit;
		const of = limit ? `${used} of ${most} ${what}` : `${used} ${what}`;
		say(this.text, hung ? `${of} · ${hung} hung` : of);
		attribute(this.node, 'data-hung', hung > 0);
	}
}

/** href is the address of a page of this dashboard. */
export function href(page, name) {
	return name === undefined ? `#/${page}` : `#/${page}/${encodeURIComponent(name)}`;
}
