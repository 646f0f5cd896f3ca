// What a screen reader is told, a sentence at a time.

const said = document.getElementById('said');
const waiting = [];
let timer = 0;

/** announce says something soon, after what was said before. */
export function announce(text) {
	if (text === (waiting.at(-1) ?? said.textContent) && timer) return;
	if (waiting.length > 4) waiting.shift(); // a storm: only the latest matter
	waiting.push(text);
	if (!timer) next();
}

function next() {
	const text = waiting.shift();
	if (text === undefined) {
		timer = 0;
		return;
	}
	said.textContent = text;
	timer = setTimeout(next, 1500);
}
