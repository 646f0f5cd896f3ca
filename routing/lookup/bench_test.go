package lookup_test

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/firebreak-proxy/firebreak/routing/lookup"
)

// BenchmarkAsk asks for one of 50,000 stores that are known, on all
// cores.
func BenchmarkAsk(b *testing.B) {
	service := httptest.NewServer(http.HandlerFunc(shop))
	defer service.Close()
	d, err := lookup.Open(lookup.Options{URL: service.URL + "/{key}", MaxConcurrent: 64})
	if err != nil {
		b.Fatal(err)
	}
	keys := make([]string, 50_000)
	for i := range keys {
		keys[i] = fmt.Sprint("store-", i)
		if _, ok := d.Ask(b.Context(), keys[i]); !ok {
			b.Fatal("unknown store")
		}
	}
	b.ReportAllocs()
	b.ResetTimer()
	b.RunParallel(func(pb *testing.PB) {
		for i := rand.IntN(len(keys)); pb.Next(); i++ {
			if _, ok := d.Ask(b.Context(), keys[i%len(keys)]); !ok {
				b.Error("unknown store")
				return
			}
		}
	})
}
