package cli

import (
	"net/http"
	"net/url"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/firebreak-proxy/firebreak/recovery"
)

// recoverWorkCommand lists the stores that people have to repair.
var recoverWorkCommand = &command{
	use: "work", short: "Lists the stores that a recovery could not bring back", args: cobra.NoArgs,
	long: `A store whose check failed too often, after the automatic repair if one is
configured, waits here for a person: claim it, repair it, mark it as done. It is
then checked like any other store of the recovery, and released if it passes. If
it fails it is back on the list, with the reason.`,
	examples: []string{
		"work", "work --zone z7 --csv > work.csv", "work claim s0417", "work note s0417 'row 12 of orders is damaged'",
		"work handover s0417 --to bob", "work done s0417 --note 'row restored from backup'",
	},
	flags: func(f *pflag.FlagSet) {
		f.String("zone", "", "Only stores of this zone")
		f.Bool("csv", false, "As CSV, for a spreadsheet")
		f.Bool("exit-code", false, "Exit with 4 if the list is not empty")
	},
	run: runWork,
	sub: []*command{
		workCommand(recovery.WorkClaim, "Says that you work on a store", "claim s0417"),
		workCommand(recovery.WorkNote, "Adds a note to a store", "note s0417 'row 12 of orders is damaged'"),
		workCommand(recovery.WorkHandOver, "Hands a store over to somebody else, or back to the list", "handover s0417 --to bob", "handover s0417"),
		workCommand(recovery.WorkDone, "Marks a store as done: it is checked again, and released if it passes", "done s0417 --note 'row restored from backup'"),
	},
}

func runWork(s *session) error {
	query := url.Values{}
	if zone := s.text("zone"); zone != "" {
		query.Set("zone", zone)
	}
	if s.is("csv") {
		query.Set("format", "csv")
		ctx, cancel := s.context()
		defer cancel()
		table, err := s.call(ctx, http.MethodGet, "/firebreak/work?"+query.Encode(), nil)
		if err == nil {
			_, err = s.out.Write(table)
		}
		return err
	}
	var v struct{ Work []recovery.WorkItem }
	goOn, err := s.get("/firebreak/work?"+query.Encode(), &v)
	if goOn {
		s.showWork(v.Work)
	}
	if err == nil && s.is("exit-code") && len(v.Work) > 0 {
		err = errTrouble
	}
	return err
}

func (s *session) showWork(items []recovery.WorkItem) {
	if len(items) == 0 {
		s.printf("the work list is empty\n")
		return
	}
	rows := [][]string{{"STORE", "ZONE", "STATE", "BY", "SINCE", "TRIED", "REPAIR", "REASON"}}
	for i := range items {
		item := &items[i]
		rows = append(rows, []string{
			item.Store, item.Zone, item.State, item.ClaimedBy, s.clock(item.Since), plural(item.Attempts, "time"), item.Repair, cut(item.Reason, 100),
		})
	}
	s.table(rows)
	for i := range items {
		for _, n := range items[i].Notes {
			by := n.By
			if by == "" {
				by = "recovery"
			}
			s.printf("%s: %s %s: %s\n", clean(items[i].Store), s.clock(n.At), clean(by), clean(n.Text))
		}
	}
}

// workCommand does something about a store on the work list.
func workCommand(action, short string, examples ...string) *command {
	use, args := action+" STORE", cobra.ExactArgs(1)
	if action == recovery.WorkNote {
		use, args = action+" STORE TEXT", cobra.ExactArgs(2)
	}
	return &command{
		use: use, short: short, args: args, examples: examples, complete: completeWork,
		flags: func(f *pflag.FlagSet) {
			f.String("by", person(), "Who")
			switch action {
			case recovery.WorkHandOver:
				f.String("to", "", "Who takes it over; left out, it goes back to the list")
				fallthrough
			case recovery.WorkClaim, recovery.WorkDone:
				f.String("note", "", "A note about it")
			}
		},
		run: func(s *session) error {
			ctx, cancel := s.context()
			defer cancel()
			body := map[string]string{"by": s.text("by"), "to": s.text("to"), "note": s.text("note")}
			if action == recovery.WorkNote {
				body["note"] = s.args[1]
			}
			var item recovery.WorkItem
			goOn, err := s.ask(ctx, http.MethodPost, "/firebreak/work/"+url.PathEscape(s.args[0])+"/"+action, body, &item)
			if goOn {
				s.printf("store %s: %s\n", clean(item.Store), workWords(&item))
			}
			return err
		},
	}
}

// workWords says where a store on the work list stands.
func workWords(i *recovery.WorkItem) string {
	switch i.State {
	case recovery.WorkChecking:
		return "marked as done by " + clean(i.DoneBy) + "; it is checked, and released if it passes: " + programName() + " recover show " + clean(i.Recovery) + " --watch"
	case recovery.WorkClaimed:
		return "claimed by " + clean(i.ClaimedBy)
	}
	return "open"
}

func completeWork(s *session, args []string) (stores []string) {
	if len(args) > 0 {
		return nil
	}
	var v struct{ Work []recovery.WorkItem }
	if _, err := s.get("/firebreak/work", &v); err == nil {
		for i := range v.Work {
			stores = append(stores, v.Work[i].Store)
		}
	}
	return stores
}
