// What is to be done about a zone, and the one action that fits its cause.

import { button, hold, maintenanceOff, maintenanceOfStores, maintenanceOn } from './actions.js';
import { announce } from './announce.js';
import { attribute, el, say, show } from './dom.js';
import { plural } from './format.js';
import { get, path } from './net.js';

/** nextStep says in a sentence what a person does now. */
export function nextStep(t) {
	switch (t.condition) {
	case 'cut_off': return `Look at the database of zone ${t.zone}. It is tried again by itself.`;
	case 'isolated': return `Hand zone ${t.zone} back to its breaker when the work is done.`;
	case 'coming_back': return 'Nothing: more of its requests are let in with each that is answered.';
	case 'observed': return 'Set mode enforce to let firebreak act.';
	case 'admitted': return `Hand zone ${t.zone} back to its breaker when it is no longer needed.`;
	default:
	}
	if (t.quarantined) return `Look at the data of ${t.quarantined === 1 ? 'this store' : 'these stores'}. The other stores of zone ${t.zone} are served.`;
	return t.condition === 'troubled' ? 'Watch it: it is judged by itself.' : '';
}

// actionOf is what is offered first: for the stores that are the cause, or for the
// zone if it is the zone.
function actionOf(t) {
	if (t.switch) return t.switch.scope === 'zone' ? { text: 'Maintenance off…', label: `Maintenance off: zone ${t.zone}`, run: () => maintenanceOff('zone', t.zone) } : null;
	switch (t.condition) {
	case 'isolated':
	case 'admitted': return { text: 'Hand back…', label: `Hand back: zone ${t.zone}`, run: () => hold('auto', 'zone', t.zone) };
	case 'cut_off': return { text: 'Maintenance on…', label: `Maintenance on: zone ${t.zone}`, run: () => maintenanceOn('zone', t.zone, t.rate), danger: true };
	default:
	}
	if (!t.quarantined) return null;
	return {
		text: `Maintenance: ${plural(t.quarantined, 'store')}…`, label: `Maintenance on: ${plural(t.quarantined, 'store')} of zone ${t.zone}`, danger: true,
		run: async () => {
			try {
				const { quarantined } = await get(path('zones', t.zone));
				if (quarantined.length) maintenanceOfStores(t.zone, quarantined);
				else announce(`No store of zone ${t.zone} is in quarantine any more.`);
			} catch (error) {
				announce(error.message);
			}
		},
	};
}

/** Next is a sentence and a button that say what to do about a zone. */
export class Next {
	constructor({ name = 'act', sentence = true } = {}) {
		this.words = el('span');
		this.sentence = el('p', { class: 'next', hidden: !sentence }, el('strong', { text: 'Next: ' }), this.words);
		this.quiet = !sentence;
		this.name = name;
		this.button = button('', () => this.action?.run(), { class: name, hidden: true });
	}

	update(t) {
		if (!this.quiet) {
			const step = nextStep(t);
			say(this.words, step);
			show(this.sentence, Boolean(step));
		}
		this.action = actionOf(t);
		if (!this.action && document.activeElement === this.button) this.button.closest('.tile')?.querySelector('a')?.focus();
		show(this.button, Boolean(this.action));
		say(this.button, (this.quiet ? this.action?.text : this.action?.label && `${this.action.label}…`) ?? '');
		attribute(this.button, 'aria-label', this.action?.label);
		attribute(this.button, 'class', this.action?.danger ? `${this.name} danger` : this.name);
	}
}
