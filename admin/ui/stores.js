// The stores of a zone, a page at a time: there may be a million.

import { attribute, el, reconcile, row, say, show, table } from './dom.js';
import { button } from './actions.js';
import { Badge, href } from './state.js';
import { get, path } from './net.js';

const perPage = 50;

function storeRow() {
	const badge = new Badge();
	return row([
		{ head: true, make: () => el('a', { class: 'name' }, el('bdi')), update: (node, s) => {
			say(node.firstChild, s.store);
			attribute(node, 'href', href('stores', s.store));
			attribute(node, 'title', s.store);
		} },
		{ make: () => badge.node, update: (_, s) => badge.update({ state: s.state, switch: s.maintenance ? { mode: 'full' } : null }) },
		{ class: 'figure', text: (s) => (s.hung ? `${s.hung} hung` : '') },
	]);
}

/** Stores pages through a zone's stores. */
export class Stores {
	constructor(zone) {
		this.zone = zone;
		this.before = []; // where earlier pages begin
		this.after = '';
		this.filter = el('input', { type: 'search', id: 'stores-filter', placeholder: 'Part of an id', maxlength: '128', autocomplete: 'off', spellcheck: 'false' });
		this.range = el('p', { class: 'range', role: 'status' });
		this.previous = button('Previous', () => {
			this.after = this.before.pop() ?? '';
			this.load();
		});
		this.next = button('Next', () => {
			this.before.push(this.after);
			this.after = this.following;
			this.load();
		});
		this.table = table('Stores', ['Store', 'State', 'Workers']);
		this.node = el('section', { 'aria-labelledby': 'stores-title' },
			el('div', { class: 'section-head' }, el('h2', { id: 'stores-title', text: 'Stores' }),
				el('div', { class: 'pager' }, el('label', { for: 'stores-filter', text: 'Filter' }), this.filter, this.range, this.previous, this.next)),
			this.table.node);
		this.filter.addEventListener('input', () => {
			clearTimeout(this.typing);
			this.typing = setTimeout(() => {
				this.before = [];
				this.after = '';
				this.load();
			}, 250);
		});
		this.load();
		this.timer = setInterval(() => document.hidden || this.load(), 5000);
	}

	async load() {
		const asked = this.asked = Symbol('asked');
		try {
			const page = await get(path('zones', this.zone, 'stores'), { after: this.after, limit: perPage, match: this.filter.value });
			if (asked !== this.asked) return;
			this.following = page.next;
			reconcile(this.table.body, page.stores, (s) => s.store, storeRow);
			say(this.range, `${page.stores.length} shown of ${page.total.toLocaleString()} in the zone`);
			this.previous.disabled = !this.before.length;
			this.next.disabled = !page.next;
			show(this.table.node, page.stores.length > 0);
		} catch (error) {
			if (asked !== this.asked) return;
			if (error.status === 410) {
				this.before = [];
				this.after = '';
			}
			say(this.range, error.message);
			if (error.status === 404) { // the directory cannot list them: no use to ask again
				this.end();
				show(this.filter, false);
			}
		}
	}

	end() {
		this.asked = null;
		clearInterval(this.timer);
		clearTimeout(this.typing);
	}
}
