package routing

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strings"
)

// maxLine is the longest line of a file, in bytes.
const maxLine = 1 << 20

// lineParser enters one line of a file in a table.
type lineParser interface {
	// line handles line number n, without its line end.
	line(b *builder, n uint32, text []byte) error
	// done reports what is wrong with the file as a whole.
	done() error
}

// load reads a table from CSV or NDJSON. Path decides the format by its
// extension and names the file in errors.
func load(path string, r io.Reader) (*Table, error) {
	in := bufio.NewReaderSize(r, 256<<10)
	if bom, _ := in.Peek(3); string(bom) == "\uFEFF" {
		_, _ = in.Discard(len(bom))
	}
	parser, err := parserFor(path, in)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	b := newBuilder()
	bad := &LoadError{Path: path}
	if err := eachLine(in, func(n int, text []byte, err error) {
		if err == nil {
			err = parser.line(b, uint32(n), text)
		}
		if err != nil {
			bad.add(n, err)
		}
	}); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	if err := bad.asError(); err != nil {
		return nil, err
	}
	if err := parser.done(); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	if b.stores == 0 {
		return nil, fmt.Errorf("%s: the file names no store", path)
	}
	return b.table(), nil
}

// parserFor tells the format by the file's extension, or else by its first
// character that is not white space.
func parserFor(path string, in *bufio.Reader) (lineParser, error) {
	switch strings.ToLower(filepath.Ext(path)) {
	case ".csv":
		return &csvParser{}, nil
	case ".ndjson", ".jsonl":
		return ndjsonParser{}, nil
	}
	start, err := in.Peek(512)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	if start = bytes.TrimLeft(start, " \t\r\n"); len(start) > 0 && start[0] == '{' {
		return ndjsonParser{}, nil
	}
	return &csvParser{}, nil
}

var errLineTooLong = fmt.Errorf("line is longer than %d bytes", maxLine)

// eachLine calls do with every line that is not blank. Text is good until do
// returns.
func eachLine(in *bufio.Reader, do func(n int, text []byte, err error)) error {
	var long []byte // a line that does not fit into the buffer of in
	for n, over := 1, false; ; {
		part, err := in.ReadSlice('\n')
		if errors.Is(err, bufio.ErrBufferFull) {
			if over = over || len(long)+len(part) > maxLine; !over {
				long = append(long, part...)
			}
			continue
		}
		if err != nil && !errors.Is(err, io.EOF) {
			return err
		}
		text := part
		if len(long) > 0 {
			long = append(long, part...)
			text = long
		}
		switch text = bytes.TrimSuffix(bytes.TrimSuffix(text, []byte("\n")), []byte("\r")); {
		case over || len(text) > maxLine:
			do(n, nil, errLineTooLong)
		case len(bytes.TrimSpace(text)) > 0:
			do(n, text, nil)
		}
		if err != nil {
			return nil //nolint:nilerr // io.EOF, the end
		}
		n, over, long = n+1, false, long[:0]
	}
}
