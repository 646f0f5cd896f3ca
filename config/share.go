package config

import (
	"fmt"
	"hash/fnv"
	"strconv"
	"strings"
)

// ShareAuto is the share that follows the number of sidecars in front of the same
// servers.
const ShareAuto = "auto"

// Part is a sidecar's part of the workers of a server: one or more of so many. The
// zero value is all of them.
type Part struct {
	Mine, Of int

	// The sidecar's place among those that share the server, from 1 on; 0: not
	// known. It decides which of them get the workers that are left over by the
	// division.
	Place int
}

// Parts is what share auto has found out: the part of each server, by its address.
type Parts struct {
	ByServer map[string]Part
	Others   Part // of servers that are not listed
}

// ParseShare reads a share: "1/3". It is the zero value for "" and "auto".
func ParseShare(text string) (Part, error) {
	if text == "" || text == ShareAuto {
		return Part{}, nil
	}
	mine, of, ok := strings.Cut(text, "/")
	m, errMine := strconv.Atoi(mine)
	n, errOf := strconv.Atoi(of)
	if !ok || errMine != nil || errOf != nil || m < 1 || n < m || n > maxShares {
		return Part{}, fmt.Errorf("share is %q: write a part like 1/3, or auto, which needs a state that the sidecars share", text)
	}
	return Part{Mine: m, Of: n}, nil
}

// maxShares bounds how many sidecars can share a server.
const maxShares = 10_000

// Workers is the sidecar's part of so many workers of the server at an address. It
// is never 0 unless there are none.
func (p Part) Workers(workers int, address string) int {
	if p.Of == 0 || workers <= 0 {
		return workers
	}
	mine := workers * p.Mine / p.Of
	if p.Place > 0 {
		// Each sidecar comes to the same division. The address decides where to
		// begin, so that not the same sidecar gets what is left of every server.
		sum := fnv.New32a()
		_, _ = sum.Write([]byte(address))
		if (p.Place+int(sum.Sum32()%uint32(p.Of)))%p.Of < workers*p.Mine%p.Of { //nolint:gosec // 1 to maxShares
			mine++
		}
	}
	return max(1, mine)
}

// Part is the sidecar's part of the server at an address.
func (p *Policy) Part(address string) Part {
	if part, ok := p.Parts.ByServer[address]; ok {
		return part
	}
	return p.Parts.Others
}
