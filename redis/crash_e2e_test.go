//go:build e2e

package redis_test

import (
	"bufio"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/certmagic"

	"github.com/firebreak-proxy/firebreak/maintenance"
	firebreakredis "github.com/firebreak-proxy/firebreak/redis"
)

// batchSize is how many stores the writer that is killed switches at once.
const batchSize = 5

// crashWriter, set in the environment, makes this test binary the writer.
const crashWriter = "FIREBREAK_TEST_WRITER"

// TestMain lets the test binary be the process that is killed.
func TestMain(m *testing.M) {
	if spec := os.Getenv(crashWriter); spec != "" {
		writeUntilKilled(spec)
	}
	os.Exit(m.Run())
}

// writeUntilKilled makes one change after another, and prints the number of
// each that was acknowledged. spec is the kind of backend, where it is, and the
// first number.
func writeUntilKilled(spec string) {
	parts := strings.Split(spec, "|")
	backend, err := openBackend(parts[0], parts[1])
	if err != nil {
		fmt.Println("error", err)
		os.Exit(1)
	}
	board := maintenance.New(maintenance.Options{Backend: backend, Timeout: 5 * time.Second})
	first, _ := strconv.Atoi(parts[2])
	for n := first; ; n++ {
		names := make([]string, batchSize)
		for i := range names {
			names[i] = fmt.Sprintf("%d-%d", n, i)
		}
		for {
			_, _, err := board.Change(context.Background(), maintenance.Author{}, on(names...))
			if err == nil {
				break
			}
			fmt.Println("retry", err)
			time.Sleep(20 * time.Millisecond)
		}
		fmt.Println("ack", n)
	}
}

func openBackend(kind, place string) (maintenance.Backend, error) {
	if kind == "redis" {
		return firebreakredis.New(firebreakredis.Options{Addresses: []string{place}, Prefix: "fb"})
	}
	return maintenance.NewStorage(&certmagic.FileStorage{Path: place}, "fb"), nil
}

// TestKilledWriters kills a writer with SIGKILL at random moments, for Redis
// now and then Redis itself too, during 1,000 acknowledged changes or more: each is
// there, wholly, and none is half there.
func TestKilledWriters(t *testing.T) {
	t.Parallel()
	t.Run("storage", func(t *testing.T) {
		killedWriters(t, "storage", t.TempDir(), func(int) {})
	})
	t.Run("redis", func(t *testing.T) {
		server := startRedis(t)
		killedWriters(t, "redis", server.address, func(round int) {
			if round%5 == 4 {
				server.kill()
				server.start()
			}
		})
	})
}

func killedWriters(t *testing.T, kind, place string, alsoKill func(round int)) {
	const wanted, kills = 1000, 20
	acknowledged, next, worst, rounds := make(map[int]bool), 0, time.Duration(0), 0
	for ; (len(acknowledged) < wanted || rounds < kills) && rounds < 200; rounds++ {
		began := time.Now()
		process := exec.Command(os.Args[0])
		process.Env = append(os.Environ(), fmt.Sprintf("%s=%s|%s|%d", crashWriter, kind, place, next))
		out, err := process.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := process.Start(); err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewScanner(out)
		kill := time.AfterFunc(200*time.Millisecond+time.Duration(rand.IntN(150_000))*time.Microsecond, func() {
			alsoKill(rounds)
			_ = process.Process.Kill()
		})
		first := true
		for lines.Scan() {
			word, rest, _ := strings.Cut(lines.Text(), " ")
			switch word {
			case "ack":
				n, _ := strconv.Atoi(rest)
				acknowledged[n] = true
				next = n + 1
				if first {
					worst, first = max(worst, time.Since(began)), false
				}
			case "error":
				t.Fatal(rest)
			}
		}
		kill.Stop()
		_ = process.Wait()
		next++ // that one may be there or not
	}
	backend, err := openBackend(kind, place)
	if err != nil {
		t.Fatal(err)
	}
	u, err := backend.Read(t.Context(), maintenance.Head{})
	if err != nil || len(u.Corrupt) > 0 {
		t.Fatalf("%v, corrupt %v", err, u.Corrupt)
	}
	there := make(map[int]int)
	for _, sw := range u.Set {
		n, _, _ := strings.Cut(sw.Name, "-")
		number, _ := strconv.Atoi(n)
		there[number]++
	}
	lost, half := 0, 0
	for n := range acknowledged {
		if there[n] == 0 {
			lost++
		}
	}
	for _, stores := range there {
		if stores != batchSize {
			half++
		}
	}
	t.Logf("%d kills, %d acknowledged, %d there, %d lost, %d half; a new process had its first change acknowledged after at most %s", rounds, len(acknowledged), len(there), lost, half, worst)
	if lost > 0 || half > 0 || rounds < kills || len(acknowledged) < wanted {
		t.Errorf("%d lost, %d half there, %d kills", lost, half, rounds)
	}
	if worst > 1500*time.Millisecond {
		t.Errorf("a writer waited %s after a kill", worst)
	}
}
