package incidents_test

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/firebreak-proxy/firebreak/breaker"
	"github.com/firebreak-proxy/firebreak/incidents"
)

// asWriter makes this test a process that writes until it is killed.
const asWriter = "FIREBREAK_TEST_AS_WRITER"

func TestMain(m *testing.M) {
	if dir := os.Getenv(asWriter); dir != "" {
		if os.Getenv(asCut) != "" {
			writeAndBeCut(dir)
		}
		writeForEver(dir)
	}
	os.Exit(m.Run())
}

func writeForEver(dir string) {
	l := incidents.Open(incidents.Options{Dir: dir, Instance: "web1", Keep: 5})
	for n := 0; ; n++ {
		episode(l, fmt.Sprintf("z%d", n%7), time.Now().Add(time.Duration(n)*time.Second))
		l.Flush()
	}
}

// episode tells of a zone that was open for a minute.
func episode(l *incidents.Log, zone string, at time.Time) {
	calm := breaker.ZoneStatus{Zone: zone}
	l.Attach(incidents.Source{Zone: func(string) (breaker.ZoneStatus, bool) { return calm, true }})
	l.Tell(&breaker.Event{Kind: breaker.EventZoneTroubled, Zone: zone, At: at, Evidence: "2 requests have no answer for over 1s"})
	l.Tell(&breaker.Event{Kind: breaker.EventZoneOpened, From: breaker.Troubled, Zone: zone, At: at.Add(time.Second), For: 5 * time.Second, Evidence: "3 of 3 stores"})
	l.Tell(&breaker.Event{Kind: breaker.EventZoneClosed, Zone: zone, At: at.Add(61 * time.Second)})
	l.Tell(&breaker.Event{Kind: breaker.EventZoneCalm, Zone: zone, At: at.Add(70 * time.Second)})
}

func open(t *testing.T, dir string, keep int) *incidents.Log {
	t.Helper()
	l := incidents.Open(incidents.Options{Dir: dir, Instance: "web1", Keep: keep})
	t.Cleanup(func() { l.Close(); l.Wait() })
	return l
}

func list(t *testing.T, l *incidents.Log) []incidents.Incident {
	t.Helper()
	all, _, err := l.List(incidents.Query{})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// whole is every incident of a log with its lists.
func whole(t *testing.T, l *incidents.Log) (all []incidents.Incident) {
	t.Helper()
	for _, i := range list(t, l) {
		found, err := l.Get(i.ID)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, found)
	}
	return all
}

func TestKept(t *testing.T) {
	dir := t.TempDir()
	l := open(t, dir, 0)
	at := time.Now().Round(0)
	for n := range 3 {
		episode(l, fmt.Sprintf("z%d", n), at.Add(time.Duration(n)*time.Hour))
	}
	before := whole(t, l)
	l.Close()
	if len(before) != 3 || before[0].Zone != "z2" || before[0].DarkMinutes != 1 {
		t.Fatalf("before: %+v", before)
	}
	after := whole(t, open(t, dir, 0))
	if diff := cmp.Diff(before, after); diff != "" {
		t.Errorf("after a restart, -before +after:\n%s", diff)
	}
	if mode := permissions(t, filepath.Join(dir, "web1", before[0].ID+".json")); mode != 0o600 {
		t.Errorf("the record's mode is %o", mode)
	}
}

func permissions(t *testing.T, path string) os.FileMode {
	t.Helper()
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	return info.Mode().Perm()
}

