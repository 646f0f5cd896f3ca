package workers

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net/textproto"
	"strings"
)

// Types of FastCGI records, and the role of a server that answers requests.
const (
	fcgiBegin, fcgiEnd, fcgiParams    = 1, 3, 4
	fcgiStdin, fcgiStdout, fcgiStderr = 5, 6, 7
	fcgiVersion, fcgiResponder        = 1, 1
)

// fastCGI gets a page from a FastCGI server.
func fastCGI(ctx context.Context, address, path, query string) ([]byte, error) {
	conn, err := dial(ctx, address)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	if _, err := conn.Write(fastCGIRequest(path, query)); err != nil {
		return nil, err
	}
	out, err := fastCGIOutput(bufio.NewReader(conn))
	if err != nil {
		return nil, err
	}
	return fastCGIBody(out)
}

func fastCGIRequest(path, query string) []byte {
	var params []byte
	for _, p := range [][2]string{
		{"REQUEST_METHOD", "GET"},
		{"SCRIPT_NAME", path},
		{"SCRIPT_FILENAME", path},
		{"REQUEST_URI", path + "?" + query},
		{"QUERY_STRING", query},
		{"GATEWAY_INTERFACE", "CGI/1.1"},
		{"SERVER_PROTOCOL", "HTTP/1.1"},
		{"SERVER_SOFTWARE", "firebreak"},
		{"REMOTE_ADDR", "127.0.0.1"},
	} {
		for _, text := range p {
			params = binary.BigEndian.AppendUint32(params, 1<<31|uint32(len(text)))
		}
		params = append(append(params, p[0]...), p[1]...)
	}
	request := fastCGIRecord(nil, fcgiBegin, []byte{0, fcgiResponder, 0, 0, 0, 0, 0, 0})
	request = fastCGIRecord(request, fcgiParams, params)
	request = fastCGIRecord(request, fcgiParams, nil)
	return fastCGIRecord(request, fcgiStdin, nil)
}

// fastCGIRecord appends a record of request 1.
func fastCGIRecord(to []byte, kind byte, content []byte) []byte {
	to = append(to, fcgiVersion, kind, 0, 1)
	to = binary.BigEndian.AppendUint16(to, uint16(len(content)))
	return append(append(to, 0, 0), content...)
}

// fastCGIOutput reads records up to the end of the request and returns what the
// application has written.
func fastCGIOutput(r io.Reader) ([]byte, error) {
	var out, complaints bytes.Buffer
	for {
		var header [8]byte
		if _, err := io.ReadFull(r, header[:]); err != nil {
			return nil, fmt.Errorf("its FastCGI answer broke off: %w", err)
		}
		if header[0] != fcgiVersion {
			return nil, fmt.Errorf("it does not speak FastCGI: its answer begins with %q", header[:])
		}
		content := make([]byte, int(binary.BigEndian.Uint16(header[4:]))+int(header[6]))
		if _, err := io.ReadFull(r, content); err != nil {
			return nil, fmt.Errorf("its FastCGI answer broke off: %w", err)
		}
		content = content[:len(content)-int(header[6])]
		switch header[1] {
		case fcgiStdout:
			out.Write(content)
		case fcgiStderr:
			complaints.Write(content)
		case fcgiEnd:
			if out.Len() == 0 {
				return nil, fmt.Errorf("its answer is empty: %s", beginning(complaints.Bytes()))
			}
			return out.Bytes(), nil
		}
		if out.Len()+complaints.Len() > maxPage {
			return nil, fmt.Errorf("it is longer than %d MB", maxPage>>20)
		}
	}
}

// fastCGIBody takes the headers off and looks at the status.
func fastCGIBody(out []byte) ([]byte, error) {
	r := bufio.NewReader(bytes.NewReader(out))
	header, err := textproto.NewReader(r).ReadMIMEHeader()
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("its answer has no headers: %w: %s", err, beginning(out))
	}
	body, err := io.ReadAll(r)
	if err != nil {
		return nil, err
	}
	if status := header.Get("Status"); status != "" && !strings.HasPrefix(status, "200") {
		return nil, fmt.Errorf("it answered %s: %s", status, beginning(body))
	}
	return body, nil
}
