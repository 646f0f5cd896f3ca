// Recoveries: stores that are checked and released, with how far they are.

import { attribute, el, name, reconcile, say, show } from './dom.js';
import { clock, plural, span, tick } from './format.js';
import { button, steer } from './actions.js';
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
			say(numbers, [`${r.released} of ${r.total} released`, `${r.checked} checked`, r.failing ? `${r.failing} failing` : '', `${r.remaining} remaining`, r.rate_per_second ? `${r.rate_per_second.toFixed(1)} a second` : ''].filter(Boolean).join(' · '));
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

/** Recoveries is their page. */
export class Recoveries extends Asking {
	missing = 'Recoveries are not available in this build.';

	constructor() {
		super('Recoveries', 1000, 'Stores of a zone in maintenance are checked, and those that pass are released one by one. Start one on a zone’s page.');
	}

	ask() {
		return get(path('recoveries'));
	}

	show({ recoveries }) {
		this.tell(recoveries.length ? '' : 'No recovery yet.');
		reconcile(this.body, recoveries.slice(0, 20), (r) => r.id, recoveryOf);
	}
}
