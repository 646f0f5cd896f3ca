package config

import (
	"errors"
	"fmt"
)

// Incidents says what is kept of each episode, for postmortems.
type Incidents struct {
	// Keep nothing.
	Off bool `json:"off,omitempty"`

	// How many incidents are kept. Default: 200.
	Keep int `json:"keep,omitempty"`

	// Where: each sidecar has a folder of its name in it. Default: the folder
	// firebreak/incidents in Caddy's data directory.
	Dir string `json:"dir,omitempty"`
}

// MostIncidents is how many may be kept: their summaries are held in memory.
const MostIncidents = 10000

// Validate finds what is wrong with the settings.
func (o *Incidents) Validate() error {
	switch {
	case o == nil:
		return nil
	case o.Keep < 0 || o.Keep > MostIncidents:
		return fmt.Errorf("incidents: keep is %d: it must be at least 1 and at most %d", o.Keep, MostIncidents)
	case o.Off && (o.Keep != 0 || o.Dir != ""):
		return errors.New("incidents: off, and still keep or dir is set; leave one out")
	}
	return nil
}
