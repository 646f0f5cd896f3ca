// Words, times and numbers.

/** conditions are how a zone may be: a word, the look it has, and what it means
 * for requests. */
export const conditions = {
	cut_off: { word: 'Cut off', is: 'cut off', look: 'open', means: 'its requests are refused' },
	isolated: { word: 'Isolated', is: 'isolated by hand', look: 'open', means: 'its requests are refused, because a person wants it so' },
	coming_back: { word: 'Coming back', is: 'coming back', look: 'half_open', means: 'one request at a time finds out whether it answers again' },
	troubled: { word: 'Trouble', is: 'in trouble', look: 'troubled', means: 'something is wrong, requests are let in' },
	observed: { word: 'Would be cut off', is: 'in trouble, in mode observe', look: 'troubled', means: 'its requests would be refused, but mode observe refuses nothing' },
	admitted: { word: 'Admitted', is: 'admitted by hand', look: 'held', means: 'its breaker does not open, because a person wants it so' },
	maintenance: { word: 'Maintenance', is: 'in maintenance', look: 'maintenance', means: 'its requests are refused by a switch' },
	calm: { word: 'Calm', is: 'calm', look: 'calm', means: 'nothing is wrong' },
};

/** servers are how an API server may be. */
export const servers = {
	in_service: { word: 'In service', look: 'calm' },
	in_doubt: { word: 'Avoided', look: 'troubled' },
	out_of_service: { word: 'Out of service', look: 'open' },
	away: { word: 'Away', look: 'open' },
	draining: { word: 'Draining', look: 'maintenance' },
	drained: { word: 'Drained', look: 'maintenance' },
};

/** storeStates are the words for stores. */
export const storeStates = { calm: 'Calm', open: 'Quarantine', half_open: 'Being tried' };

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

/** latency is the time to the first byte: half of the answers, and all but 1 in 100. */
export function latency({ p50_ms: p50, p99_ms: p99 }) {
	return p50 ? `p50 ${duration(p50)} · p99 ${duration(p99)}` : '';
}

function duration(ms) {
	return ms < 1000 ? `${ms < 10 ? ms.toFixed(1) : Math.round(ms)} ms` : `${(ms / 1000).toFixed(1)} s`;
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
