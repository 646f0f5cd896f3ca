package directive

import (
	"strings"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
)

// Block remembers where a block and its options stand, for errors that are found
// when all of it has been read.
type Block struct {
	at      *caddyfile.Dispenser
	options map[string]*caddyfile.Dispenser
}

// NewBlock is the block whose name the dispenser stands on.
func NewBlock(d *caddyfile.Dispenser) *Block {
	return &Block{at: Here(d), options: make(map[string]*caddyfile.Dispenser)}
}

// WrapErr adds the place to an error: the line of the option that the error names
// first, or that of the block if it names none that is given.
func (b *Block) WrapErr(err error) error {
	words := strings.FieldsFunc(err.Error(), func(r rune) bool { return r != '_' && (r < 'a' || r > 'z') })
	for _, word := range words {
		if at := b.options[word]; at != nil {
			return at.WrapErr(err)
		}
	}
	return b.at.WrapErr(err)
}

// Errf is an error about the block itself.
func (b *Block) Errf(format string, args ...any) error { return b.at.Errf(format, args...) }
