// The fleet: its zones by their worst state, and the sidecars.

import { attribute, el, icon, reconcile, row, say, setIcon, show, table } from './dom.js';
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

const words = { open: 'Cut off', half_open: 'Tried again', troubled: 'Trouble', calm: 'Calm' };

const looks = { open: 'open', half_open: 'half_open', troubled: 'troubled', calm: 'calm' };

function why(d) {
	return [d.evidence, d.stale && 'it cannot read the state backend'].filter(Boolean).join('; ');
}

function differRow() {
	const who = el('bdi', { class: 'name' });
	const state = el('span');
	const since = el('time');
	const reason = el('span', { class: 'muted' });
	return {
		node: el('li', {}, who, ' ', state, ' ', since, ' ', reason),
		update(d) {
			say(who, d.sidecar);
			say(state, (words[d.state] ?? d.state).toLowerCase());
			tell(since, d.since ?? 0, 'since');
			show(since, Boolean(d.since));
			say(reason, why(d));
		},
	};
}

// A zone that is not calm on all sidecars.
function zoneTile() {
	const link = el('a', { class: 'zone-link' });
	const shape = icon('calm');
	const word = el('span');
	const badge = el('span', { class: 'badge' }, shape, word);
	const on = el('p', { class: 'since' });
	const since = el('time');
	const busy = el('p', { class: 'took' });
	const reason = el('p', { class: 'evidence' });
	const differ = el('ul', { class: 'differ' });
	const others = el('div', {}, el('h4', { text: 'Who sees it otherwise' }), differ);
	const on2 = el('span');
	const stores = el('p', { class: 'took' });
	on.append(on2, ' ', since);
	return {
		node: el('article', { class: 'tile' }, el('header', {}, el('h3', {}, el('bdi', { class: 'name' }, link)), badge), on, busy, stores, reason, others),
		update(z) {
			say(link, z.zone);
			attribute(link, 'href', `#/zones/${encodeURIComponent(z.zone)}`);
			attribute(this.node, 'data-zone', z.zone);
			const look = looks[z.state] ?? 'troubled';
			attribute(this.node, 'data-look', look);
			attribute(badge, 'data-look', look);
			setIcon(shape, look);
			say(word, words[z.state] ?? 'Unknown'); // of a later version
			say(on2, z.summary);
			tell(since, z.since ?? 0, 'since');
			show(since, Boolean(z.since));
			say(busy, `${plural(z.live + z.hung, 'worker')} occupied${z.hung ? `, ${z.hung} hung` : ''}${z.quarantined ? `; ${plural(z.quarantined, 'store')} in quarantine` : ''}`);
			say(stores, `Stores in quarantine: ${someOf((z.stores ?? []).map((s) => `${s.store} (on ${s.on})`), 5)}`);
			show(stores, Boolean(z.stores?.length));
			say(reason, z.evidence ?? '');
			show(reason, Boolean(z.evidence));
			reconcile(differ, z.differ ?? [], (d) => d.sidecar, differRow);
			show(others, Boolean(z.differ?.length));
		},
	};
}

// A server that gets no requests of some sidecars.
function serverRow() {
	return row([
		{ head: true, make: () => el('bdi', { class: 'name' }), update: (node, v) => { node.textContent = v.server; } },
		{ text: (v) => v.summary },
		{ make: () => el('time'), update: (node, v) => tell(node, v.since ?? 0, 'since') },
		{ class: 'figure', text: (v) => String(v.hung) },
		{ class: 'wide', text: (v) => someOf(v.differ ?? [], 5) },
		{ class: 'wide', text: (v) => v.evidence ?? '' },
	]);
}

function someOf(all, most) {
	return `${all.slice(0, most).join(', ')}${all.length > most ? ` and ${all.length - most} more` : ''}`;
}

/** Fleet is its page. */
export class Fleet extends Asking {
	constructor() {
		super('Fleet', 2000, 'All sidecars that share the switches, as one.');
		this.total = el('p');
		this.behind = el('p', { class: 'behind' });
		this.zones = el('div', { class: 'grid' });
		this.calm = el('p', { class: 'muted', text: 'All zones are calm on all sidecars.' });
		this.servers = table('Servers that get no requests', ['Server', 'On sidecars', 'Since', 'Hung', 'Differ', 'Why']);
		this.serverSection = el('section', { 'aria-labelledby': 'fleet-servers' }, el('h2', { id: 'fleet-servers', text: 'Servers' }), this.servers.node);
		this.table = table('Sidecars', ['Sidecar', 'Host', 'Applies revision', 'Workers busy', 'Zones', 'Heard of', 'Started', 'Version']);
		this.body.append(this.total, this.behind, el('section', { 'aria-labelledby': 'fleet-zones' }, el('h2', { id: 'fleet-zones', text: 'Zones' }), this.calm, this.zones),
			this.serverSection,
			el('section', { 'aria-labelledby': 'fleet-sidecars' }, el('h2', { id: 'fleet-sidecars', text: 'Sidecars' }), this.table.node));
	}

	ask() {
		return get(path('fleet'));
	}

	show(fleet) {
		this.tell([fleet.summary, fleet.problem].filter(Boolean).join('. '));
		say(this.total, `${fleet.occupied} of ${plural(fleet.workers, 'worker')} occupied on ${plural(fleet.total, 'sidecar')}${fleet.hung ? `, ${fleet.hung} of them hung` : ''}.`);
		const behind = fleet.behind ?? [];
		say(this.behind, `Stale or behind: ${behind.slice(0, 10).join(', ')}${behind.length > 10 ? ` and ${behind.length - 10} more` : ''}.`);
		show(this.behind, behind.length > 0);
		const zones = fleet.zones ?? [];
		reconcile(this.zones, zones, (z) => z.zone, zoneTile);
		show(this.calm, zones.length === 0);
		const servers = fleet.servers ?? [];
		reconcile(this.servers.body, servers, (v) => v.server, serverRow);
		show(this.serverSection, servers.length > 0);
		reconcile(this.table.body, fleet.instances ?? [], (i) => i.id, instanceRow);
	}
}
