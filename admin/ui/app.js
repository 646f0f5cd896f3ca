// The dashboard: which page is shown, what comes in, and how it is connected.

import { attribute, el, say, show } from './dom.js';
import { clock, setClock, span, tickAll } from './format.js';
import { Feed, get, path } from './net.js';
import { addPoints, setPlots } from './plot.js';
import { announce } from './announce.js';
import { Overview } from './overview.js';
import { Zone } from './zone.js';
import { Store } from './store.js';
import { Switches } from './switches.js';
import { Recoveries } from './recoveries.js';
import { Incidents } from './incidents.js';
import { Incident } from './incident.js';
import { Fleet } from './fleet.js';

const main = document.getElementById('main');
const connection = document.getElementById('connection');
const lost = document.getElementById('lost');
const alarms = document.getElementById('alarms');
const has = { recoveries: false };

let page = null;
let pool = null;
let lostSince = 0;

// Pages.

const pages = { '': Overview, switches: Switches, recoveries: Recoveries, incidents: Incidents, fleet: Fleet };
const subjects = { zones: Zone, stores: Store, incidents: Incident };

function decode(text) {
	try {
		return decodeURIComponent(text);
	} catch {
		return text;
	}
}

function makePage() {
	const [route, search] = location.hash.replace(/^#\/?/, '').split('?');
	const [kind, subject] = route.split('/');
	const go = () => feed.show(page.query());
	if (subjects[kind] && subject) return new subjects[kind]({ subject: decode(subject), has, go });
	return new (pages[kind] ?? Overview)({ params: new URLSearchParams(search), go });
}

function route(first) {
	page?.end();
	page = makePage();
	main.replaceChildren(page.node);
	const current = location.hash.replace(/^#\/?/, '').split(/[/?]/)[0] || 'zones';
	for (const link of document.querySelectorAll('#nav a')) attribute(link, 'aria-current', link.dataset.page === current ? 'page' : null);
	feed.show(page.query());
	entitle();
	if (first) return;
	window.scrollTo(0, 0);
	page.node.querySelector('h1')?.focus({ preventScroll: true });
}

function entitle() {
	const ill = pool ? refusing(pool) : 0;
	const title = `${lostSince ? 'Disconnected · ' : ''}${ill ? `${ill} cut off · ` : ''}${page.title} · Firebreak`;
	if (document.title !== title) document.title = title;
	const colour = lostSince ? '777' : ill ? 'c4281a' : pool?.conditions.troubled || pool?.conditions.observed || pool?.servers_out ? 'd98b00' : '1d8a63';
	const drawing = ill ? `<path d='M5 1h6l4 4v6l-4 4H5l-4-4V5z' fill='%23${colour}'/>` : `<circle cx='8' cy='8' r='7' fill='%23${colour}'/>`;
	attribute(document.getElementById('icon'), 'href', `data:image/svg+xml,<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 16 16'>${drawing}</svg>`);
}

// What comes in.

const told = {
	zone_opened: (e) => `Zone ${e.zone} is cut off.`,
	zone_half_open: (e) => `Zone ${e.zone} is tried again.`,
	zone_calm: (e) => `Zone ${e.zone} is calm again.`,
	query_cancelled: (e) => `A query of store ${e.store} was cancelled in zone ${e.zone}.`,
	server_out: (e) => `Server ${e.server} is out of service.`,
	server_back: (e) => `Server ${e.server} is in service again.`,
	pool_suspect: () => 'The pool itself is suspect.',
	switch_set: (e) => `Maintenance is on: ${e.why}.`,
	switch_cleared: (e) => `Maintenance is off: ${e.why}.`,
	switch_expired: (e) => `Maintenance has ended: ${e.why}.`,
	recovery_done: (e) => `The recovery of ${e.zone || 'stores'} is done.`,
	recovery_paused: (e) => `The recovery of ${e.zone || 'stores'} is paused.`,
};

function receivePool(data) {
	pool = data;
	say(document.getElementById('instance'), data.instance ?? '');
	const count = (id, n, look) => {
		const node = document.getElementById(id);
		say(node, n ? String(n) : '');
		attribute(node, 'data-look', look);
	};
	const open = refusing(data);
	count('count-zones', open + (data.conditions.troubled ?? 0) + (data.conditions.observed ?? 0), open ? 'open' : 'troubled');
	count('count-switches', data.switches_on, 'maintenance');
	sayAlarms(data);
	entitle();
}

// refusing is how many zones refuse requests without a switch.
function refusing({ conditions: by }) {
	return (by.cut_off ?? 0) + (by.isolated ?? 0) + (by.coming_back ?? 0);
}

function sayAlarms(data) {
	const lines = [
		data.suspect && ['open', `The pool itself is suspect: ${data.suspect}. Look at the API server, its network and this host before any database.`],
		data.state_problem && ['troubled', `Switches cannot be changed: ${data.state_problem}. The last known ones stay in force.`],
		...(data.warnings ?? []).map((text) => ['troubled', `${text[0].toUpperCase()}${text.slice(1)}.`]),
		data.bugs && ['troubled', `Firebreak has met ${data.bugs} bugs of its own and goes on; please report what its log says.`],
	].filter(Boolean);
	const key = JSON.stringify(lines);
	if (alarms.dataset.said === key) return;
	alarms.dataset.said = key;
	alarms.replaceChildren(...lines.map(([look, text]) => el('p', { class: 'banner', role: 'alert', 'data-look': look, text })));
}

function receiveOne(kind, data) {
	switch (kind) {
	case 'hello': return setClock(data.now);
	case 'pool': receivePool(data); break;
	case 'plots': setPlots(data); break;
	case 'points': addPoints(data); break;
	case 'log':
		if (!data.whole) tellLog(data.events);
		break;
	default:
	}
	return page.receive(kind, data);
}

function tellLog(events) {
	for (const e of [...events].reverse()) {
		if (told[e.kind]) announce(told[e.kind](e));
	}
	if (events.some((e) => e.kind.startsWith('recovery_'))) countRecoveries();
}

// receive takes a batch. How long it takes is measured.
function receive(batch) {
	const start = performance.now();
	for (const [kind, data] of batch) receiveOne(kind, data);
	page.settle();
	queueMicrotask(() => {
		performance.measure('firebreak-update', { start, end: performance.now() });
		if (performance.getEntriesByType('measure').length > 1000) performance.clearMeasures();
	});
}

// How it is connected.

function connected() {
	if (lostSince) announce('Connected again.');
	lostSince = 0;
	attribute(connection, 'data-state', 'live');
	say(connection, 'Live');
	show(lost, false);
	document.body.classList.remove('stale');
	countRecoveries();
	if (page) entitle();
}

function disconnected(since) {
	if (!lostSince) announce('Disconnected. What is shown is old.');
	lostSince = since;
	attribute(connection, 'data-state', 'lost');
	document.body.classList.add('stale');
	sayLost();
	entitle();
}

function sayLost() {
	if (!lostSince) return;
	say(connection, 'Disconnected');
	say(lost, `Disconnected since ${clock(lostSince)} (${span(Date.now() - lostSince)}). What is shown is from then. Trying again…`);
	show(lost, true);
}

async function countRecoveries() {
	try {
		const { recoveries } = await get(path('recoveries'));
		const running = recoveries.filter((r) => r.state === 'running' || r.state === 'paused').length;
		has.recoveries = true;
		if (page?.recover) show(page.recover, true);
		say(document.getElementById('count-recoveries'), running ? String(running) : '');
	} catch (error) {
		if (error.status === 404) has.recoveries = false;
	}
}

const feed = new Feed({ receive, connected, lost: disconnected });

document.getElementById('find').addEventListener('submit', (event) => {
	event.preventDefault();
	const input = document.getElementById('find-store');
	const store = input.value.trim();
	if (store) location.hash = `#/stores/${encodeURIComponent(store)}`;
	input.value = '';
});
// The address after # says which page is shown, so the link cannot use it.
document.getElementById('skip').addEventListener('click', (event) => {
	event.preventDefault();
	main.focus();
});
window.addEventListener('hashchange', () => route(false));
setInterval(() => {
	if (document.hidden) return;
	tickAll();
	sayLost();
}, 1000);
route(true);
