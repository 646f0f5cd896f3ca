//go:build e2e

package e2e_test

import (
	"fmt"
	"net"
	"sync"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"
)

// names is a DNS server that knows one name.
type names struct {
	addr string

	mu        sync.Mutex // guards below
	addresses []string
}

// nameServer starts a DNS server, which answers each question for addresses with
// those that were set.
func nameServer(t *testing.T) *names {
	t.Helper()
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	n := &names{addr: conn.LocalAddr().String()}
	var serving sync.WaitGroup
	serving.Go(func() {
		question := make([]byte, 512)
		for {
			size, client, err := conn.ReadFrom(question)
			if err != nil {
				return
			}
			if answer, err := n.answer(question[:size]); err == nil {
				_, _ = conn.WriteTo(answer, client)
			}
		}
	})
	t.Cleanup(func() { conn.Close(); serving.Wait() })
	return n
}

// set makes the name that of some servers.
func (n *names) set(servers []*pool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.addresses = nil
	for _, p := range servers {
		host, _, _ := net.SplitHostPort(p.addr)
		n.addresses = append(n.addresses, host)
	}
}

func (n *names) answer(question []byte) ([]byte, error) {
	var m dnsmessage.Message
	if err := m.Unpack(question); err != nil {
		return nil, err
	}
	m.Response, m.Authoritative, m.Additionals = true, true, nil
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, q := range m.Questions {
		if q.Type != dnsmessage.TypeA {
			continue
		}
		for _, address := range n.addresses {
			m.Answers = append(m.Answers, dnsmessage.Resource{
				Header: dnsmessage.ResourceHeader{Name: q.Name, Class: dnsmessage.ClassINET},
				Body:   &dnsmessage.AResource{A: [4]byte(net.ParseIP(address).To4())},
			})
		}
	}
	return m.Pack()
}

// playScale: four API servers become six and then three, under load. They are found
// by their name.
func playScale(t *testing.T, r *row) {
	r.add(t)
	r.add(t)
	dns := nameServer(t)
	dns.set(r.servers[:4])
	_, port, _ := net.SplitHostPort(dns.addr)
	p := startProxy(t, site{pool: serversOf, each: true, handlers: guard + fmt.Sprintf(`
	reverse_proxy {
		dynamic a api.test %s {
			resolvers 127.0.0.1:%s
			refresh 200ms
			versions ipv4
		}
		transport firebreak
		lb_policy firebreak
	}`, r.port, port)})
	warm(t, p, "/search")
	tr := drive(t, everyday(p, "/search", 12*time.Second))
	tr.sleepUntil(3 * time.Second)
	var took []time.Duration
	for _, servers := range [][]*pool{r.servers, r.servers[3:]} {
		began, want := time.Now(), serversOf*len(servers)
		dns.set(servers)
		eventually(t, 10*time.Second, fmt.Sprintf("the pool has %d workers", want), func() bool {
			return p.status(t).Workers == want
		})
		took = append(took, time.Since(began).Round(time.Millisecond))
		time.Sleep(3 * time.Second)
	}
	rs := tr.wait(t)
	figure(t, "4 servers become 6 and then 3: %d lost of %d; the capacity was right after %v", lost(rs), len(rs), took)
	promise(t, lost(rs) == 0, lost(rs) <= 2, "%d requests are lost: %s", lost(rs), bad(rs))
	for _, d := range took {
		promise(t, d <= time.Second, d <= 3*time.Second, "the capacity was right after %s", d)
	}
}
