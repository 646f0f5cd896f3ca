package main

import (
	"bufio"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/firebreak-proxy/firebreak/examples/outage/api"
)

// openTestStage starts real processes: three zones and an API server with eight
// workers. No proxy: clients talk to the API server itself.
func openTestStage(t *testing.T) *stage {
	t.Helper()
	at, err := freeAddresses()
	if err != nil {
		t.Fatal(err)
	}
	at.proxy = at.api
	s, err := openStage(size{zones: 3, workers: 8}, at)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

func (s *stage) poolState(t *testing.T) api.State {
	t.Helper()
	var state api.State
	if err := getJSON(controlClient, "http://"+s.pool+"/pool", &state); err != nil {
		t.Fatal(err)
	}
	return state
}

// search returns the status of a request for a store, 0 if there was no answer
// within d.
func (s *stage) search(store string, d time.Duration) int {
	client := http.Client{Timeout: d}
	resp, err := client.Get("http://" + s.api + "/search?key=" + store)
	if err != nil {
		return 0
	}
	resp.Body.Close()
	return resp.StatusCode
}

func eventually(t *testing.T, what string, is func() bool) {
	t.Helper()
	for range 500 {
		if is() {
			return
		}
		time.Sleep(20 * time.Millisecond)
	}
	t.Fatalf("never seen: %s", what)
}

const (
	patience = 10 * time.Second
	moment   = 300 * time.Millisecond
)

func TestAFrozenZoneKeepsTheWorkerOfAClientThatLeft(t *testing.T) {
	s := openTestStage(t)
	if got := s.search("s0101", patience); got != 200 {
		t.Fatalf("want 200 from a zone that is well, got %d", got)
	}
	if err := s.freeze("z2"); err != nil {
		t.Fatal(err)
	}
	if got := s.search("s0101", moment); got != 0 {
		t.Fatalf("want no answer from a frozen zone, got %d", got)
	}
	time.Sleep(moment) // the client has hung up; only the worker does not know
	if got := s.poolState(t); got.BusyByZone["z2"] != 1 {
		t.Errorf("want one worker stuck in z2, got %+v", got)
	}
	if got := s.search("s0001", patience); got != 200 {
		t.Errorf("want another zone to answer, got %d", got)
	}
	if err := s.heal("z2"); err != nil {
		t.Fatal(err)
	}
	eventually(t, "an idle pool", func() bool { return s.poolState(t).Busy == 0 })
	if got := s.search("s0101", patience); got != 200 {
		t.Errorf("want 200 after the heal, got %d", got)
	}
}

func TestHungStoresLeaveTheOthersAlone(t *testing.T) {
	s := openTestStage(t)
	if err := s.hang("z2", []string{"s0101", "s0102"}); err != nil {
		t.Fatal(err)
	}
	late := make(chan int)
	go func() { late <- s.search("s0101", time.Minute) }()
	if got := s.search("s0102", moment); got != 0 {
		t.Errorf("want no answer for a hung store, got %d", got)
	}
	if got := s.search("s0103", patience); got != 200 {
		t.Errorf("want the rest of the zone to answer, got %d", got)
	}
	if err := s.heal("z2"); err != nil {
		t.Fatal(err)
	}
	if got := <-late; got != 200 {
		t.Errorf("want the request that hung answered after the heal, got %d", got)
	}
}

func TestARefusingZoneIsAnsweredWith500(t *testing.T) {
	s := openTestStage(t)
	if err := s.refuse("z2"); err != nil {
		t.Fatal(err)
	}
	if got := s.search("s0101", patience); got != 500 {
		t.Errorf("want 500, got %d", got)
	}
	if err := s.heal("z2"); err != nil {
		t.Fatal(err)
	}
	if got := s.search("s0101", patience); got != 200 {
		t.Errorf("want 200 after the heal, got %d", got)
	}
}

func TestTheAPIServerComesBackOnItsPort(t *testing.T) {
	s := openTestStage(t)
	s.killAPI()
	if got := s.search("s0001", patience); got != 0 {
		t.Errorf("want no answer from a killed server, got %d", got)
	}
	if err := s.startAPI(); err != nil {
		t.Fatal(err)
	}
	if got := s.search("s0001", patience); got != 200 {
		t.Errorf("want 200 after the restart, got %d", got)
	}
}

func TestControlPort(t *testing.T) {
	s := openTestStage(t)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	go http.Serve(listener, s.control())
	control := listener.Addr().String()
	for _, args := range [][]string{
		{"freeze", "z1"}, {"heal", "z1"}, {"hang", "z1", "2"}, {"slow", "z2", "1ms"}, {"refuse", "z3"}, {"heal", "z3"},
	} {
		if got := mainCode(append(args, "-control", control)); got != 0 {
			t.Errorf("%v: want exit code 0, got %d", args, got)
		}
	}
	for _, args := range [][]string{{"freeze", "z4"}, {"hang", "z1", "many"}, {"slow", "z1", "bit"}} {
		if got := mainCode(append(args, "-control", control)); got != 1 {
			t.Errorf("%v: want exit code 1, got %d", args, got)
		}
	}
	if got := s.search("s0001", moment); got != 0 {
		t.Errorf("want s0001 hung, got %d", got)
	}
}

// orphanEnv makes the test binary a parent that opens a stage and waits to be
// killed.
const orphanEnv = "OUTAGE_TEST_ORPHANS"

func orphanParent() int {
	at, err := freeAddresses()
	if err != nil {
		return 1
	}
	s, err := openStage(size{zones: 2, workers: 2}, at)
	if err != nil {
		return 1
	}
	// Like the proxy, it does not watch its standard input.
	sleeper, err := startChild("sleeper", s.dir, nil, nil, "sleep", "600")
	if err != nil {
		return 1
	}
	fmt.Println(s.dir, sleeper.cmd.Process.Pid, s.apiSrv.cmd.Process.Pid, s.zones["z1"].cmd.Process.Pid, s.zones["z2"].cmd.Process.Pid)
	select {}
}

func TestChildrenDieWithTheirParent(t *testing.T) {
	parent := exec.Command(os.Args[0])
	parent.Env = append(os.Environ(), orphanEnv+"=1")
	out, err := parent.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := parent.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	words := strings.Fields(line)
	defer os.RemoveAll(words[0])
	var pids []int
	for _, word := range words[1:] {
		pid, err := strconv.Atoi(word)
		if err != nil {
			t.Fatal(err)
		}
		pids = append(pids, pid)
	}
	sleeper := pids[0]
	if runtime.GOOS != "linux" { // only Linux ends a child that does not watch
		pids = pids[1:]
		defer syscall.Kill(sleeper, syscall.SIGKILL)
	}
	if err := syscall.Kill(pids[len(pids)-1], syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	if err := parent.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = parent.Wait()
	for _, pid := range pids {
		eventually(t, fmt.Sprintf("the end of process %d", pid), func() bool { return ended(pid) })
	}
}

// ended tells whether a process is gone or only waits to be reaped.
func ended(pid int) bool {
	if syscall.Kill(pid, 0) != nil {
		return true
	}
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	return err == nil && strings.Contains(string(stat), ") Z ")
}
