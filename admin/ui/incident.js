// One incident: what happened in order, what it cost, and its culprits.

import { el, name, reconcile, row, say, show, table } from './dom.js';
import { clock, milliseconds, now, plural, span } from './format.js';
import { Facts } from './facts.js';
import { Asking } from './page.js';
import { href } from './state.js';
import { get, path } from './net.js';

function sum(counts) {
	return Object.values(counts ?? {}).reduce((a, b) => a + b, 0);
}

function reasons(counts) {
	return Object.entries(counts ?? {}).filter(([, n]) => n).map(([reason, n]) => `${n.toLocaleString()} ${reason.replaceAll('_', ' ')}`).join(', ');
}

function culpritRow() {
	return row([
		{ head: true, make: () => el('a', { class: 'name' }, el('bdi')), update: (node, c) => {
			say(node.firstChild, c.store);
			node.setAttribute('href', href('stores', c.store));
		} },
		{ class: 'figure', text: (c) => `${(c.worker_seconds ?? 0).toFixed(1)} s` },
		{ class: 'figure', text: (c) => String(c.failures ?? '') },
		{ class: 'wide', text: (c) => c.evidence ?? '' },
	]);
}

/** Incident is an incident's page. */
export class Incident extends Asking {
	constructor({ subject }) {
		super('Incident', 5000);
		this.id = subject;
		this.facts = new Facts({
			began: 'Began', ended: 'Ended', lost: 'Requests lost', openings: 'Times cut off', worst: 'Workers at worst', hung: 'Requests that hung', failed: 'Requests that failed', refused: 'Requests refused', cancelled: 'Queries cancelled', memory: 'Answered from memory', dark: 'Minutes without service, of all stores', back: 'Stores brought back',
		});
		this.lead = el('p', { class: 'sub' });
		this.zone = el('a', {}, 'Zone');
		this.files = el('div', { class: 'buttons' });
		this.timeline = el('ol', { class: 'log' });
		this.culprits = table('Culprits', ['Store', 'Workers’ time lost', 'Failures', 'Evidence']);
		this.culpritsPart = el('section', { 'aria-labelledby': 'culprits-title' }, el('h2', { id: 'culprits-title', text: 'Culprits' }), this.culprits.node);
		this.node.prepend(el('p', { class: 'crumb' }, el('a', { href: '#/incidents', text: 'Incidents' })));
	}

	ask() {
		return get(path('incidents', this.id));
	}

	show(i) {
		if (!this.facts.node.isConnected) {
			this.body.replaceChildren(this.lead, this.files, this.facts.node, this.culpritsPart,
				el('section', { 'aria-labelledby': 'timeline-title' }, el('h2', { id: 'timeline-title', text: 'Timeline' }), this.timeline));
			this.heading.replaceChildren(`Incident of ${i.server ? 'server' : 'zone'} `, name(i.server ?? i.zone));
			this.files.replaceChildren(...[!i.server && el('a', { href: href('zones', i.zone), text: 'The zone now' }),
				el('a', { href: `${path('incidents', i.id)}?format=markdown`, download: `incident-${i.id}.md`, text: 'Markdown, to begin a postmortem with' }),
				!i.server && el('a', { href: `${path('incidents', i.id)}?format=csv`, download: `incident-${i.id}.csv`, text: 'Stores as CSV' })].filter(Boolean));
		}
		this.tell('');
		const ended = milliseconds(i.ended);
		say(this.lead, i.opening || i.evidence || '');
		this.facts.set('began', clock(i.began));
		this.facts.set('ended', ended ? `${clock(i.ended)}, after ${span(ended - milliseconds(i.began))}` : `goes on, for ${span(now() - milliseconds(i.began))} so far`);
		this.facts.set('lost', i.server ? String(i.lost ?? 0) : '');
		this.facts.set('openings', i.openings || '');
		this.facts.set('worst', i.worst_occupied);
		this.facts.set('hung', i.hung || '');
		this.facts.set('failed', i.failed || '');
		this.facts.set('refused', sum(i.refused) ? reasons(i.refused) : '');
		this.facts.set('cancelled', i.cancelled || '');
		this.facts.set('memory', i.from_memory ? i.from_memory.toLocaleString() : '');
		this.facts.set('dark', i.dark_minutes ? i.dark_minutes.toFixed(1) : '');
		this.facts.set('back', (i.recoveries ?? []).map((r) => `${r.automatic} of ${r.total} automatically (${r.repaired} repaired), ${r.manual} by hand, ${r.remaining} remaining`).join('; '));
		reconcile(this.culprits.body, i.culprits ?? [], (c) => c.store, culpritRow);
		show(this.culpritsPart, Boolean(i.culprits?.length));
		const began = milliseconds(i.began);
		this.timeline.replaceChildren(...(i.timeline ?? []).map((e) => el('li', {},
			el('time', { text: clock(e.at), title: `${span(milliseconds(e.at) - began)} after it began` }),
			el('div', {}, el('span', { class: 'message', text: e.text ?? e.what }), e.times > 1 && el('span', { class: 'why', text: `${plural(e.times, 'time')}, until ${clock(e.last)}` })))));
	}
}
