package replay

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"runtime"
	"sync"
	"time"

	"github.com/firebreak-proxy/firebreak/config"
)

// ReadOptions says how to read a log.
type ReadOptions struct {
	// Resolve tells the store of a request whose line does not. Nil: such lines
	// are bad. It is called from several goroutines.
	Resolve Resolve

	// Since and Until leave out requests that began earlier or later. Zero: no
	// bound.
	Since, Until time.Time

	// MaxRequests is how many requests are read; one more is an error.
	// Default: 50 million, which take 3 GB of memory.
	MaxRequests int
}

const (
	defaultMaxRequests = 50_000_000
	maxBadLines        = 10
	maxLine            = 1 << 20
	batchBytes         = 256 << 10
)

// ErrTooLong is returned for a log with more requests than MaxRequests.
var ErrTooLong = errors.New("the log is too long")

// batch is some whole lines.
type batch struct {
	first  int // number of the first line
	text   []byte
	parsed chan []parsed
}

// Read reads a log of JSON lines, packed by gzip or not. A line that cannot be
// read is counted and does no harm; an error of r does. Lines are parsed in
// parallel and taken in order.
func Read(r io.Reader, opts ReadOptions) (*Log, error) {
	if opts.MaxRequests == 0 {
		opts.MaxRequests = defaultMaxRequests
	}
	in := bufio.NewReaderSize(r, batchBytes)
	if magic, _ := in.Peek(2); bytes.Equal(magic, []byte{0x1f, 0x8b}) {
		unpacked, err := gzip.NewReader(in)
		if err != nil {
			return nil, fmt.Errorf("unpacking the log: %w", err)
		}
		in = bufio.NewReaderSize(unpacked, batchBytes)
	}
	return readLines(in, opts)
}

func readLines(in *bufio.Reader, opts ReadOptions) (*Log, error) {
	parsers := runtime.GOMAXPROCS(0)
	work, inOrder := make(chan *batch), make(chan *batch, 2*parsers)
	stop := make(chan struct{})
	var all sync.WaitGroup
	for range parsers {
		all.Go(func() {
			for b := range work {
				b.parsed <- b.parse(opts.Resolve)
			}
		})
	}
	var readErr error
	all.Go(func() {
		defer close(work)
		defer close(inOrder)
		readErr = split(in, func(b *batch) bool {
			select {
			case <-stop:
				return false
			case inOrder <- b:
			}
			work <- b
			return true
		})
	})
	log := new(Log)
	err := log.collect(inOrder, opts)
	close(stop)
	for b := range inOrder {
		<-b.parsed
	}
	all.Wait()
	if err = errors.Join(err, readErr); err != nil {
		return nil, err
	}
	log.sort()
	return log, nil
}

// split cuts the text into batches of whole lines. What is beyond the length of
// any line is cut off.
func split(in *bufio.Reader, yield func(*batch) bool) error {
	b, number := &batch{first: 1, parsed: make(chan []parsed, 1)}, 1
	lineStart := 0
	for {
		piece, err := in.ReadSlice('\n')
		if room := maxLine - (len(b.text) - lineStart); len(piece) > room {
			piece = piece[:max(0, room)]
		}
		b.text = append(b.text, piece...)
		if errors.Is(err, bufio.ErrBufferFull) {
			continue
		}
		if n := len(b.text); err == nil && (n == 0 || b.text[n-1] != '\n') {
			b.text = append(b.text, '\n') // its end was cut off
		}
		number++
		lineStart = len(b.text)
		if err != nil || len(b.text) >= batchBytes {
			if len(b.text) > 0 && !yield(b) {
				return nil
			}
			b, lineStart = &batch{first: number, parsed: make(chan []parsed, 1)}, 0
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("reading the log near line %d: %w", number-1, err)
		}
	}
}

func (b *batch) parse(resolve Resolve) []parsed {
	lines := make([]parsed, 0, bytes.Count(b.text, []byte{'\n'})+1)
	for number := b.first; len(b.text) > 0; number++ {
		var text []byte
		text, b.text, _ = bytes.Cut(b.text, []byte{'\n'})
		lines = append(lines, parse(text, number, resolve))
	}
	return lines
}

// collect takes in the batches in order.
func (l *Log) collect(batches <-chan *batch, opts ReadOptions) error {
	since, until := int64(0), int64(1)<<62
	if !opts.Since.IsZero() {
		since = opts.Since.UnixNano()
	}
	if !opts.Until.IsZero() {
		until = opts.Until.UnixNano()
	}
	for b := range batches {
		for _, p := range <-b.parsed {
			l.Lines++
			l.count(&p)
			if p.kind != kindRequest || p.request.Begin < since || p.request.Begin >= until {
				continue
			}
			if len(l.Requests) == opts.MaxRequests {
				return fmt.Errorf("%w: more than %d requests; cut a part out of it with --since and --until", ErrTooLong, opts.MaxRequests)
			}
			p.request.Store = l.store(p.store)
			if p.store.Zone == config.UnknownZone {
				l.Unknown++
			}
			l.Requests = append(l.Requests, p.request)
		}
	}
	return nil
}

func (l *Log) count(p *parsed) {
	switch p.kind {
	case kindBad:
		l.Bad++
		if len(l.BadLines) < maxBadLines {
			l.BadLines = append(l.BadLines, fmt.Sprintf("line %d: %s", p.number, p.err))
		}
	case kindOther:
		l.Other++
	case kindStream:
		l.Streams++
	case kindBypassed:
		l.Bypassed++
	case kindRequest, kindEmpty:
	}
}
