// Words, times and numbers.

export const states = {
	calm: 'Calm',
	troubled: 'Trouble',
	open: 'Cut off',
	half_open: 'Triage',
};

/** storeStates are the same for stores. */
export const storeStates = { calm: 'Calm', open: 'Quarantine', half_open: 'Being tried' };

/** stateWords say what a state means for requests. */
export const stateWords = {
	calm: 'nothing is wrong',
	troubled: 'something is wrong, requests are let in',
	open: 'its requests are refused',
	half_open: 'a growing number of its requests is let in to find out who is well',
};

let offset = 0; // the server's clock minus this one's

/** setClock tells what the server's clock shows now, in milliseconds. */
export function setClock(server) {
	offset = server - Date.now();
}

/** now is the server's time. */
export function now() {
	return Date.now() + offset;
}

/** milliseconds of a time as JSON has it; 0 if there is none. */
export function milliseconds(at) {
	if (!at) return 0;
	if (typeof at === 'number') return at;
	const parsed = Date.parse(at);
	return Number.isNaN(parsed) || parsed < 0 ? 0 : parsed;
}

/** span is a length of time in words: 14 s, 3 min, 2 h 5 min. */
export function span(ms) {
	const s = Math.max(0, Math.round(ms / 1000));
	if (s < 100) return `${s} s`;
	if (s < 3600) return `${Math.floor(s / 60)} min`;
	if (s < 48 * 3600) return `${Math.floor(s / 3600)} h ${Math.floor(s / 60) % 60} min`;
	return `${Math.floor(s / 86400)} days`;
}

const time = new Intl.DateTimeFormat(undefined, { hour: '2-digit', minute: '2-digit', second: '2-digit', hourCycle: 'h23' });
const day = new Intl.DateTimeFormat(undefined, { year: 'numeric', month: 'short', day: '2-digit', hour: '2-digit', minute: '2-digit', hourCycle: 'h23' });

/** clock is a time of day, with the day if it is not today. */
export function clock(at) {
	const ms = milliseconds(at);
	if (!ms) return '–';
	const date = new Date(ms);
	return date.toDateString() === new Date().toDateString() ? time.format(date) : day.format(date);
}

/** number is short: 0.4, 25, 1.2k. */
export function number(n) {
	if (n >= 10000) return `${Math.round(n / 1000)}k`;
	if (n >= 1000) return `${(n / 1000).toFixed(1)}k`;
	return n >= 10 || Number.isInteger(n) ? String(Math.round(n)) : n.toFixed(1);
}

/** percent of requests that were ok; null if there were none. */
export function percent(ok) {
	if (ok === null || ok === undefined) return '–';
	return ok === 100 ? '100 %' : `${ok.toFixed(1)} %`;
}

/** plural: 1 store, 2 stores. */
export function plural(n, one, many = `${one}s`) {
	return `${n} ${n === 1 ? one : many}`;
}

/** tick makes a <time> tell how long ago or ahead it is. */
export function tick(node, at, form = 'since') {
	const ms = milliseconds(at);
	if (node.dataset.at !== String(ms) || node.dataset.form !== form) {
		node.dataset.at = String(ms);
		node.dataset.form = form;
		if (ms) {
			node.dateTime = new Date(ms).toISOString();
			node.title = new Date(ms).toLocaleString();
		}
	}
	retell(node);
}

const forms = {
	since: (ms) => `since ${clock(ms)} · ${span(now() - ms)}`,
	ago: (ms) => (now() - ms < 1000 ? 'now' : `${span(now() - ms)} ago`),
	ahead: (ms) => (ms > now() ? `in ${span(ms - now())}` : 'now'),
	again: (ms) => (ms > now() ? `, tried again in ${span(ms - now())}` : ''),
	until: (ms) => (ms > now() ? `until ${clock(ms)} · ${span(ms - now())} left` : `until ${clock(ms)}`),
};

function retell(node) {
	const ms = Number(node.dataset.at);
	const text = ms ? forms[node.dataset.form](ms) : '';
	if (node.textContent !== text) node.textContent = text;
}

/** tickAll brings every <time> up to date. */
export function tickAll() {
	for (const node of document.querySelectorAll('time[data-at]')) retell(node);
}
