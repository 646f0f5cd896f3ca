package breaker

// Outcome is how a request ended, or how it stands. See the table in the
// package comment for what each counts.
type Outcome uint8

// The outcome classes.
const (
	OK         Outcome = iota // first byte in time, status not a failure: good
	Slow                      // OK, but later than slow_after: good, shown
	Failure                   // a failing status: bad
	Broken                    // connection broken after it was opened: bad, unless the API server is away
	Hung                      // no first byte by the deadline, or the body stalled: bad
	Gone                      // client left before slow_after: neutral
	GoneLate                  // client left after slow_after: counts as hung
	Refused                   // the upstream answered with a refusal of firebreak's: neutral
	NoUpstream                // dialling the API server failed: neutral, the pool's trouble
	Abandoned                 // a hung request was given up: the worker is taken for dead
	outcomes                  // how many there are
)

var outcomeNames = [outcomes]string{
	"ok", "slow", "failure", "broken", "hung", "gone", "gone_late", "refused", "no_upstream", "abandoned",
}

// String is the outcome's name in logs, metrics and the admin API.
func (o Outcome) String() string {
	if o < outcomes {
		return outcomeNames[o]
	}
	return "unknown"
}

// Outcomes lists all outcome classes.
func Outcomes() []Outcome {
	all := make([]Outcome, outcomes)
	for i := range all {
		all[i] = Outcome(i)
	}
	return all
}

// isError reports whether an answer came and was an error.
func (o Outcome) isError() bool { return o == Failure || o == Broken }

func (o Outcome) good() bool { return o == OK || o == Slow }
func (o Outcome) bad() bool {
	return o == Failure || o == Broken || o == Hung || o == GoneLate || o == Abandoned
}
