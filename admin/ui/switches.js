// The operators' switches, with reason and expiry.

import { attribute, el, reconcile, row, say, show, table } from './dom.js';
import { clock, plural, tick } from './format.js';
import { button, maintenanceOff, maintenanceOn, staleOff, staleOn, undrain } from './actions.js';
import { Asking } from './page.js';
import { href } from './state.js';
import { get, path } from './net.js';

const nameless = { all: 'everything', stale: 'answers from memory' };
const modes = { read_only: 'read-only' };
const phases = { in_force: 'in force', ahead: 'ahead', expired: 'over' };

function switchRow() {
	let sw = null;
	return row([
		{ head: true, make: () => el('span', {}, el('span', { class: 'muted' }), el('a', { class: 'name' }, el('bdi'))), update: (node, s) => {
			sw = s;
			say(node.firstChild, nameless[s.scope] ?? `${s.scope} `);
			const link = node.lastChild;
			show(link, !nameless[s.scope]);
			say(link.firstChild, s.name ?? '');
			attribute(link, 'href', s.scope === 'zone' || s.scope === 'store' ? href(`${s.scope}s`, s.name) : null);
		} },
		{ text: (s) => `${modes[s.mode] ?? s.mode}, ${phases[s.phase] ?? s.phase}${s.except?.length ? `, but ${plural(s.except.length, 'store')} released` : ''}` },
		{ class: 'wide', text: (s) => [s.reason, s.ticket].filter(Boolean).join(' · ') },
		{ text: (s) => s.by ?? '' },
		{ text: (s) => (s.from && s.phase === 'ahead' ? `from ${clock(s.from)}` : clock(s.since)) },
		{ make: () => el('time'), update: (node, s) => {
			if (s.until) tick(node, s.until, 'until');
			else say(node, 'no end');
		} },
		{ class: 'wide', text: (s) => s.message ?? '' },
		{ make: () => button('End…', () => ({ stale: staleOn, server: () => undrain(sw.name) }[sw.scope] ?? (() => maintenanceOff(sw.scope, sw.name)))()), update: (node, s) => attribute(node, 'aria-label', s.scope === 'server' ? `Undrain: server ${s.name}` : `Maintenance off: ${nameless[s.scope] ?? `${s.scope} ${s.name}`}`) },
	]);
}

function changeRow() {
	return row([
		{ make: () => el('time'), update: (node, c) => tick(node, c.at, 'ago') },
		{ text: (c) => [c.by, c.remote && `from ${c.remote}`].filter(Boolean).join(' ') },
		{ class: 'wide', text: (c) => [c.set_count ? `on: ${c.set.slice(0, 5).join(', ')}${c.set_count > 5 ? ` and ${c.set_count - 5} more` : ''}` : '', c.clear_count ? `off: ${c.clear.slice(0, 5).join(', ')}${c.clear_count > 5 ? ` and ${c.clear_count - 5} more` : ''}` : ''].filter(Boolean).join('; ') },
		{ class: 'wide', text: (c) => c.reason ?? '' },
	]);
}

/** Switches is the page of maintenance. */
export class Switches extends Asking {
	constructor() {
		super('Maintenance', 5000, 'What people have switched. It holds on every sidecar that shares this state, until somebody ends it or its time is over.');
		this.before = [];
		this.after = '';
		this.previous = button('Previous', () => this.#turn(this.before.pop() ?? ''));
		this.next = button('Next', () => {
			this.before.push(this.after);
			this.#turn(this.following);
		});
		this.table = table('Switches', ['What', 'Mode', 'Reason', 'By', 'Since', 'Until', 'Message to clients', 'Action']);
		this.changes = table('Changes', ['When', 'Who', 'What', 'Reason']);
		this.past = el('section', { 'aria-labelledby': 'past-title', hidden: true }, el('h2', { id: 'past-title', text: 'Latest changes' }), this.changes.node);
		this.body.append(this.table.node, el('div', { class: 'buttons' }, this.previous, this.next,
			button('Put everything into maintenance…', () => maintenanceOn('all', ''), { class: 'danger' }),
			button('Give no answers from memory…', () => staleOff())), this.past);
		show(this.table.node, false);
	}

	#turn(after) {
		this.after = after;
		this.load();
	}

	async ask() {
		const [list, past] = await Promise.all([
			get(path('maintenance'), { limit: 100, after: this.after }),
			get(path('maintenance', 'history'), { limit: 20 }).catch(() => ({ changes: [] })),
		]);
		return { list, past };
	}

	show({ list, past }) {
		this.tell([
			list.stale ? `The state backend cannot be read (${list.problem}); these are the last known switches. They stay in force and cannot be changed.` : '',
			list.total ? '' : 'Nothing is in maintenance.',
		].filter(Boolean).join(' '));
		this.following = list.next;
		show(this.previous, list.total > list.switches.length);
		show(this.next, list.total > list.switches.length);
		this.previous.disabled = !this.before.length;
		this.next.disabled = !list.next;
		reconcile(this.table.body, list.switches, (s) => `${s.scope} ${s.name}`, switchRow);
		show(this.table.node, list.switches.length > 0);
		reconcile(this.changes.body, past.changes, (c) => c.revision, changeRow);
		show(this.past, past.changes.length > 0);
	}
}
