package snapshot

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/firebreak-proxy/firebreak/internal/disk"
)

// claimPatience is how long a process waits for one that is about to end.
const claimPatience = 2 * time.Second

// lockSuffix is what a lock file has behind the name of the file it is for.
const lockSuffix = ".lock"

// owner is what a lock file says of the process that holds the lock.
type owner struct {
	PID   int       `json:"pid"`
	Since time.Time `json:"since"`
}

// writeOwner writes the holder of a lock into its file, for operators. It does not matter
// if it fails.
func writeOwner(path string) {
	data, err := json.Marshal(owner{os.Getpid(), time.Now().UTC().Truncate(time.Second)})
	if err == nil {
		_ = os.WriteFile(path, data, 0o600)
	}
}

// ownerOf describes the holder of a lock.
func ownerOf(path string) string {
	var by owner
	data, err := os.ReadFile(path)
	if err != nil || json.Unmarshal(data, &by) != nil || by.PID == 0 {
		return "a process that is not known"
	}
	return fmt.Sprintf("process %d, since %s", by.PID, by.Since.Format(time.RFC3339))
}

// Claim makes the data directory this process's own, as far as it belongs to a
// sidecar of one name: that whose path is given. A second process would lend each zone its share of the same
// workers once more, so its configuration fails to load. Nothing else that is wrong
// with the directory keeps firebreak from starting.
func (f *File) Claim(path string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.path != "" {
		return nil
	}
	f.path = path
	err := f.take()
	for end := time.Now().Add(claimPatience); errors.Is(err, disk.ErrLocked) && time.Now().Before(end); {
		time.Sleep(100 * time.Millisecond)
		err = f.take()
	}
	if !errors.Is(err, disk.ErrLocked) {
		return nil // what else is wrong is told when the file is read
	}
	f.path = ""
	return fmt.Errorf("another firebreak runs with the same data directory (%s): two in front of one pool would each give every zone its share of the workers; stop that one, or if it guards another pool, give each a name of its own: firebreak { instance NAME } (locked: %s)",
		ownerOf(path+lockSuffix), path)
}
