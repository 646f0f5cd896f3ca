// Lists of facts: a term and what it is now.

import { el, say } from './dom.js';

/** Facts shows terms whose values change. Terms without a value are hidden. */
export class Facts {
	constructor(terms) {
		this.values = new Map();
		this.node = el('dl', { class: 'facts' }, Object.entries(terms).map(([key, term]) => {
			const value = el('dd');
			const pair = el('div', { hidden: true }, el('dt', { text: term }), value);
			this.values.set(key, { pair, value });
			return pair;
		}));
	}

	set(key, text) {
		const { pair, value } = this.values.get(key);
		const known = text !== undefined && text !== null && text !== '';
		pair.hidden = !known;
		say(value, known ? String(text) : '');
	}

	/** place puts a node where a value goes. */
	place(key, node) {
		this.values.get(key).value.replaceChildren(node);
	}

	/** show shows or hides a placed node. */
	show(key, visible) {
		this.values.get(key).pair.hidden = !visible;
	}
}

/** switchWords tells of a switch in one line. */
export function switchWords(sw, clock) {
	if (!sw) return '';
	const who = [sw.by && `by ${sw.by}`, sw.reason].filter(Boolean).join(': ');
	return `${sw.mode === 'read_only' ? 'Read-only' : 'On'} (${sw.scope === 'all' ? 'everything' : `${sw.scope} ${sw.name ?? ''}`.trim()}) since ${clock(sw.since)}${sw.until ? ` until ${clock(sw.until)}` : ''}${who ? ` ${who}` : ''}`;
}

/** holdWords tells of a hold in one line. */
export function holdWords(hold, clock) {
	if (!hold) return '';
	const who = [hold.by && `by ${hold.by}`, hold.reason].filter(Boolean).join(': ');
	return `${hold.as === 'isolated' ? 'Isolated' : 'Admitted'} since ${clock(hold.since)}${hold.until ? ` until ${clock(hold.until)}` : ''}${who ? ` ${who}` : ''}`;
}
