// How a zone or store stands, in one word with an icon: the shape and the word
// tell as much as the colour.

import { attribute, el, icon, say, setIcon } from './dom.js';
import { conditions, storeStates } from './format.js';

/** lookOf is which of the looks a zone or store has. */
export function lookOf(item) {
	if (item.condition) return conditions[item.condition]?.look ?? 'calm';
	const { state, switch: sw, hold, refused } = item;
	if (hold) return hold.as === 'isolated' ? 'open' : 'held';
	if (state !== 'calm') return state;
	if (sw) return 'maintenance';
	return refused ? 'open' : 'calm';
}

function wordOf(item) {
	const readOnly = item.switch?.mode === 'read_only';
	if (item.condition) {
		if (item.condition === 'maintenance' && readOnly) return 'Read-only';
		if (item.condition === 'cut_off' && item.state === 'half_open') return 'Cut off, being tried';
		return conditions[item.condition]?.word ?? item.condition;
	}
	if (item.hold) return item.hold.as === 'isolated' ? 'Isolated' : 'Admitted';
	if (item.state !== 'calm') return storeStates[item.state] ?? item.state;
	if (item.switch) return readOnly ? 'Read-only' : 'Maintenance';
	return item.refused ? 'Refused' : storeStates.calm;
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

	update({ live, hung, limit, what = 'workers' }) {
		const used = live + hung;
		const whole = Math.max(limit, used, 1);
		const width = (n) => `${(100 * n / whole).toFixed(1)}%`;
		if (this.live.style.width !== width(live)) this.live.style.width = width(live);
		if (this.hung.style.width !== width(hung)) this.hung.style.width = width(hung);
		const of = !limit ? `${used} ${what}` : used > limit ? `${used} workers, limit ${limit}` : `${used} of ${limit} ${what}`;
		say(this.text, hung ? `${of} · ${hung} hung` : of);
		attribute(this.node, 'data-hung', hung > 0);
	}
}

/** href is the address of a page of this dashboard. */
export function href(page, name) {
	return name === undefined ? `#/${page}` : `#/${page}/${encodeURIComponent(name)}`;
}