// TestCrashAtEveryByte leaves a folder behind as a kill in the middle of each
// write does: the record of before is there, or the new one.
func TestCrashAtEveryByte(t *testing.T) {
	dir := t.TempDir()
	l := open(t, dir, 0)
	episode(l, "z1", time.Now().Add(-time.Hour))
	want := whole(t, l)
	l.Close()
	record := filepath.Join(dir, "web1", want[0].ID+".json")
	data, err := os.ReadFile(record)
	if err != nil {
		t.Fatal(err)
	}
	for n := 0; n <= len(data); n += 1 + len(data)/40 {
		for _, renamed := range []string{"", "20260702-124803-z7.json"} { // of a file that is there, and of a new one
			temporary := record + ".tmp"
			if renamed != "" {
				temporary = filepath.Join(dir, "web1", renamed+".tmp")
			}
			if err := os.WriteFile(temporary, data[:n], 0o600); err != nil {
				t.Fatal(err)
			}
			l := open(t, dir, 0)
			if diff := cmp.Diff(want, whole(t, l)); diff != "" {
				t.Fatalf("killed after %d of %d bytes:\n%s", n, len(data), diff)
			}
			l.Close()
			if _, err := os.Stat(temporary); err == nil {
				t.Fatal("what a killed writer left behind is still there")
			}
		}
	}
}

// TestKill kills a process again and again while it writes.
func TestKill(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	dir, most := t.TempDir(), 0
	for n := range 12 {
		cmd := exec.Command(self)
		cmd.Env = append(os.Environ(), asWriter+"="+dir)
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Duration(30+17*n) * time.Millisecond)
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		l := open(t, dir, 5)
		for _, i := range whole(t, l) {
			// One that was going on may have been kept before it came to an opening.
			if i.Interrupted == "" && (i.Openings != 1 || i.DarkMinutes != 1) || i.Openings > 1 || len(i.Timeline) == 0 {
				t.Fatalf("after kill %d: %+v", n, i)
			}
		}
		most = max(most, len(list(t, l)))
		l.Close()
		entries, err := os.ReadDir(filepath.Join(dir, "web1"))
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			if strings.HasSuffix(e.Name(), ".json") {
				var i incidents.Incident
				data, _ := os.ReadFile(filepath.Join(dir, "web1", e.Name()))
				if err := json.Unmarshal(data, &i); err != nil {
					t.Fatalf("after kill %d, %s: %v: %q", n, e.Name(), err, data)
				}
			}
		}
	}
	if most != 5 {
		t.Errorf("at most %d incidents were found, want 5: the test tests nothing", most)
	}
}

