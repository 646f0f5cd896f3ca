package caddymodule_test

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// manifestCaddyfile is the Caddyfile of a ConfigMap.
var manifestCaddyfile = regexp.MustCompile(`(?m)^  Caddyfile: \|\n((?:    .*\n|\n)+)`)

// TestExampleManifests adapts and validates the Caddyfiles of the manifests for
// Kubernetes.
func TestExampleManifests(t *testing.T) {
	manifests, err := filepath.Glob("../examples/kubernetes/*.yaml")
	if err != nil || len(manifests) == 0 {
		t.Fatal(manifests, err)
	}
	for _, name := range manifests {
		t.Run(filepath.Base(name), func(t *testing.T) {
			manifest, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			found := manifestCaddyfile.FindStringSubmatch(string(manifest))
			if found == nil {
				t.Fatal("it has no Caddyfile")
			}
			source := strings.ReplaceAll("\n"+found[1], "\n    ", "\n")
			text, err := adapt(source)
			if err != nil {
				t.Fatalf("%v in\n%s", err, source)
			}
			validates(t, text)
		})
	}
}
