// Elements without HTML: whatever comes from requests, people or directories
// only ever becomes text or an attribute's value, never markup.

/** el makes an element. Props: class, text, on (listeners), data, aria-*, and
 * attributes; a value of false, null or undefined leaves an attribute out. */
export function el(tag, props = {}, ...children) {
	const node = document.createElement(tag);
	for (const [name, value] of Object.entries(props)) {
		if (name === 'on') {
			for (const [event, listener] of Object.entries(value)) node.addEventListener(event, listener);
		} else if (name === 'data') {
			Object.assign(node.dataset, value);
		} else if (name === 'text') {
			node.textContent = value;
		} else {
			attribute(node, name === 'class' ? 'class' : name, value);
		}
	}
	node.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== false));
	return node;
}

/** attribute sets an attribute, if it is not so already. */
export function attribute(node, name, value) {
	if (value === false || value === null || value === undefined) {
		if (node.hasAttribute(name)) node.removeAttribute(name);
		return;
	}
	const text = value === true ? '' : String(value);
	if (node.getAttribute(name) !== text) node.setAttribute(name, text);
}

/** say sets a node's text, if it is not so already. */
export function say(node, text) {
	if (node.textContent !== text) node.textContent = text;
}

/** show hides or shows a node. */
export function show(node, visible) {
	if (node.hidden === visible) node.hidden = !visible;
}

/** name is a store's or a zone's name: isolated, so that writing from right to
 * left in it does not turn what stands beside it. */
export function name(text, props = {}) {
	return el('bdi', { class: 'name', title: text, text, ...props });
}

const svg = 'http://www.w3.org/2000/svg';
const shapes = {
	open: 'M5 1h6l4 4v6l-4 4H5l-4-4V5zM5 8h6',
	half_open: 'M8 1l7 14H1zM8 6v4M8 12v1',
	troubled: 'M8 1l7 7-7 7-7-7zM8 5v4M8 10.5v1',
	calm: 'M8 1a7 7 0 110 14A7 7 0 018 1zM5 8l2.2 2.2L11 6',
	maintenance: 'M10 2a4 4 0 00-4 5.2L1.5 11.7l2.8 2.8L8.8 10A4 4 0 0014 5l-2.4 2.4-2.5-.6-.6-2.5L11.5 2.4z',
	held: 'M4 7V5a4 4 0 018 0v2M3 7h10v8H3z',
};

/** icon is a small drawing beside a word that says the same. */
export function icon(shape) {
	const node = document.createElementNS(svg, 'svg');
	node.setAttribute('viewBox', '0 0 16 16');
	node.setAttribute('class', 'icon');
	node.setAttribute('aria-hidden', 'true');
	const path = document.createElementNS(svg, 'path');
	path.setAttribute('d', shapes[shape]);
	node.append(path);
	return node;
}

/** setIcon changes what an icon draws. */
export function setIcon(node, shape) {
	attribute(node.firstChild, 'd', shapes[shape]);
}

/** reconcile makes parent's children those of items, keeping the nodes (and
 * the focus in them) of items that stay. make(item) returns an object with a
 * node and an update(item). */
export function reconcile(parent, items, key, make) {
	parent.kept ??= new Map();
	const nodes = [];
	const next = new Map();
	for (const item of items) {
		const k = key(item);
		if (next.has(k)) continue;
		const view = parent.kept.get(k) ?? make(item);
		view.update(item);
		next.set(k, view);
		nodes.push(view.node);
	}
	for (const [k, view] of parent.kept) {
		if (next.has(k)) continue;
		view.node.remove();
		view.gone?.();
	}
	parent.kept = next;
	arrange(parent, nodes);
}

// arrange puts nodes in order without moving the one that has the focus, which
// would lose it.
function arrange(parent, nodes) {
	const fixed = nodes.findIndex((node) => node.contains(document.activeElement) && node.parentNode === parent);
	let at = fixed < 0 ? null : nodes[fixed];
	for (let i = fixed - 1; i >= 0; i--) {
		if (nodes[i].nextSibling !== at || nodes[i].parentNode !== parent) parent.insertBefore(nodes[i], at);
		at = nodes[i];
	}
	at = fixed < 0 ? null : nodes[fixed];
	for (let i = fixed + 1; i < nodes.length; i++) {
		const place = at ? at.nextSibling : parent.firstChild;
		if (place !== nodes[i]) parent.insertBefore(nodes[i], place);
		at = nodes[i];
	}
}

/** table makes a table that scrolls within itself, and returns its body too. */
export function table(caption, heads) {
	const body = el('tbody');
	const node = el('div', { class: 'scroll', tabindex: '0', role: 'region', 'aria-label': `${caption}, table` },
		el('table', {}, el('caption', { class: 'hidden', text: caption }),
			el('thead', {}, el('tr', {}, heads.map((head) => el('th', { scope: 'col', text: head })))), body));
	return { node, body };
}

/** row makes a table row whose cells update by functions of the item. */
export function row(cells) {
	const tds = cells.map((cell) => el(cell.head ? 'th' : 'td', { scope: cell.head ? 'row' : null, class: cell.class }));
	const node = el('tr', {}, tds);
	const made = cells.map((cell, i) => {
		const content = cell.make?.() ?? null;
		if (content) tds[i].append(content);
		return content;
	});
	return {
		node,
		update(item) {
			cells.forEach((cell, i) => {
				if (cell.update) cell.update(made[i] ?? tds[i], item);
				else say(tds[i], cell.text(item));
			});
		},
	};
}
