package http1

import (
	"compress/gzip"
	"io"
	"net/http"
	"strings"
)

// unzip undoes a compression that the client did not ask for, as a Transport does.
func unzip(res *http.Response) {
	if !strings.EqualFold(res.Header.Get("Content-Encoding"), "gzip") {
		return
	}
	res.Header.Del("Content-Encoding")
	res.Header.Del("Content-Length")
	res.ContentLength, res.Uncompressed = -1, true
	res.Body = &gunzip{ReadCloser: res.Body}
}

type gunzip struct {
	io.ReadCloser
	z   *gzip.Reader
	err error
}

func (g *gunzip) Read(p []byte) (int, error) {
	if g.z == nil && g.err == nil {
		g.z, g.err = gzip.NewReader(g.ReadCloser)
	}
	if g.err != nil {
		return 0, g.err
	}
	return g.z.Read(p)
}
