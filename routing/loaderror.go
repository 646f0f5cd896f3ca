package routing

import (
	"fmt"
	"strings"
)

// maxLineErrors is how many bad lines are told in full; the rest is counted.
const maxLineErrors = 20

// LineError is one bad line of a file.
type LineError struct {
	Line int // from 1
	Err  error
}

// LoadError tells why a file was refused: every bad line, up to 20.
type LoadError struct {
	Path  string
	Lines []LineError
	More  int // bad lines beyond those in Lines
}

// Error returns one "path:line: what is wrong" per bad line.
func (e *LoadError) Error() string {
	var s strings.Builder
	for i, line := range e.Lines {
		if i > 0 {
			s.WriteByte('\n')
		}
		fmt.Fprintf(&s, "%s:%d: %v", e.Path, line.Line, line.Err)
	}
	if e.More > 0 {
		fmt.Fprintf(&s, "\nand %d more", e.More)
	}
	return s.String()
}

func (e *LoadError) add(line int, err error) {
	if len(e.Lines) == maxLineErrors {
		e.More++
		return
	}
	e.Lines = append(e.Lines, LineError{Line: line, Err: err})
}

// asError is nil if no line is bad.
func (e *LoadError) asError() error {
	if len(e.Lines) == 0 {
		return nil
	}
	return e
}
