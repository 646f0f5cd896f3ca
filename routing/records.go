package routing

import (
	"errors"
	"strings"
)

// chunks hold records, each in one piece. They are small so that building a
// table never copies much at once: the garbage collector cannot stop the world
// during a copy, and everybody would wait for it. A string that was handed out
// keeps one chunk in memory, not all.
type chunks []string

const (
	chunkBits = 16
	chunkSize = 1 << chunkBits
)

// place is the number of a chunk and an offset in it.
type place uint32

// firstRecord is the place after a byte 0, which is at place 0 in all chunks: a
// run without records, and never the place of a record.
const firstRecord place = 1

// from returns what stands at p, and all that follows in its chunk.
func (c chunks) from(p place) string { return c[p>>chunkBits][p%chunkSize:] }

// record says what a name stands for, a name being a store id or a key:
//
//	[ name length 1 | store length 1 | zone 3 | name | store id ]
//
// A store's own record has a store length of 0 and no store id.
type record struct {
	name, store string
	zone        uint32
}

const recordHead = 5

func (r record) isStore() bool { return r.name == r.store }

// size is the length of the record in bytes.
func (r record) size() int {
	if r.isStore() {
		return recordHead + len(r.name)
	}
	return recordHead + len(r.name) + len(r.store)
}

// cutRecord decodes the record at the start of text.
func cutRecord(text string) (rec record, rest string) {
	nameEnd := recordHead + int(text[0])
	end := nameEnd + int(text[1])
	rec = record{name: text[recordHead:nameEnd], zone: uint32(text[2]) | uint32(text[3])<<8 | uint32(text[4])<<16}
	rec.store = rec.name
	if end > nameEnd {
		rec.store = text[nameEnd:end]
	}
	return rec, text[end:]
}

// recordWriter fills chunks. Everything it writes stands in one piece.
type recordWriter struct {
	chunks
	last strings.Builder // what the last of chunks is a view of
}

func newRecordWriter() *recordWriter {
	w := &recordWriter{chunks: make(chunks, 1)}
	w.writeEnd()
	return w
}

var errTableFull = errors.New("the table is full: store ids and keys take more than 2 GiB")

// room returns the place where the next n bytes will stand, in a new chunk if
// the last one is full.
func (w *recordWriter) room(n int) place {
	if w.last.Len()+n > chunkSize {
		w.chunks = append(w.chunks, "")
		w.last.Reset()
		w.last.Grow(chunkSize)
	}
	return place((len(w.chunks)-1)<<chunkBits | w.last.Len())
}

// write writes a record and returns how it reads there.
func (w *recordWriter) write(rec record) record {
	from, storeLen := w.last.Len(), len(rec.store)
	if rec.isStore() {
		storeLen = 0
	}
	w.last.Write([]byte{byte(len(rec.name)), byte(storeLen), byte(rec.zone), byte(rec.zone >> 8), byte(rec.zone >> 16)})
	w.last.WriteString(rec.name)
	w.last.WriteString(rec.store[:storeLen])
	w.show()
	rec, _ = cutRecord(w.last.String()[from:])
	return rec
}

// writeEnd writes a byte 0, so that what stands before it ends there.
func (w *recordWriter) writeEnd() {
	w.last.WriteByte(0)
	w.show()
}

func (w *recordWriter) show() { w.chunks[len(w.chunks)-1] = w.last.String() }
