// What can be done to zones, stores and servers, each behind a dialog.

import { el } from './dom.js';
import { number, plural } from './format.js';
import { get, path, send } from './net.js';
import { confirm } from './dialog.js';
import { announce } from './announce.js';

const elsewhere = {
	maintenance: 'It holds on every sidecar that shares this state, until somebody takes it off or its time is over.',
	hold: 'It is done on this sidecar alone. A restart keeps it.',
};

function target(scope, name) {
	return scope === 'all' ? path('maintenance', 'all') : path('maintenance', `${scope}s`, name);
}

// dryRun asks what a switch would change, without changing it.
async function dryRun(action, scope, name) {
	const body = { action, dry_run: true };
	if (scope === 'all') body.all = true;
	else body[`${scope}s`] = [name];
	const answer = await send('POST', path('maintenance', 'batch'), body);
	const stores = scope === 'zone' ? await storesOf(name) : '';
	if (answer.unchanged && !answer.set && !answer.cleared_count) return `Tried without doing it: ${scope === 'all' ? 'it' : name} is so already.`;
	return `Tried without doing it: ${action === 'on' ? 'one switch will be set' : 'it will be taken off'}${stores}.`;
}

async function storesOf(zone) {
	try {
		const { total } = await get(path('zones', zone, 'stores'), { limit: 1 });
		return `; the zone has ${plural(total, 'store')}`;
	} catch {
		return '';
	}
}

/** maintenanceOn puts a zone, a store or everything into maintenance. */
export function maintenanceOn(scope, name, rate) {
	const what = scope === 'all' ? 'all zones and stores' : `${scope} ${name}`;
	confirm({
		title: scope === 'all' ? 'Put everything into maintenance' : `Put ${scope}`, subject: scope === 'all' ? '' : name, after: scope === 'all' ? '' : ' into maintenance',
		will: [
			`Every request of ${what} is answered with 503 at once, from the next one on${rate ? `; now there are ${number(rate)} a second` : ''}.`,
			scope === 'all' ? 'The whole API is down while it is on.' : `Everybody else is served as before.`,
			'Requests that workers are busy with are not cut off.',
			elsewhere.maintenance,
		],
		ask: { length: true, mode: true, message: true },
		button: 'Maintenance on', danger: true,
		preview: () => dryRun('on', scope, name),
		run: ({ stale, ...values }) => send('PUT', target(scope, name), { ...values, stale: stale === 'true' }),
		done: () => announce(`${what} is in maintenance.`),
	});
}

/** maintenanceOff takes a switch off. */
export function maintenanceOff(scope, name) {
	const what = scope === 'all' ? 'everything' : `${scope} ${name}`;
	confirm({
		title: scope === 'all' ? 'End maintenance of everything' : `End maintenance of ${scope}`, subject: scope === 'all' ? '' : name,
		will: [
			'Its requests are let in again at once, all of them. If it was repaired, a recovery lets stores in one by one after checking each.',
			'Breakers still hold: what is still broken is found again.',
			'It ends on every sidecar that shares this state.',
		],
		button: 'Maintenance off',
		preview: () => dryRun('off', scope, name),
		run: ({ reason, by }) => send('DELETE', `${target(scope, name)}?${new URLSearchParams({ reason, by: by ?? '' })}`),
		done: (answer) => announce(answer.still ? `${what} is still in maintenance by ${answer.still}.` : `${what} is no longer in maintenance.`),
	});
}

const holds = {
	isolate: {
		title: 'Isolate', button: 'Isolate', danger: true, done: 'is isolated',
		will: 'Every request is refused until the time is over or somebody hands it back, whatever firebreak observes.',
	},
	admit: {
		title: 'Admit', button: 'Admit', danger: true, done: 'is admitted',
		will: 'The breaker does not open, whatever firebreak observes. The limits on workers still hold.',
	},
	auto: {
		title: 'Hand back to its breaker:', button: 'Hand back', done: 'is handed back to its breaker',
		will: 'The breaker decides again and forgets what it has found out: requests are let in, and quarantines end, until there is new evidence.',
	},
};

/** hold isolates or admits by hand, or hands back to the breaker. */
export function hold(action, scope, name) {
	const { title, button, danger, will, done } = holds[action];
	confirm({
		title: `${title} ${scope}`, subject: name, button, danger,
		will: [will, action === 'auto' ? 'Workers that hang stay counted.' : null, action === 'auto' ? 'It is done on this sidecar alone.' : elsewhere.hold],
		ask: { length: action !== 'auto' },
		run: (values) => send('POST', path(`${scope}s`, name, action), values),
		done: () => announce(`${scope} ${name} ${done}.`),
	});
}

/** purge forgets the answers that are kept of a zone or store. */
export function purge(scope, name) {
	confirm({
		title: `Purge the answers of ${scope}`, subject: name, button: 'Purge',
		will: [
			'The answers that are kept in memory are forgotten. Requests that are refused get none until there are new ones.',
			'It is done on this sidecar alone.',
		],
		run: () => send('POST', path('stale', 'purge'), { [scope]: name }),
		done: (answer) => announce(`${answer.purged} answers of ${scope} ${name} purged.`),
	});
}

