// The fleet: which sidecars there are, and which switches they apply.

import { el, reconcile, row, table } from './dom.js';
import { conditions, plural, tick as tell } from './format.js';
import { Asking } from './page.js';
import { get, path } from './net.js';

function instanceRow() {
	return row([
		{ head: true, make: () => el('bdi', { class: 'name' }), update: (node, i) => { node.textContent = i.id; } },
		{ text: (i) => i.host },
		{ class: 'figure', text: (i) => `${i.applies?.revision ?? '–'}${i.stale ? ', stale' : ''}` },
		{ class: 'figure', text: (i) => `${i.occupied} of ${i.workers}${i.hung ? `, ${i.hung} hung` : ''}` },
		{ class: 'wide', text: (i) => zones(i) },
		{ make: () => el('time'), update: (node, i) => tell(node, i.at, 'ago') },
		{ make: () => el('time'), update: (node, i) => tell(node, i.started, 'ago') },
		{ text: (i) => i.version ?? '' },
	]);
}

function zones(i) {
	const ill = i.zones ?? [];
	if (!ill.length) return `all ${i.zone_count} calm`;
	const list = ill.slice(0, 5).map((z) => `${z.zone} ${(conditions[{ open: 'cut_off', half_open: 'cut_off' }[z.state] ?? z.state]?.is ?? z.state)}`).join(', ');
	return `${list}${ill.length > 5 ? ` and ${ill.length - 5} more` : ''}; ${plural(i.zone_count, 'zone')}`;
}

/** Fleet is its page. */
export class Fleet extends Asking {
	constructor() {
		super('Fleet', 2000, 'All sidecars that share the switches. What each observes stays its own.');
		this.table = table('Sidecars', ['Sidecar', 'Host', 'Applies revision', 'Workers busy', 'Zones', 'Heard of', 'Started', 'Version']);
		this.body.append(this.table.node);
	}

	ask() {
		return get(path('fleet'));
	}

	show(fleet) {
		this.tell([fleet.summary, fleet.problem].filter(Boolean).join('. '));
		reconcile(this.table.body, fleet.instances ?? [], (i) => i.id, instanceRow);
	}
}
