// Package cli is firebreak's command line: a client of the admin API. It is
// one Caddy command with subcommands ("caddy firebreak status"); the binary of
// this repository has the subcommands at its top level too ("firebreak status").
package cli

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"golang.org/x/term"

	caddycmd "github.com/caddyserver/caddy/v2/cmd"
)

func init() {
	caddycmd.RegisterCommand(caddycmd.Command{
		Name:  "firebreak",
		Usage: "<command>",
		Short: "Shows and steers firebreak: zones, stores, maintenance",
		Long:  "Talks to the admin endpoint of a running server.\n\n" + longCommon,
		CobraFunc: func(root *cobra.Command) {
			for _, c := range append(slices.Clip(commands), versionCommand) {
				root.AddCommand(c.cobra(programName()))
			}
		},
	})
}

// registerTopLevel makes each subcommand a command of its own.
func registerTopLevel() {
	topLevel = true
	for _, c := range commands {
		caddycmd.RegisterCommand(caddycmd.Command{
			Name: strings.Fields(c.use)[0], Usage: strings.TrimSpace(strings.TrimPrefix(c.use, strings.Fields(c.use)[0])), Short: c.short,
			CobraFunc: func(cmd *cobra.Command) { c.fill(cmd, programName()) },
		})
	}
}

// Exit codes.
const (
	exitUsage       = 1 // the command is wrong, or something on this machine
	exitUnreachable = 2 // the admin endpoint cannot be reached, or the time is over
	exitRefused     = 3 // the admin endpoint refused
	exitTrouble     = 4 // --exit-code: not everything is calm
)

const longCommon = `Exit codes: 0 it worked; 1 the command is wrong; 2 the admin endpoint cannot be
reached in time; 3 it refused; 4 something is not calm (with --exit-code).

The admin endpoint is --address, or the environment's FIREBREAK_ADMIN, or the
one in --config, or Caddy's default, localhost:2019.`

// topLevel reports whether the subcommands are commands of their own.
var topLevel bool

// programName is what people type before a subcommand.
func programName() string {
	name := filepath.Base(os.Args[0])
	if topLevel {
		return name
	}
	return name + " firebreak"
}

// command is one subcommand.
type command struct {
	use, short, long string
	examples         []string // without the program's name
	args             cobra.PositionalArgs
	complete         func(*session, []string) []string // the words that may come next
	flags            func(*pflag.FlagSet)
	run              func(*session) error
	sub              []*command
	offline          bool // it asks no admin endpoint
	completeFlags    map[string][]string
}

var commands = []*command{
	statusCommand, zonesCommand, zoneCommand, storeCommand, serversCommand, serverCommand, explainCommand, culpritsCommand,
	maintenanceCommand, staleCommand, recoverCommand, isolateCommand, admitCommand, autoCommand, topCommand, sizeCommand, doctorCommand,
	incidentsCommand, incidentCommand("incident"),
	replayCommand,
}

func (c *command) cobra(program string) *cobra.Command {
	cmd := &cobra.Command{Use: c.use, Short: c.short}
	c.fill(cmd, program)
	return cmd
}

