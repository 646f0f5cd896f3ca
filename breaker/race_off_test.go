//go:build !race

package breaker_test

// thorough is how much of something virtual a test plays: all of it, or less under the
// race detector, which takes ten times as long and finds nothing in more of the same.
func thorough[T any](all, _ T) T { return all }
