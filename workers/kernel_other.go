//go:build !linux

package workers

import (
	"context"
	"errors"
	"fmt"
)

// Read returns an error: this system's kernel cannot be asked.
func (k *Kernel) Read(context.Context) (Reading, error) {
	return Reading{}, fmt.Errorf("the kernel can be asked about listeners on Linux only: %w", errors.ErrUnsupported)
}
