// The dialog that stands before every change: what will happen, and why.

import { el } from './dom.js';

const dialog = document.getElementById('dialog');

function remembered() {
	try {
		return localStorage.getItem('firebreak.by') ?? '';
	} catch {
		return '';
	}
}

function remember(by) {
	try {
		localStorage.setItem('firebreak.by', by);
	} catch { /* it is asked for again */ }
}

function field(label, input, hint) {
	input.id = `field-${input.name}`;
	return el('div', { class: 'field' }, el('label', { for: input.id, text: label }), input, hint && el('p', { class: 'hint', text: hint }));
}

function choice(name, options) {
	return el('select', { name }, options.map(([value, text]) => el('option', { value, text })));
}

const lengths = [['', 'until somebody ends it'], ['15m', '15 minutes'], ['30m', '30 minutes'], ['1h', '1 hour'], ['2h', '2 hours'], ['4h', '4 hours'], ['12h', '12 hours']];

function fields(ask) {
	const rows = [];
	const inputs = {};
	const add = (key, label, input, hint) => {
		inputs[key] = input;
		rows.push(field(label, input, hint));
	};
	add('reason', 'Reason', el('input', { name: 'reason', required: true, maxlength: '500', autocomplete: 'off' }), 'It is shown to your colleagues and kept in the history.');
	if (ask.to) add('to', 'To', el('input', { name: 'to', maxlength: '100', autocomplete: 'off' }), 'Who takes it over. Left out, it goes back to the list.');
	if (ask.length) add('for', 'For how long', choice('for', lengths));
	if (ask.mode) add('mode', 'What is refused', choice('mode', [['full', 'every request'], ['read_only', 'changes only; GET, HEAD and OPTIONS pass']]));
	if (ask.mode) add('stale', 'Answers from memory', choice('stale', [['', 'none'], ['true', 'where there is one, instead of a refusal']]));
	if (ask.message) add('message', 'Message to clients', el('input', { name: 'message', maxlength: '500', autocomplete: 'off' }), 'Optional. Anyone whose request is refused can read it.');
	add('by', 'Your name', el('input', { name: 'by', maxlength: '100', autocomplete: 'name', value: remembered() }));
	return { rows, inputs };
}

function valuesOf(inputs) {
	const values = {};
	for (const [key, input] of Object.entries(inputs)) {
		if (input.value.trim()) values[key] = input.value.trim();
	}
	return values;
}

/**
 * confirm asks before something is changed.
 *
 * title, subject, after: what is asked, the zone or store it is about between
 * the words. will: lines
 * that say what will happen. ask: which fields there are beside reason and
 * name. button: the word on the button. danger: it takes something away from
 * clients. preview(values): what the server says would happen. run(values):
 * does it. done(answer): what to tell when it is done.
 */
export function confirm({ title, subject, after = '', will, ask = {}, button, danger, preview, run, done }) {
	const { rows, inputs } = fields(ask);
	const facts = el('ul', { class: 'will' }, will.filter(Boolean).map((line) => el('li', {}, line)));
	const problem = el('p', { class: 'problem', role: 'alert', hidden: true });
	const go = el('button', { type: 'submit', class: danger ? 'danger' : 'primary', text: button });
	const form = el('form', { novalidate: true },
		el('h2', { id: 'dialog-title' }, title, subject ? ' ' : '', subject && el('bdi', { class: 'name', text: subject }), after, '?'),
		el('h3', { text: 'What will happen' }), facts, rows, problem,
		el('div', { class: 'buttons' },
			el('button', { type: 'button', text: 'Cancel', on: { click: () => dialog.close() } }), go));
	const wrong = (text) => {
		problem.textContent = text;
		problem.hidden = !text;
	};
	form.addEventListener('submit', async (event) => {
		event.preventDefault();
		const values = valuesOf(inputs);
		if (!values.reason) {
			wrong('Please give a reason.');
			inputs.reason.setAttribute('aria-invalid', 'true');
			inputs.reason.focus();
			return;
		}
		inputs.reason.removeAttribute('aria-invalid');
		remember(values.by ?? '');
		go.disabled = true;
		wrong('');
		try {
			const answer = await run(values);
			dialog.close();
			done?.(answer);
		} catch (error) {
			wrong(error.message);
		} finally {
			go.disabled = false;
		}
	});
	dialog.replaceChildren(form);
	if (preview) foresee(facts, preview);
	dialog.showModal();
	inputs.reason.focus();
}

// foresee adds what the server says would happen.
async function foresee(facts, preview) {
	const line = el('li', { class: 'muted', text: 'Asking the server…' });
	facts.append(line);
	try {
		line.replaceChildren(await preview());
		line.className = '';
	} catch (error) {
		line.textContent = error.message;
		line.className = 'bad';
	}
}

dialog.addEventListener('click', (event) => {
	if (event.target === dialog) dialog.close(); // beside it
});
