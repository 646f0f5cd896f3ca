package cli_test

import (
	"encoding/json"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const replayCaddyfile = `{
	firebreak {
		workers 64
		directory inline {
			zone z1 {
				stores a b c d
			}
			zone z2 {
				stores e f g h
			}
			zone z3 {
				stores i j k l
			}
		}
		zone * {
			timeout 2s
		}
	}
}
:8080 {
	firebreak {
		key header X-Key
		key query key
		key cookie key
	}
	reverse_proxy localhost:9000 {
		transport firebreak
	}
}
`

// replayLog is a minute of an API of three zones. From 20 s to 40 s z2 does not
// answer, and from 45 s to 50 s store a of z1 fails.
func replayLog() string {
	var lines []string
	stores := "abcdefghijkl"
	for i := range 600 {
		sent, took, status := float64(i)/10, 0.025, 200
		store := string(stores[i*7%12])
		switch {
		case store >= "e" && store <= "h" && sent >= 20 && sent < 40:
			took = min(40.025-sent, 15)
			if took == 15 {
				status = 499
			}
		case store == "a" && sent >= 45 && sent < 50:
			status = 500
		}
		where := fmt.Sprintf(`"uri":"/search?key=%s","headers":{}`, store)
		if i%2 == 0 {
			where = fmt.Sprintf(`"uri":"/search","headers":{"X-Key":["%s"]}`, store)
		}
		lines = append(lines, fmt.Sprintf(`{"ts":%.3f,"request":{"method":"GET","host":"api.example.com",%s},"duration":%.3f,"size":9,"status":%d}`,
			1768381200+math.Round((sent+took)*1000)/1000, where, took, status))
	}
	lines[3] = "half of a li"
	lines[5] = `{"ts":1768381200.1,"logger":"tls","msg":"cleaning"}`
	lines[7] = `{"ts":1768381200.8,"request":{"method":"GET","host":"api.example.com","uri":"/","headers":{"Cookie":["REDACTED"]}},"duration":0.1,"size":9,"status":200}`
	return strings.Join(lines, "\n")
}

// replayDir is a folder with a configuration and a log.
func replayDir(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range map[string]string{"Caddyfile": replayCaddyfile, "access.log": replayLog()} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func TestReplayGolden(t *testing.T) {
	dir := replayDir(t)
	for name, args := range map[string][]string{
		"replay":     {"replay", "access.log"},
		"replay_set": {"replay", "access.log", "--set", "zone.timeout=4s", "--set", "zone.z2.max_inflight=50%"},
	} {
		t.Run(name, func(t *testing.T) {
			r := runProgram(t, dir, "", args...)
			if r.code != 0 || r.err != "" {
				t.Fatalf("exit code %d, %s", r.code, r.err)
			}
			golden := filepath.Join("testdata", name+".txt")
			if *update {
				if err := os.WriteFile(golden, []byte(r.out), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if name == "replay" {
				inDocs(t, string(want))
			}
			if r.out != string(want) {
				t.Errorf("%v prints\n%s\nwant (or: go test ./cli -run Replay -update)\n%s", args, r.out, want)
			}
		})
	}
}

// inDocs checks that the page on replays shows what the command prints.
func inDocs(t *testing.T, text string) {
	t.Helper()
	page, err := os.ReadFile("../docs/replay.md")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(page), text) {
		t.Errorf("docs/replay.md does not show\n%s", text)
	}
}

func TestReplayJSON(t *testing.T) {
	dir := replayDir(t)
	r := runProgram(t, dir, replayLog(), "replay", "-", "--json", "--set", "zone.timeout=4s", "--since", "2026-01-14T09:00:10Z", "--until", "2026-01-14T09:00:30Z")
	if r.code != 0 {
		t.Fatalf("exit code %d, %s", r.code, r.err)
	}
	var v struct {
		Log  struct{ Requests, Bad, Unknown int }
		Runs []struct {
			Settings []string
			Report   struct {
				Total struct {
					IsolatedAfter *float64 `json:"isolated_after"`
					Openings      []struct{ Evidence string }
				}
			}
		}
	}
	if err := json.Unmarshal([]byte(r.out), &v); err != nil {
		t.Fatal(err)
	}
	if v.Log.Requests != 200 || v.Log.Bad != 1 || len(v.Runs) != 2 || len(v.Runs[1].Settings) != 1 {
		t.Fatalf("%+v", v)
	}
	now, with := v.Runs[0].Report.Total, v.Runs[1].Report.Total
	if now.IsolatedAfter == nil || with.IsolatedAfter == nil || *now.IsolatedAfter >= *with.IsolatedAfter {
		t.Errorf("isolated after %v, with a longer timeout after %v; want it later", now.IsolatedAfter, with.IsolatedAfter)
	}
}

func TestReplayErrors(t *testing.T) {
	dir := replayDir(t)
	for name, text := range map[string]string{
		"none.Caddyfile": ":80 {\n}\n", "wrong.Caddyfile": "{\n\tfirebreak {\n\t\tworkers 8\n\t\ttimeuot 1s\n\t}\n}\n", "empty.log": "\n", "bad.log": "rubbish\n",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct{ args, want string }{
		{"", "accepts 1 arg(s), received 0"},
		{"nowhere.log", "opening the log: open nowhere.log: no such file"},
		{"empty.log", "there are no requests in empty.log"},
		{"bad.log", "there are no requests in bad.log; 1 line could not be read, the first: line 1: it is no JSON object"},
		{"access.log --config nowhere", "reading the configuration: open nowhere: no such file"},
		{"access.log --config none.Caddyfile", "none.Caddyfile has no firebreak in it"},
		{"access.log --config wrong.Caddyfile", "wrong.Caddyfile:4"},
		{"access.log --set zone.timout=1s", "did you mean zone.timeout?"},
		{"access.log --set zone.z2.max_inflight=99", "with --set zone.z2.max_inflight=99: zone z2: max_inflight"},
		{"access.log --since yesterday", "--since \"yesterday\": write it like 2026-01-14T09:00:00Z"},
	} {
		r := runProgram(t, dir, "", append([]string{"replay"}, strings.Fields(c.args)...)...)
		if r.code != 1 || !strings.Contains(r.err, c.want) {
			t.Errorf("replay %s: exit code %d, %q; want 1 and %q", c.args, r.code, r.err, c.want)
		}
	}
}

// TestReplayServers: the pool is the workers of all servers that the configuration
// has, or as many as are set.
func TestReplayServers(t *testing.T) {
	dir := replayDir(t)
	perServer := strings.Replace(replayCaddyfile, "workers 64", "workers 2 per_server\n\t\tserver 127.0.0.1:9003 {\n\t\t\tworkers 3\n\t\t}", 1)
	for name, text := range map[string]string{
		"Caddyfile": strings.Replace(perServer, "reverse_proxy localhost:9000", "reverse_proxy 127.0.0.1:9001 127.0.0.1:9002 127.0.0.1:9003", 1),
		"whole":     strings.Replace(replayCaddyfile, "workers 64", "workers 7", 1),
		"dynamic":   strings.Replace(perServer, "reverse_proxy localhost:9000 {", "reverse_proxy {\n\t\tdynamic a api 9000", 1),
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	whole := runProgram(t, dir, "", "replay", "access.log", "--config", "whole")
	for _, args := range []string{"access.log", "access.log --config dynamic --set workers=7"} {
		r := runProgram(t, dir, "", append([]string{"replay"}, strings.Fields(args)...)...)
		title := strings.Split(r.out, "\n\n")
		if r.code != 0 || !strings.HasPrefix(whole.out, title[0]) || !strings.Contains(r.out, strings.Split(whole.out, "\nZONE")[1]) {
			t.Errorf("replay %s: exit code %d, %s%s; want as with one pool of 7: %s", args, r.code, r.err, r.out, whole.out)
		}
	}
	r := runProgram(t, dir, "", "replay", "access.log", "--config", "dynamic")
	if r.code != 1 || !strings.Contains(r.err, "--set workers=32") {
		t.Errorf("exit code %d, %s", r.code, r.err)
	}
}

// TestReplayIsOffline: a directory that is somewhere else is left alone, and
// lines that name their store need none.
func TestReplayIsOffline(t *testing.T) {
	dir := replayDir(t)
	config := "{\n\tfirebreak {\n\t\tworkers 8\n\t\tdirectory http http://127.0.0.1:1/{key}\n\t}\n}\n:8080 {\n\tfirebreak {\n\t\tkey query key\n\t}\n}\n"
	line := `{"ts":1768381200,"duration":0.1,"status":200,"firebreak_store":"a","firebreak_zone":"z1"}`
	for name, text := range map[string]string{"Caddyfile": config, "own.log": line + "\n"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	r := runProgram(t, dir, "", "replay", "own.log")
	if r.code != 0 || !strings.Contains(r.err, "Only lines that name their store and zone count: directory http asks") || !strings.Contains(r.out, "1 request of 1 store in 1 zone") {
		t.Errorf("exit code %d, %s%s", r.code, r.out, r.err)
	}
}

// TestReplayHelp: it has examples, and says what it cannot know; it takes no
// address. Its settings complete.
func TestReplayHelp(t *testing.T) {
	dir := t.TempDir()
	help := runProgram(t, dir, "", "replay", "--help")
	for _, want := range []string{"What a replay cannot know", "firebreak replay access.log.gz --config Caddyfile --set zone.timeout=1s", "--since"} {
		if !strings.Contains(help.out, want) {
			t.Errorf("no %q in the help:\n%s", want, help.out)
		}
	}
	if strings.Contains(help.out, "--address") {
		t.Error("it takes an address and makes no request")
	}
	words := runProgram(t, dir, "", "__complete", "replay", "access.log", "--set", "zone.ti")
	if !strings.Contains(words.out, "zone.timeout=") {
		t.Errorf("zone.ti completes to %q", words.out)
	}
}
