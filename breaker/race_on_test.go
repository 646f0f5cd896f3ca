//go:build race

package breaker_test

func thorough[T any](_, underRace T) T { return underRace }
