package flight

import (
	"io"
	"net/http"
	"runtime"
	"sync/atomic"
	"testing"
)

// plainBody is a request body as reverse_proxy hands it over: not made to be
// closed while it is read.
type plainBody struct {
	io.ReadCloser
	reading, closed, both atomic.Bool
}

func (b *plainBody) Read(p []byte) (int, error) {
	b.reading.Store(true)
	defer b.reading.Store(false)
	return b.ReadCloser.Read(p)
}

func (b *plainBody) Close() error {
	if b.reading.Load() {
		b.both.Store(true)
	}
	b.closed.Store(true)
	return b.ReadCloser.Close()
}

// TestUploadClosedWhileRead closes a request body while it is read, as the
// HTTP/2 transport does.
func TestUploadClosedWhileRead(t *testing.T) {
	client, sent := io.Pipe()
	f := new(Flight)
	f.body.src = client
	body := &plainBody{ReadCloser: client}
	u := (*tripUpload)(&Trip{f: f, upload: body})
	read := make(chan error)
	go func() {
		p := make([]byte, 2)
		_, err := u.Read(p)
		read <- err
		_, err = u.Read(p)
		read <- err
	}()
	if _, err := io.WriteString(sent, "ab"); err != nil {
		t.Fatal(err)
	}
	if err := <-read; err != nil {
		t.Fatal("reading what was sent:", err)
	}
	for !body.reading.Load() {
		runtime.Gosched()
	}
	if err := u.Close(); err != nil {
		t.Error("closing:", err)
	}
	if err := <-read; err == nil {
		t.Error("the read that went on ended without an error")
	}
	if body.both.Load() {
		t.Error("the body was closed while it was read")
	}
	if !body.closed.Load() {
		t.Error("the body was not closed when the read had ended")
	}
	if _, err := u.Read(make([]byte, 1)); err != http.ErrBodyReadAfterClose {
		t.Errorf("reading after the close: %v", err)
	}
}
