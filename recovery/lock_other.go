//go:build !unix

package recovery

// lockFile holds nothing: two processes must not share a folder here.
func lockFile(string) (unlock func(), err error) { return func() {}, nil }
