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

// ask tries twice: a reload of Caddy may cut a connection.
async function ask(url, options) {
	try {
		return await fetch(url, options);
	} catch {
		await new Promise((done) => setTimeout(done, 500));
		return fetch(url, options);
	}
}

/** get reads a route. */
export async function get(route, query = {}) {
	const params = new URLSearchParams(Object.entries(query).filter(([, value]) => value !== '' && value !== undefined && value !== null));
	const url = params.size ? `${route}?${params}` : route;
	return answer(await ask(url, { cache: 'no-store' }));
}

/** send changes something. Doing it twice must be the same as doing it once;
 * if it is not, say so with once. */
export async function send(method, route, body, { once } = {}) {
	return answer(await (once ? fetch : ask)(route, {
		method,
		cache: 'no-store',
		headers: { 'Content-Type': 'application/json' },
		body: body === undefined ? undefined : JSON.stringify(body),
	}));
}

const kinds = ['hello', 'pool', 'tiles', 'order', 'servers', 'plots', 'points', 'zone', 'log', 'ping'];
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

	/** show asks anew: a page that has just come knows nothing yet. */
	show(query) {
		this.query = String(new URLSearchParams(query));
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
