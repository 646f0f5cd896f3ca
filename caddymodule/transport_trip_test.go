package caddymodule

import (
	"io"
	"net/http"
	"testing"
)

// plainBody is a request body as reverse_proxy hands it over: not made to be
// closed while it is read.
type plainBody struct {
	io.ReadCloser
	read   int
	closed bool
}

func (b *plainBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	b.read += n
	return n, err
}

func (b *plainBody) Close() error {
	b.closed = b.read >= 0
	return b.ReadCloser.Close()
}

// TestUploadClosedWhileRead closes a request body while it is read, as the
// HTTP/2 transport does. The race detector watches.
func TestUploadClosedWhileRead(t *testing.T) {
	client, sent := io.Pipe()
	f := new(flight)
	f.body.src = client
	body := &plainBody{ReadCloser: client}
	u := (*tripUpload)(&trip{f: f, upload: body})
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
	for !u.isReading() {
	}
	if err := u.Close(); err != nil {
		t.Error("closing:", err)
	}
	if err := <-read; err == nil {
		t.Error("the read that went on ended without an error")
	}
	if !body.closed {
		t.Error("the body was not closed when the read had ended")
	}
	if _, err := u.Read(make([]byte, 1)); err != http.ErrBodyReadAfterClose {
		t.Errorf("reading after the close: %v", err)
	}
}

func (u *tripUpload) isReading() bool {
	u.uploading.mu.Lock()
	defer u.uploading.mu.Unlock()
	return u.uploading.reading
}
