// Pages that ask a route when something has happened, and now and then.

import { el, say, show } from './dom.js';

/** Asking is the part that such pages share. */
export class Asking {
	constructor(title, every, lead) {
		this.title = title;
		this.heading = el('h1', { id: 'headline', tabindex: '-1', text: title });
		this.note = el('p', { class: 'muted', role: 'status', text: 'Loading…' });
		this.body = el('div');
		this.node = el('div', {}, this.heading, lead && el('p', { class: 'sub', text: lead }), this.note, this.body);
		// An answer may take longer than that, such as while the state backend hangs.
		this.timer = setInterval(() => document.hidden || this.asked || this.load(), every);
		queueMicrotask(() => this.load());
	}

	query() {
		return { count: 0 };
	}

	receive(kind, data) {
		if (kind === 'log' && !data.whole) this.load();
	}

	settle() { /* it asks by itself */ }

	/** tell shows a sentence instead of, or above, what is there. */
	tell(text) {
		say(this.note, text);
		show(this.note, Boolean(text));
	}

	async load() {
		if (this.ended) return;
		const asked = this.asked = Symbol('asked');
		try {
			const answer = await this.ask();
			if (asked === this.asked && !this.ended) this.show(answer);
		} catch (error) {
			if (asked !== this.asked || this.ended) return;
			this.tell(error.status === 404 ? this.missing ?? error.message : error.message);
			if (error.status === 404) this.body.replaceChildren();
		} finally {
			if (asked === this.asked) this.asked = null;
		}
	}

	end() {
		this.ended = true;
		clearInterval(this.timer);
	}
}
