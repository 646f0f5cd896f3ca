package bypass

import (
	"errors"
	"slices"

	"github.com/firebreak-proxy/firebreak/internal/directive"
)

// Parse reads "client_ip RANGES... header NAME SECRET", either part of which may be
// left out.
func Parse(args []string) (Bypass, error) {
	var b Bypass
	for len(args) > 0 {
		word := args[0]
		args = args[1:]
		switch word {
		case "client_ip":
			if len(b.ClientIP) > 0 {
				return b, errors.New("'client_ip' specified twice; put all ranges behind one")
			}
			end := slices.Index(args, "header")
			if end < 0 {
				end = len(args)
			}
			if b.ClientIP, args = args[:end], args[end:]; end == 0 {
				return b, errors.New("'client_ip' needs at least one range, for example 10.0.0.0/8")
			}
		case "header":
			if b.Header != "" {
				return b, errors.New("'header' specified twice; write a bypass of its own for each")
			}
			if len(args) < 2 {
				return b, errors.New("'header' needs a name and a secret; write for example: bypass header Proxy-Authorization {env.BYPASS_SECRET}")
			}
			b.Header, b.Secret, args = args[0], args[1], args[2:]
		default:
			return b, errors.New(directive.Unrecognized("word", word, []string{"client_ip", "header"}))
		}
	}
	return b, b.Check()
}
