//go:build race

package fleet

// raceDetector: tests take ten times as long with it.
const raceDetector = true
