package main

import (
	"os"
	"slices"
	"strings"
	"testing"
)

// TestMain lets the test binary be its own children: zones and the API server
// are this program, started once more.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && (os.Args[1] == "zone" || os.Args[1] == "api") {
		os.Exit(mainCode(os.Args[1:]))
	}
	if os.Getenv(orphanEnv) != "" {
		os.Exit(orphanParent())
	}
	os.Exit(m.Run())
}

func TestExitCodes(t *testing.T) {
	for name, tt := range map[string]struct {
		args []string
		want int
	}{
		"nothing":               {nil, 2},
		"help":                  {[]string{"--help"}, 0},
		"help of a command":     {[]string{"scenario", "--help"}, 0},
		"unknown command":       {[]string{"explode"}, 2},
		"unknown flag":          {[]string{"scenario", "freeze", "-colour", "red"}, 2},
		"no scenario":           {[]string{"scenario"}, 2},
		"unknown scenario":      {[]string{"scenario", "flood"}, 1},
		"unknown zone":          {[]string{"scenario", "freeze", "-sick", "z13"}, 1},
		"wrong side":            {[]string{"scenario", "freeze", "-only", "nginx"}, 1},
		"run without firebreak": {[]string{"run", "-firebreak", "/bin/true"}, 1},
		"no outage runs":        {[]string{"freeze", "z7", "-control", "127.0.0.1:1"}, 1},
		"freeze what":           {[]string{"freeze"}, 2},
	} {
		if got := mainCode(tt.args); got != tt.want {
			t.Errorf("%s: want exit code %d, got %d", name, tt.want, got)
		}
	}
}

func TestABinaryWithoutFirebreakIsNamed(t *testing.T) {
	err := hasFirebreak("/bin/true")
	if err == nil || !strings.Contains(err.Error(), "/bin/true has no firebreak in it") {
		t.Errorf("want the binary named, got %v", err)
	}
}

func TestFlagsMayStandBehindTheName(t *testing.T) {
	sc, o, err := parseScenario([]string{"-rate", "7", "restart", "-assert", "-zones=8"})
	if err != nil {
		t.Fatal(err)
	}
	if sc.name != "restart" || o.rate != 7 || !o.assert || o.zones != 8 || o.fault != restartPause {
		t.Errorf("want all flags read, got %s %+v", sc.name, o)
	}
}

func TestCulprits(t *testing.T) {
	for temperature, want := range map[string][]string{
		"hot":   {"s0601", "s0602", "s0603"},
		"cold":  {"s0631", "s0632", "s0633"},
		"mixed": {"s0601", "s0631", "s0602"},
	} {
		got, err := culprits(6, 3, temperature)
		if err != nil || !slices.Equal(got, want) {
			t.Errorf("%s: want %v, got %v, %v", temperature, want, got, err)
		}
	}
	for _, k := range []int{0, 31} {
		if _, err := culprits(6, k, "hot"); err == nil {
			t.Errorf("k = %d: want an error, got none", k)
		}
	}
	if ids, err := culprits(6, 30, "mixed"); err != nil || len(slices.Compact(slices.Sorted(slices.Values(ids)))) != 30 {
		t.Errorf("want 30 different stores, got %v, %v", ids, err)
	}
	if _, err := culprits(6, 1, "lukewarm"); err == nil {
		t.Error("want an error for an unknown temperature, got none")
	}
}
