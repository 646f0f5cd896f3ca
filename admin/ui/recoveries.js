// Recoveries: stores that are checked and released, with how far they are.

import { attribute, el, name, reconcile, say, show } from './dom.js';
import { clock, plural, span, tick } from './format.js';
import { button, steer, workOn } from './actions.js';
import { Asking } from './page.js';
import { href } from './state.js';
import { get, path } from './net.js';

const states = { running: 'Running', paused: 'Paused', done: 'Done', cancelled: 'Cancelled' };

function recoveryOf() {
	let recovery = null;
	const title = el('h2');
	const state = el('p', { class: 'sub' });
	const bar = el('progress', { max: '100' });
	const numbers = el('p', { class: 'figures' });
	const why = el('p', { class: 'muted' });
	const failures = el('ul', { class: 'failures' });
	const act = (word, label) => button(label, () => steer(word, recovery));
	const [pause, resume, cancel] = [act('pause', 'Pause…'), act('resume', 'Resume…'), act('cancel', 'Cancel…')];
	const node = el('article', { class: 'card' }, title, state, bar, numbers, why, failures, el('div', { class: 'buttons' }, pause, resume, cancel));
	return {
		node,
		update(r) {
			if (!recovery) {
				title.append(r.zone ? 'Zone ' : plural(r.total, 'store'), r.zone ? el('a', { href: href('zones', r.zone) }, name(r.zone)) : '');
			}
			recovery = r;
			attribute(node, 'data-recovery', r.id);
			attribute(node, 'data-look', r.state === 'paused' ? 'troubled' : 'calm');
			const ends = r.state === 'running' && r.eta_seconds ? `, about ${span(r.eta_seconds * 1000)} left` : '';
			say(state, `${states[r.state] ?? r.state}${r.dry_run ? ' (dry run: nothing is released)' : ''}${r.paused_why ? `: ${r.paused_why}` : ''}${ends}`);
			const done = r.total ? 100 * (r.total - r.remaining) / r.total : 100;
			attribute(bar, 'value', done.toFixed(1));
			attribute(bar, 'aria-label', `${r.released} of ${plural(r.total, 'store')} released`);
			say(numbers, [`${r.released} of ${r.total} released`, `${r.checked} checked`, r.repairing ? `${r.repairing} being repaired` : '', r.repaired ? `${r.repaired} released after a repair` : '', r.manual ? `${r.manual} by hand` : '', r.probe_failed ? `${r.probe_failed} found by store_probe` : '', r.probe_trouble ? `no store_probe: ${r.probe_trouble}` : '', r.failing ? `${r.failing} failing` : '', r.work ? `${r.work} on the work list` : '', `${r.remaining} remaining`, r.rate_per_second ? `${r.rate_per_second.toFixed(1)} a second` : ''].filter(Boolean).join(' · '));
			say(why, [`Began ${clock(r.began)}`, r.ended && `ended ${clock(r.ended)}`, r.by && `by ${r.by}`, r.reason].filter(Boolean).join(' · '));
			reconcile(failures, (r.failures ?? []).slice(0, 20), (f) => f.store, failureOf);
			show(failures, Boolean(r.failures?.length));
			show(pause, r.state === 'running');
			show(resume, r.state === 'paused');
			show(cancel, r.state === 'running' || r.state === 'paused');
		},
	};
}

function failureOf() {
	const store = el('a', {}, el('bdi'));
	const reason = el('span');
	const next = el('time');
	return {
		node: el('li', {}, store, ' ', reason, next),
		update(f) {
			say(store.firstChild, f.store);
			attribute(store, 'href', href('stores', f.store));
			say(reason, `${f.reason}${f.attempts ? ` (${plural(f.attempts, 'attempt')})` : ''}`);
			tick(next, f.next_at, 'again');
		},
	};
}

const workStates = { open: 'Open', claimed: 'Claimed', checking: 'Marked as done, is being checked' };

// workOf is a store that somebody has to repair.
function workOf() {
	let item = null;
	const store = el('a', {}, el('bdi'));
	const state = el('span');
	const reason = el('span', { class: 'muted' });
	const note = el('span', { class: 'muted' });
	const act = (action, label) => button(label, () => workOn(action, item.store));
	const buttons = [act('claim', 'Claim…'), act('note', 'Note…'), act('handover', 'Hand over…'), act('done', 'Mark as done…')];
	const [claim, , handover, done] = buttons;
	return {
		node: el('li', {}, store, ' ', state, ' ', reason, ' ', note, el('div', { class: 'buttons' }, buttons)),
		update(w) {
			item = w;
			say(store.firstChild, w.store);
			attribute(store, 'href', href('stores', w.store));
			say(state, `${workStates[w.state] ?? w.state}${w.claimed_by ? ` by ${w.claimed_by}` : ''}, since ${clock(w.since)}.`);
			say(reason, w.reason);
			const last = w.notes.at(-1);
			say(note, last ? `${last.by || 'Recovery'}: ${last.text}` : '');
			show(claim, w.state === 'open');
			show(handover, w.state === 'claimed');
			show(done, w.state !== 'checking');
		},
	};
}

const shownWork = 50;

/** Recoveries is their page. */
export class Recoveries extends Asking {
	missing = 'Recoveries are not available in this build.';

	constructor() {
		super('Recoveries', 1000, 'Stores of a zone in maintenance are checked, and those that pass are released one by one. Start one on a zone’s page.');
		this.jobs = el('div');
		this.workTitle = el('h2', { text: 'Work list' });
		this.workLead = el('p', { class: 'muted' });
		this.work = el('ul', { class: 'failures' });
		this.workPart = el('section', { hidden: true },
			this.workTitle, this.workLead, el('p', {}, el('a', { href: `${path('work')}?format=csv`, download: 'firebreak-work.csv', text: 'Download as CSV' })), this.work);
		this.body.append(this.workPart, this.jobs);
	}

	async ask() {
		const [jobs, list] = await Promise.all([get(path('recoveries')), get(path('work'))]);
		return { ...jobs, ...list };
	}

	show({ recoveries, work }) {
		this.tell(recoveries.length ? '' : 'No recovery yet.');
		const more = work.length > shownWork ? ` The ${shownWork} that wait longest are shown; the CSV has all.` : '';
		say(this.workLead, `${plural(work.length, 'store')} could not be brought back and must be repaired by hand.${more}`);
		reconcile(this.work, work.slice(0, shownWork), (w) => w.store, workOf);
		show(this.workPart, work.length > 0);
		reconcile(this.jobs, recoveries.slice(0, 20), (r) => r.id, recoveryOf);
	}
}