/** staleOff switches answers from memory off; staleOn switches them on again. */
export function staleOff() {
	confirm({
		title: 'Give no answers from memory', button: 'Switch off', danger: true,
		will: ['Requests are refused where they would have been answered from memory.', 'What is kept stays.', 'It holds on every sidecar that shares this state.'],
		ask: { length: true },
		run: (values) => send('PUT', path('stale', 'off'), values),
		done: () => announce('No answers are given from memory.'),
	});
}

export function staleOn() {
	confirm({
		title: 'Give answers from memory again', button: 'Switch on',
		will: ['Requests that are refused get the last good answer, where one is kept.', 'It holds on every sidecar that shares this state.'],
		run: ({ reason, by }) => send('DELETE', `${path('stale', 'off')}?${new URLSearchParams({ reason, by: by ?? '' })}`),
		done: () => announce('Answers are given from memory again.'),
	});
}

/** drain keeps new requests from an API server. */
export function drain(address) {
	confirm({
		title: 'Drain server', subject: address,
		will: [
			'It gets no new requests while another server is left. What is under way there goes on.',
			'Its workers no longer count for the size of the pool.',
			'It holds on every sidecar that shares this state, until it is undrained or its time is over.',
		],
		ask: { length: true }, button: 'Drain',
		run: (values) => send('PUT', path('servers', address, 'drain'), values),
		done: () => announce(`Server ${address} is drained.`),
	});
}

/** undrain takes a drained API server back into service. */
export function undrain(address) {
	confirm({
		title: 'Take back server', subject: address, after: ' into service',
		will: ['It gets requests again, on every sidecar that shares this state.'],
		button: 'Undrain',
		run: ({ reason, by }) => send('DELETE', `${path('servers', address, 'drain')}?${new URLSearchParams({ reason, by: by ?? '' })}`),
		done: () => announce(`Server ${address} is no longer drained.`),
	});
}

/** recover checks the stores of a zone and releases those that pass. */
export function recover(zone) {
	confirm({
		title: 'Check and release zone', subject: zone,
		will: [
			'Every store of the zone is asked with the configured check, a few at a time, never beyond the zone’s workers.',
			'A store that passes is released from maintenance at once, alone. One that fails stays in maintenance, with the reason.',
			'It pauses by itself when released stores begin to fail. It can be paused and cancelled.',
		],
		button: 'Start recovery',
		preview: async () => {
			const stores = await storesOf(zone);
			return stores ? `Before it starts:${stores.slice(1)}.` : 'The directory cannot list the stores of this zone.';
		},
		run: (values) => send('POST', path('recoveries'), { zone, ...values }, { once: true }),
		done: () => {
			announce(`The recovery of zone ${zone} has begun.`);
			location.hash = '#/recoveries';
		},
	});
}

/** steer pauses, resumes or cancels a recovery. */
export function steer(action, recovery) {
	const words = {
		pause: ['Pause the recovery of', 'Checks that run are finished; no other store is checked or released until it is resumed.'],
		resume: ['Resume the recovery of', 'Stores are checked and released again.'],
		cancel: ['Cancel the recovery of', 'What was released stays released; all others stay in maintenance.'],
	}[action];
	confirm({
		title: words[0], subject: recovery.zone || plural(recovery.total, 'store'), will: [words[1]],
		button: action[0].toUpperCase() + action.slice(1), danger: action === 'cancel',
		run: ({ reason, by }) => send('POST', path('recoveries', recovery.id, action), { reason, by }),
		done: () => announce(`The recovery: ${action} is done.`),
	});
}

const works = {
	claim: ['Claim', 'It is shown as yours. It stays in maintenance.'],
	handover: ['Hand over', 'It is no longer claimed by the person who has it now.'],
	done: ['Mark as done:', 'It is checked again as in its recovery. If it passes it is released; if it fails it is back on the list, with the reason.'],
	note: ['Add a note to', 'The reason is kept with the store as a note.'],
};

/** workOn does something about a store on the work list. */
export function workOn(action, store) {
	const [word, will] = works[action];
	confirm({
		title: `${word} store`, subject: store, will: [will], ask: { to: action === 'handover' },
		button: word.replace(/ to$|:$/, ''),
		run: ({ reason, by, to }) => send('POST', path('work', store, action), { note: reason, by, to }, { once: true }),
		done: () => announce(`${word} ${store}: done.`),
	});
}

/** maintenanceOfStores puts several stores of a zone into maintenance. */
export function maintenanceOfStores(zone, stores) {
	const some = stores.length > 5 ? `${stores.slice(0, 5).join(', ')} and ${stores.length - 5} more` : stores.join(', ');
	confirm({
		title: `Put ${plural(stores.length, 'store')} of zone`, subject: zone, after: ' into maintenance',
		will: [
			`Every request of ${some} is answered with 503 at once, with your message.`,
			'They are in quarantine: most of their requests are refused already. The other stores of the zone are served as before.',
			elsewhere.maintenance,
		],
		ask: { length: true, mode: true, message: true },
		button: 'Maintenance on', danger: true,
		run: (values) => send('POST', path('maintenance', 'batch'), { action: 'on', stores, ...values }),
		done: () => announce(`${plural(stores.length, 'store')} of zone ${zone} in maintenance.`),
	});
}

/** more hides rare actions until they are asked for. */
export function more(...buttons) {
	return el('details', { class: 'more' }, el('summary', { text: 'By hand' }), el('div', { class: 'buttons' }, buttons));
}

/** button makes one that opens an action's dialog. */
export function button(text, action, props = {}) {
	return el('button', { type: 'button', text, on: { click: action }, ...props });
}
