package main

import (
	"bytes"
	"fmt"
	"html"
	"strings"
	"time"
)

// The measures of the picture, in pixels.
const (
	charWidth  = 8.5
	lineHeight = 19
	margin     = 16
	rows       = 26
)

const (
	typing = 35 * time.Millisecond // a key
	read   = 1600 * time.Millisecond
	rest   = 5 * time.Second // at the end, before it begins again
)

const style = `
text { font: 14px ui-monospace, "SF Mono", Menlo, Consolas, "DejaVu Sans Mono", monospace; fill: #d8dee6; white-space: pre }
.red { fill: #ff7b72 } .green { fill: #56d364 } .yellow { fill: #e3b341 } .bold { font-weight: bold }
.dim { fill: #8b949e } .prompt { fill: #79c0ff }
`

// frame is the picture from a moment on: the last rows of all that was printed.
type frame struct {
	from  time.Duration
	lines []string // as SVG
}

// render makes the recording: frames that follow each other by the style sheet alone,
// with the real waiting times. Where animation is not wanted it is the last of them.
func render(steps []step) []byte {
	frames, length := play(steps)
	width := columns*charWidth + 2*margin
	height := rows*lineHeight + 2*margin
	var out bytes.Buffer
	fmt.Fprintf(&out, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %g %d" width="%g" height="%d" role="img" aria-label="A terminal: a zone freezes, its store is refused at once, another zone is served, and the zone comes back">`+"\n", width, height, width, height)
	fmt.Fprintf(&out, "<style>%s%s</style>\n", style, animation(frames, length))
	fmt.Fprintf(&out, `<rect width="%g" height="%d" rx="8" fill="#0d1117"/>`+"\n", width, height)
	for i, f := range frames {
		fmt.Fprintf(&out, `<g id="f%d">`, i)
		for row, line := range f.lines {
			fmt.Fprintf(&out, `<text x="%d" y="%d" xml:space="preserve">%s</text>`, margin, margin+lineHeight*(row+1)-5, line)
		}
		out.WriteString("</g>\n")
	}
	out.WriteString("</svg>\n")
	return out.Bytes()
}

// play is what stands in the terminal, and from when on.
func play(steps []step) (frames []frame, length time.Duration) {
	var at time.Duration
	var screen []string
	show := func() {
		last := screen[max(0, len(screen)-rows):]
		frames = append(frames, frame{from: at, lines: append([]string(nil), last...)})
	}
	for _, s := range steps {
		words := strings.SplitAfter(s.command, " ")
		screen = append(screen, "")
		for i := range words {
			typed := strings.Join(words[:i+1], "")
			screen[len(screen)-1] = `<tspan class="prompt">$ </tspan>` + html.EscapeString(typed)
			show()
			at += typing * time.Duration(len(words[i]))
		}
		if s.comment != "" {
			screen[len(screen)-1] += `<tspan class="dim">  # ` + html.EscapeString(s.comment) + `</tspan>`
		}
		show()
		at += s.took
		for _, line := range s.lines {
			screen = append(screen, markup(line))
		}
		screen = append(screen, "")
		show()
		at += max(read, s.after)
	}
	return frames, at + rest
}

func markup(line []span) string {
	var out strings.Builder
	for _, s := range line {
		if s.class == "" {
			out.WriteString(html.EscapeString(s.text))
		} else {
			fmt.Fprintf(&out, `<tspan class="%s">%s</tspan>`, s.class, html.EscapeString(s.text))
		}
	}
	return out.String()
}

// animation shows one frame at a time.
func animation(frames []frame, length time.Duration) string {
	var out strings.Builder
	last := len(frames) - 1
	fmt.Fprintf(&out, "g { visibility: hidden } #f%d { visibility: visible }\n@media (prefers-reduced-motion: no-preference) {\n", last)
	fmt.Fprintf(&out, "g { animation: %dms infinite step-end }\n", length.Milliseconds())
	for i, f := range frames {
		from := 100 * float64(f.from) / float64(length)
		until := 100.0
		if i < last {
			until = 100 * float64(frames[i+1].from) / float64(length)
		}
		hidden := "hidden"
		if i == 0 {
			hidden = "visible"
		}
		fmt.Fprintf(&out, "#f%d { animation-name: k%d } @keyframes k%d { 0%% { visibility: %s } %.3f%% { visibility: visible } ", i, i, i, hidden, from)
		if i < last {
			fmt.Fprintf(&out, "%.3f%%, ", until)
			out.WriteString("100% { visibility: hidden } }\n")
		} else {
			out.WriteString("100% { visibility: visible } }\n")
		}
	}
	out.WriteString("}\n")
	return out.String()
}
