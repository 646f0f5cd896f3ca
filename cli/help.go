package cli

import (
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/caddyserver/caddy/v2"
	caddycmd "github.com/caddyserver/caddy/v2/cmd"

	"github.com/firebreak-proxy/firebreak/internal/version"
)

// versionCommand is for programs whose own command "version" is Caddy's.
var versionCommand = &command{
	use: "version", short: "Prints the versions of firebreak and Caddy", args: cobra.NoArgs, offline: true,
	examples: []string{"version"},
	run: func(s *session) error {
		s.printf("firebreak %s, Caddy %s\n", version.Firebreak(), version.Caddy())
		return nil
	},
}

// Main runs the program of this repository, whose name is firebreak and whose
// commands are firebreak's and Caddy's.
func Main() {
	registerTopLevel()
	caddy.CustomBinaryName = filepath.Base(os.Args[0])
	caddy.CustomVersion = "firebreak " + version.Firebreak() + ", Caddy"
	if asksForOverview(os.Args[1:]) {
		overview(os.Stdout)
		return
	}
	caddycmd.Main()
}

// asksForOverview reports whether the arguments are those for which cobra would
// print the help of its root, which is Caddy's.
func asksForOverview(args []string) bool {
	return len(args) == 0 || len(args) == 1 && slices.Contains([]string{"help", "--help", "-h"}, args[0])
}

// misleading are commands of Caddy that would put a program without firebreak in
// the place of this one.
var misleading = []string{"upgrade", "add-package", "remove-package"}

// overview lists all commands.
func overview(out io.Writer) {
	name := caddy.CustomBinaryName
	fmt.Fprintf(out, `Firebreak is a reverse-proxy sidecar for multi-tenant API servers: it keeps one
broken database from taking the whole API down. It is Caddy with firebreak's
modules built in.

Usage:
  %[1]s <command> [arguments]

Examples:
  %[1]s run --config Caddyfile
  %[1]s validate --config Caddyfile --adapter caddyfile
  %[1]s status

Firebreak's commands, which ask or change a running server:
`, name)
	var rows [][]string
	ours := make(map[string]bool)
	for _, c := range commands {
		word := strings.Fields(c.use)[0]
		ours[word] = true
		rows = append(rows, []string{"  " + word, c.short})
	}
	writeTable(out, rows)
	fmt.Fprintf(out, "\nCaddy's commands:\n")
	rows = nil
	all := caddycmd.Commands()
	for _, word := range slices.Sorted(maps.Keys(all)) {
		if !ours[word] && word != "firebreak" && !slices.Contains(misleading, word) {
			rows = append(rows, []string{"  " + word, all[word].Short})
		}
	}
	writeTable(out, rows)
	fmt.Fprintf(out, "\n%[1]s help <command> says more about a command, %[1]s version which versions these are.\n", name)
}