// TestCorrupt: what cannot be read is left alone and hides nothing else.
func TestCorrupt(t *testing.T) {
	dir := t.TempDir()
	l := open(t, dir, 0)
	episode(l, "z1", time.Now().Add(-time.Hour))
	want := whole(t, l)
	l.Close()
	folder := filepath.Join(dir, "web1")
	data, _ := os.ReadFile(filepath.Join(folder, want[0].ID+".json"))
	corrupt := map[string]string{
		"empty.json": "", "half.json": string(data[:len(data)/2]), "other.json": string(data), "number.json": "7", "null.json": "null",
		"zeros.json": strings.Repeat("\x00", 4096), "no-zone.json": `{"id":"no-zone","began":"2026-07-02T12:48:03Z"}`,
		"types.json": `{"id":7}`, "readme.txt": "hello",
	}
	for name, text := range corrupt {
		if err := os.WriteFile(filepath.Join(folder, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Mkdir(filepath.Join(folder, "folder.json"), 0o700); err != nil {
		t.Fatal(err)
	}
	// Books of a hostile or an older writer.
	odd := `{"id":"odd","zone":"z9","ongoing":true,"began":"2026-07-02T12:48:03Z","as_of":"2026-07-02T12:50:03Z","books":{"switches":{"zone/z9":{"mine":true}},"own":null,"open":{"zone":"2026-07-02T12:49:03Z","nonsense":"2026-07-02T12:49:03Z"}}}`
	if err := os.WriteFile(filepath.Join(folder, "odd.json"), []byte(odd), 0o600); err != nil {
		t.Fatal(err)
	}
	l = open(t, dir, 0)
	all := whole(t, l)
	if len(all) != 2 || all[0].ID != want[0].ID || all[1].ID != "odd" {
		t.Fatalf("found %+v", all)
	}
	for name, text := range corrupt {
		if now, err := os.ReadFile(filepath.Join(folder, name)); err != nil || string(now) != text {
			t.Errorf("%s was touched: %v", name, err)
		}
	}
	// It is damaged while firebreak runs: its figures are still there.
	if err := os.WriteFile(filepath.Join(folder, want[0].ID+".json"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if i, err := l.Get(want[0].ID); err != nil || i.DarkMinutes != 1 || !strings.Contains(i.Interrupted, "cannot be read") {
		t.Errorf("a record that was damaged: %v %+v", err, i)
	}
	for _, id := range []string{"", "..", "../web1/odd", "odd.json", "folder"} {
		if _, err := l.Get(id); err == nil {
			t.Errorf("there is an incident %q", id)
		}
	}
}

// TestKeep: the oldest go; those without an opening first if they are many.
func TestKeep(t *testing.T) {
	dir := t.TempDir()
	l := open(t, dir, 10)
	at := time.Now().Add(-100 * time.Hour)
	for n := range 8 {
		episode(l, "big", at.Add(time.Duration(n)*time.Hour))
	}
	for n := range 30 {
		hiccup(l, "small", at.Add(time.Duration(10+n)*time.Hour))
	}
	l.Flush()
	l.Close()
	l = open(t, dir, 10)
	zones := map[string]int{}
	for _, i := range list(t, l) {
		zones[i.Zone]++
	}
	if zones["big"] != 5 || zones["small"] != 5 {
		t.Errorf("kept: %v, want 5 of each", zones)
	}
	files, _ := filepath.Glob(filepath.Join(dir, "web1", "*.json"))
	if len(files) != 10 {
		t.Errorf("%d files, want 10", len(files))
	}
	l.Close()
	if n := len(list(t, open(t, dir, 3))); n != 3 {
		t.Errorf("%d kept with keep 3", n)
	}
}

func hiccup(l *incidents.Log, zone string, at time.Time) {
	l.Attach(incidents.Source{Zone: func(string) (breaker.ZoneStatus, bool) { return breaker.ZoneStatus{Zone: zone}, true }})
	l.Tell(&breaker.Event{Kind: breaker.EventZoneTroubled, Zone: zone, At: at, Evidence: "hung of store s1"})
	l.Tell(&breaker.Event{Kind: breaker.EventStoreQuarantined, Zone: zone, Store: "s1", At: at, Evidence: "2 requests hung"})
	l.Tell(&breaker.Event{Kind: breaker.EventStoreReleased, Zone: zone, Store: "s1", At: at.Add(time.Second)})
	l.Tell(&breaker.Event{Kind: breaker.EventZoneCalm, Zone: zone, At: at.Add(20 * time.Second)})
}

// TestFolderInUse: two processes with the same folder do not meet.
func TestFolderInUse(t *testing.T) {
	dir := t.TempDir()
	first, second := open(t, dir, 0), open(t, dir, 0)
	episode(first, "z1", time.Now())
	if n := len(list(t, first)); n != 1 {
		t.Fatalf("%d incidents", n)
	}
	episode(second, "z2", time.Now())
	first.Close()
	second.Close()
	for name, zone := range map[string]string{"web1": "z1", "web1~2": "z2"} {
		files, _ := filepath.Glob(filepath.Join(dir, name, "*.json"))
		other, _ := filepath.Glob(filepath.Join(dir, "web1*", "*-"+zone+".json"))
		if len(files)+len(other) != 2 {
			// Which of the two was first is not said.
			t.Logf("%s holds %v, %s is in %v", name, files, zone, other)
		}
		if len(files) != 1 {
			t.Errorf("%s holds %v", name, files)
		}
	}
	if n := len(list(t, open(t, dir, 0))); n != 1 {
		t.Errorf("a new process finds %d incidents in the first folder", n)
	}
}

// TestFailingDisk: a disk that takes nothing is told once, loses nothing that
// fits into memory, and delays no request.
func TestFailingDisk(t *testing.T) {
	if os.Getuid() == 0 {
		t.Log("as root: a file stands where the folder should be")
	}
	home := filepath.Join(t.TempDir(), "incidents")
	if err := os.WriteFile(home, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	var told []error
	var n atomic.Int32
	l := incidents.Open(incidents.Options{Dir: home, Instance: "web1", Problem: func(err error) {
		told = append(told, err)
		n.Add(1)
	}})
	defer l.Close()
	eventually(t, func() bool { return n.Load() == 1 && l.Problem() != nil })
	began := time.Now()
	for z := range 30 {
		episode(l, fmt.Sprintf("z%d", z), time.Now().Add(-time.Hour))
	}
	if took := time.Since(began); took > time.Second {
		t.Errorf("it took %s", took)
	}
	if all := list(t, l); len(all) != 30 {
		t.Errorf("%d in memory, want 30", len(all))
	}
	if counts := l.Counts(); counts.Failures == 0 || counts.Kept != 30 {
		t.Errorf("counts: %+v", counts)
	}
	if err := os.Remove(home); err != nil {
		t.Fatal(err)
	}
	l.Close() // tries once more
	if n.Load() != 2 || told[0] == nil || told[1] != nil {
		t.Errorf("told: %v", told)
	}
	if files, _ := filepath.Glob(filepath.Join(home, "web1", "*.json")); len(files) != 30 {
		t.Errorf("%d on disk", len(files))
	}
}

func eventually(t *testing.T, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("not within 10 s")
		}
	}
}

// TestManyOngoing: a thousand zones in trouble at once.
func TestManyOngoing(t *testing.T) {
	dir := t.TempDir()
	l := open(t, dir, 0)
	// Writing them all takes long; a disk that is gone does not.
	t.Cleanup(func() { os.RemoveAll(filepath.Join(dir, "web1")) })
	l.Attach(incidents.Source{Zone: func(name string) (breaker.ZoneStatus, bool) {
		return breaker.ZoneStatus{Zone: name, State: breaker.Open}, true
	}})
	at := time.Now()
	for n := range 1000 {
		l.Tell(&breaker.Event{Kind: breaker.EventZoneOpened, Zone: fmt.Sprintf("z%d", n), At: at, Evidence: "x"})
	}
	began := time.Now()
	l.Look()
	took := time.Since(began)
	t.Logf("looking at 1,000 ongoing incidents takes %s", took)
	if took > time.Second {
		t.Errorf("looking at 1,000 ongoing incidents took %s", took)
	}
	if all := list(t, l); len(all) != 1000 {
		t.Errorf("%d ongoing", len(all))
	}
}

// TestNames: hostile zone names do not leave the folder, and stay apart.
func TestNames(t *testing.T) {
	dir := t.TempDir()
	l := open(t, dir, 0)
	zones := []string{"../../etc/passwd", "a/b", "ab", "a.b", "", strings.Repeat("x", 128), "naïve", ".", "z\x00"}
	at := time.Now()
	for _, zone := range zones {
		if zone != "" {
			episode(l, zone, at)
		}
	}
	ids := []string{}
	for _, i := range whole(t, l) {
		ids = append(ids, i.ID)
		if strings.ContainsAny(i.ID, "/\\. \x00") {
			t.Errorf("zone %q: id %q", i.Zone, i.ID)
		}
	}
	slices.Sort(ids)
	if len(slices.Compact(ids)) != len(zones)-1 {
		t.Errorf("ids: %q", ids)
	}
	l.Close()
	if files, _ := filepath.Glob(filepath.Join(dir, "web1", "*.json")); len(files) != len(zones)-1 {
		t.Errorf("files: %q", files)
	}
}
