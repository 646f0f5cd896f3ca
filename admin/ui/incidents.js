// The incident log: every episode that was, with what it cost.

import { attribute, el, reconcile, row, say, show, table } from './dom.js';
import { clock, milliseconds, now, span } from './format.js';
import { button } from './actions.js';
import { Asking } from './page.js';
import { href } from './state.js';
import { get, path } from './net.js';

function sum(counts) {
	return Object.values(counts ?? {}).reduce((a, b) => a + b, 0);
}

/** subjectOf is what an incident is about. */
export function subjectOf(i) {
	return i.server ? `server ${i.server}` : `zone ${i.zone}`;
}

function incidentRow() {
	const file = (format, label) => ({
		make: () => el('a', { text: label, download: true }),
		update: (node, i) => {
			attribute(node, 'href', `${path('incidents', i.id)}?format=${format}`);
			attribute(node, 'download', `incident-${i.id}.${format === 'markdown' ? 'md' : 'csv'}`);
			attribute(node, 'aria-label', `${label}: incident of ${subjectOf(i)}, ${clock(i.began)}`);
		},
	});
	return row([
		{ head: true, make: () => el('a', { class: 'name' }, el('bdi')), update: (node, i) => {
			say(node.firstChild, i.server ? subjectOf(i) : i.zone);
			attribute(node, 'href', href('incidents', i.id));
			attribute(node, 'aria-label', `Incident of ${subjectOf(i)}, ${clock(i.began)}`);
		} },
		{ text: (i) => clock(i.began) },
		{ class: 'figure', text: (i) => span((milliseconds(i.ended) || now()) - milliseconds(i.began)) + (i.ongoing ? ', ongoing' : '') },
		{ class: 'figure', text: (i) => String(i.openings ?? '') },
		{ class: 'figure', text: (i) => String(i.worst_occupied ?? '') },
		{ class: 'figure', text: (i) => (i.server ? `${i.lost ?? 0} lost` : sum(i.refused).toLocaleString()) },
		{ class: 'wide', text: (i) => (i.culprits ?? []).slice(0, 5).map((c) => c.store ?? c).join(', ') },
		{ class: 'wide', text: (i) => i.opening || i.evidence || '' },
		file('markdown', 'Markdown'), file('csv', 'CSV'),
	]);
}

/** Incidents is their page. */
export class Incidents extends Asking {
	missing = 'The incident log is not available in this build.';

	constructor() {
		super('Incidents', 10000, 'Every episode of a zone or a server, from the first evidence until all was calm again. The Markdown file is a draft of a postmortem.');
		this.before = [];
		this.after = '';
		this.table = table('Incidents', ['Zone or server', 'Began', 'Took', 'Openings', 'Workers at worst', 'Refused', 'Culprits', 'Evidence', 'Report', 'Stores']);
		this.newer = button('Newer', () => {
			this.after = this.before.pop() ?? '';
			this.load();
		});
		this.older = button('Older', () => {
			this.before.push(this.after);
			this.after = this.last;
			this.load();
		});
	}

	ask() {
		return get(path('incidents'), { limit: 50, after: this.after });
	}

	show({ incidents }) {
		if (!this.table.node.isConnected) this.body.replaceChildren(this.table.node, el('div', { class: 'buttons' }, this.newer, this.older));
		this.tell(incidents.length ? '' : 'No incident yet.');
		this.last = incidents.at(-1)?.id;
		this.newer.disabled = !this.before.length;
		this.older.disabled = incidents.length < 50;
		show(this.older.parentNode, this.before.length > 0 || incidents.length === 50);
		show(this.table.node, incidents.length > 0);
		reconcile(this.table.body, incidents, (i) => i.id, incidentRow);
	}
}
