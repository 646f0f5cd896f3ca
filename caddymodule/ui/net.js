// Talking to the admin endpoint: questions, changes, and the live feed.

/** api is where firebreak's routes begin, wherever this page was loaded from. */
export const api = new URL('../', location.href.split('#')[0]).pathname;

/** path puts a route together; names in it may hold anything. */
export function path(...parts) {
	return api + parts.map(encodeURIComponent).join('/');
}

/** Problem is an answer that says what is wrong. */
export class Problem extends Error {
	constructor(status, detail) {
		super(detail);
		this.status = status;
	}
}

async function answer(response) {
	const body = await response.json().catch(() => ({}));
	if (!response.ok) throw new Problem(response.status, body.detail || body.error || `the server answered ${response.status}`);
	return body;
}

/** get reads a route. A reload of Caddy may cut a connection, so it is tried
 * twice. */
export async function get(route, query = {}) {
	const params = new URLSearchParams(Object.entries(query).filter(([, value]) => value !== '' && value !== undefined && value !== null));
	const url = params.size ? `${route}?${params}` : route;
	let response;
	try {
		response = await fetch(url, { cache: 'no-store' });
	} catch {
		await new Promise((done) => setTimeout(done, 500));
		response = await fetch(url, { cache: 'no-store' });
	}
	return answer(response);
}

/** send changes something. */
export async function send(method, route, body) {
	return answer(await fetch(route, {
		method,
		cache: 'no-store',
		headers: { 'Content-Type': 'application/json' },
		body: body === undefined ? undefined : JSON.stringify(body),
	}));
}

const kinds = ['hello', 'pool', 'tiles', 'order', 'plots', 'points', 'zone', 'log', 'ping'];
const silence = 12000; // the server says something at least every five seconds
const waits = [300, 700, 1500, 3000, 5000];

/** Feed keeps a stream of server-sent events open. What comes in is handed on
 * once a frame, all of it together. */
export class Feed {
	constructor({ receive, connected, lost }) {
		Object.assign(this, { receive, connected, lost });
		this.query = '';
		this.queue = [];
		this.tries = 0;
		setInterval(() => this.#watch(), 1000);
		document.addEventListener('visibilitychange', () => {
			if (!document.hidden && !this.live) this.#open();
		});
	}

	/** show changes what is asked for. */
	show(query) {
		const text = String(new URLSearchParams(query));
		if (this.source && text === this.query) return;
		this.query = text;
		this.#open();
	}

	#open() {
		this.source?.close();
		clearTimeout(this.timer);
		this.queue = [];
		const source = new EventSource(`${api}ui/feed?${this.query}`);
		this.source = source;
		this.heard = Date.now();
		for (const kind of kinds) {
			source.addEventListener(kind, (event) => {
				if (source === this.source) this.#take(kind, event.data);
			});
		}
		source.onerror = () => {
			if (source === this.source) this.#fail();
		};
	}

	#take(kind, text) {
		this.heard = Date.now();
		if (kind === 'hello') {
			this.tries = 0;
			this.live = true;
			this.since = 0;
			this.connected();
		}
		if (this.queue.push([kind, text]) > 1) return;
		const flush = () => this.#flush();
		if (document.hidden) setTimeout(flush, 0);
		else requestAnimationFrame(flush);
	}

	#flush() {
		if (!this.queue.length) return;
		const batch = this.queue.map(([kind, text]) => [kind, JSON.parse(text)]);
		this.queue = [];
		this.receive(batch);
	}

	#fail() {
		this.source.close();
		this.live = false;
		this.since ||= Date.now();
		this.lost(this.since);
		clearTimeout(this.timer);
		this.timer = setTimeout(() => this.#open(), waits[Math.min(this.tries++, waits.length - 1)]);
	}

	#watch() {
		if (this.live && Date.now() - this.heard > silence) this.#fail();
	}
}
