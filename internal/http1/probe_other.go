//go:build !unix

package http1

import "net"

const canProbe = false

type probe struct{}

func newProbe(net.Conn) *probe { return new(probe) }

func (*probe) able() bool   { return false }
func (*probe) silent() bool { return false }
