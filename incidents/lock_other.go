//go:build !unix

package incidents

// lockFile locks nothing here: processes need folders of their own.
func lockFile(string) (unlock func(), err error) { return func() {}, nil }
