package scenario

import (
	"bufio"
	"compress/gzip"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/firebreak-proxy/firebreak/breaker"
	"github.com/firebreak-proxy/firebreak/replay/virtual"
)

// statusOf is what the plain proxy logs of each outcome.
var statusOf = map[breaker.Outcome]int{breaker.OK: 200, breaker.Failure: 500, breaker.Gone: 499, breaker.NoUpstream: 502}

// WriteLog plays the outage behind a plain proxy and writes its access log, in
// Caddy's format.
func (o *Outage) WriteLog(out io.Writer) error {
	var err error
	o.playPlain(o.demand(), func(r *request, now time.Duration, result virtual.Result) {
		level, size, headers := "info", 27, `{"Content-Type":["application/json"]}`
		if result.Outcome == breaker.Gone || result.Outcome == breaker.NoUpstream {
			size, headers = 0, `{"Server":["Caddy"]}`
		}
		if statusOf[result.Outcome] >= 500 {
			level = "error"
		}
		if err == nil {
			_, err = fmt.Fprintf(out, lineFormat, level, float64(Start.Add(now).UnixNano())/1e9, r.name.Store, result.Took.Seconds(), size, statusOf[result.Outcome], headers)
		}
	})
	return err
}

const lineFormat = `{"level":%q,"ts":%.6f,"logger":"http.log.access.log0","msg":"handled request",` +
	`"request":{"remote_ip":"10.0.0.1","remote_port":"40000","client_ip":"10.0.0.1","proto":"HTTP/1.1","method":"GET","host":"api.example.com","uri":"/search?key=%s&q=red+shoes","headers":{"User-Agent":["shop/1.0"],"Accept":["application/json"]}},` +
	`"bytes_read":0,"user_id":"","duration":%.6f,"size":%d,"status":%d,"resp_headers":%s}` + "\n"

// Caddyfile is the configuration of all scenarios, beside stores.csv.
const Caddyfile = `{
	admin off
	firebreak {
		workers 32
		directory file stores.csv
		zone * {
			timeout 2s
		}
	}
}

:8080 {
	firebreak {
		key query key
	}
	reverse_proxy localhost:9000 {
		transport firebreak
	}
}
`

// WriteStores writes the directory of all scenarios.
func WriteStores(out io.Writer) error {
	if _, err := fmt.Fprintln(out, "store,zone"); err != nil {
		return err
	}
	for zone := 1; zone <= zones; zone++ {
		for store := range storesPerZone {
			if _, err := fmt.Fprintf(out, "%s,%s\n", storeName(zone, store), zoneName(zone)); err != nil {
				return err
			}
		}
	}
	return nil
}

// WriteFiles writes the logs of the outages, packed, with the configuration and
// the directory they go with.
func WriteFiles(dir string, outages []*Outage) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	for _, o := range outages {
		err := writeFile(filepath.Join(dir, o.Name+".log.gz"), func(out io.Writer) error {
			packed := gzip.NewWriter(out)
			if err := o.WriteLog(packed); err != nil {
				return err
			}
			return packed.Close()
		})
		if err != nil {
			return err
		}
	}
	if err := writeFile(filepath.Join(dir, "stores.csv"), WriteStores); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, "Caddyfile"), []byte(Caddyfile), 0o600)
}

func writeFile(name string, write func(io.Writer) error) error {
	file, err := os.Create(name)
	if err != nil {
		return err
	}
	buffered := bufio.NewWriter(file)
	if err = write(buffered); err == nil {
		err = buffered.Flush()
	}
	if closeErr := file.Close(); err == nil {
		err = closeErr
	}
	return err
}
