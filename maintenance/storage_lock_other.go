//go:build !unix

package maintenance

import (
	"context"
	"errors"
)

const canLockFiles = false

func lockFile(context.Context, string) (func(), error) {
	return nil, errors.ErrUnsupported
}