func (c *command) fill(cmd *cobra.Command, program string) {
	cmd.Long = c.short + ".\n"
	if c.long != "" {
		cmd.Long += "\n" + c.long + "\n"
	}
	for _, example := range c.examples {
		cmd.Example += "  " + program + " " + example + "\n"
	}
	cmd.Example = strings.TrimSuffix(cmd.Example, "\n")
	for _, sub := range c.sub {
		cmd.AddCommand(sub.cobra(program + " " + strings.Fields(c.use)[0]))
	}
	if c.run == nil {
		cmd.Args = cobra.NoArgs
		cmd.RunE = func(cmd *cobra.Command, _ []string) error { return cmd.Help() }
		return
	}
	cmd.Args = c.args
	flags := cmd.Flags()
	flags.StringP("adapter", "a", "", "The name of the adapter for the configuration")
	if !c.offline {
		cmd.Long += "\n" + longCommon
		flags.String("address", os.Getenv("FIREBREAK_ADMIN"), "The admin endpoint: host:port, or unix//path")
		flags.StringP("config", "c", "", "A configuration that says where the admin endpoint is")
		flags.Duration("timeout", 10*time.Second, "How long the whole command may take")
		flags.Bool("json", false, "Print the API's answer as it is")
	}
	if c.flags != nil {
		c.flags(flags)
	}
	for flag, words := range c.completeFlags {
		_ = cmd.RegisterFlagCompletionFunc(flag, cobra.FixedCompletions(words, cobra.ShellCompDirectiveNoSpace|cobra.ShellCompDirectiveNoFileComp))
	}
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		code, err := c.execute(cmd, args)
		cmd.SilenceErrors = true // execute has said it
		if code <= exitUsage {
			return err
		}
		return caddycmd.WrapCommandFuncForCobra(func(caddycmd.Flags) (int, error) { return code, nil })(cmd, args)
	}
	if c.complete != nil {
		cmd.ValidArgsFunction = func(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
			s, err := newSession(cmd, args)
			if err != nil {
				return nil, cobra.ShellCompDirectiveNoFileComp
			}
			s.limit = time.Second
			return c.complete(s, args), cobra.ShellCompDirectiveNoFileComp
		}
	}
}

// execute runs the command and says how it went.
func (c *command) execute(cmd *cobra.Command, args []string) (int, error) {
	s, err := newSession(cmd, args)
	if err == nil {
		err = c.run(s)
	}
	if err == nil {
		return 0, nil
	}
	var refused *refusedError
	switch {
	case errors.Is(err, errTrouble):
		return exitTrouble, err // the output has said it
	case errors.As(err, &refused):
		fmt.Fprintln(cmd.ErrOrStderr(), "Refused:", clean(err.Error()))
		return exitRefused, err
	}
	fmt.Fprintln(cmd.ErrOrStderr(), "Error:", clean(err.Error()))
	if errors.Is(err, errUnreachable) {
		return exitUnreachable, err
	}
	return exitUsage, err
}

// errTrouble makes the exit code 4.
var errTrouble = errors.New("not everything is calm")

// session is one run of a command.
type session struct {
	args    []string
	flags   *pflag.FlagSet
	in      io.Reader
	lines   *bufio.Reader // of in; nil: nothing was asked yet
	out     io.Writer
	err     io.Writer
	address string
	limit   time.Duration
	json    bool
	color   bool // the output is a terminal that shows colours
	now     func() time.Time
}

func newSession(cmd *cobra.Command, args []string) (*session, error) {
	s := &session{args: args, flags: cmd.Flags(), in: cmd.InOrStdin(), out: cmd.OutOrStdout(), err: cmd.ErrOrStderr(), now: time.Now}
	s.json, _ = s.flags.GetBool("json")
	s.color = isTerminal(s.out) && os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb"
	if s.flags.Lookup("address") == nil {
		return s, nil // it is offline
	}
	address, _ := s.flags.GetString("address")
	config, _ := s.flags.GetString("config")
	adapter, _ := s.flags.GetString("adapter")
	var err error
	if s.address, err = caddycmd.DetermineAdminAPIAddress(address, nil, config, adapter); err != nil {
		return nil, fmt.Errorf("finding the admin endpoint: %w", err)
	}
	if s.limit, _ = s.flags.GetDuration("timeout"); s.limit <= 0 {
		return nil, fmt.Errorf("--timeout %s: it must be positive", s.limit)
	}
	return s, nil
}

// isTerminal reports whether a file is shown to a person.
func isTerminal(file any) bool {
	f, ok := file.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

func (s *session) text(flag string) string {
	value, _ := s.flags.GetString(flag)
	return value
}

func (s *session) is(flag string) bool {
	value, _ := s.flags.GetBool(flag)
	return value
}

func (s *session) printf(format string, args ...any) { fmt.Fprintf(s.out, format, args...) }
