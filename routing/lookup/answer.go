package lookup

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"unicode/utf8"

	"github.com/firebreak-proxy/firebreak/routing"
)

const (
	// maxAnswer and maxPage bound what is read of an answer and of a page of
	// the list, in bytes.
	maxAnswer = 64 << 10
	maxPage   = 16 << 20

	// maxAnswerKeys is how many keys of one answer are kept.
	maxAnswerKeys = 100
)

// answer is what the service says of a store. Other fields are left to the
// service.
type answer struct {
	Store string   `json:"store"`
	Zone  string   `json:"zone"`
	Keys  []string `json:"keys"`
}

// page is one page of the list.
type page struct {
	Stores []answer `json:"stores"`
	Next   string   `json:"next"`
}

// errNotUsable is a well-formed answer that does not say where a store lives.
var errNotUsable = errors.New("the answer cannot be used")

func decodeAnswer(body []byte) (a answer, err error) {
	if err := decode(body, &a); err != nil {
		return answer{}, err
	}
	if err := routing.CheckRow(a.Store, a.Zone, a.Keys); err != nil {
		return answer{}, fmt.Errorf("%w: %w", errNotUsable, err)
	}
	return a, nil
}

func decode(body []byte, into any) error {
	if !utf8.Valid(body) {
		return errors.New("the answer is not valid UTF-8")
	}
	in := json.NewDecoder(bytes.NewReader(body))
	if err := in.Decode(into); err != nil {
		return fmt.Errorf("the answer is not the JSON object that is wanted: %w", err)
	}
	if _, err := in.Token(); !errors.Is(err, io.EOF) {
		return errors.New("the answer has more than one JSON object")
	}
	return nil
}
