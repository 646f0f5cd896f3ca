// Package e2e tests firebreak with parts that other people wrote: gunicorn and
// PHP-FPM pools of 32 synchronous workers in front of twelve PostgreSQL zones,
// Redis for the operators' switches, and curl, wrk and h2load as clients.
//
// The tests carry the build tag e2e:
//
//	go test -tags e2e -count=1 -timeout 40m -v ./e2e/
//
// A zone breaks when its postmaster and all its backends get SIGSTOP; a store
// breaks when somebody else holds its row lock. How many workers are occupied
// is never taken from firebreak: every worker keeps a file that says what it
// works on, and the tests read these files. Redis is cut off by pulling the
// cable of a network namespace, which needs root.
//
// Tests whose figures other load would spoil have the machine to themselves. The
// others call t.Parallel, and run two at a time after those: none of them freezes
// a zone that others use, and what they time is either compared with a sidecar
// beside it or far from its limit.
//
// What a test found is printed in lines that start with FIGURE. A missing
// program fails the tests with the line that installs it; nothing skips.
//
// The dashboard is seen with Chromium; pictures of it go to the directory that
// FIREBREAK_SCREENSHOTS names (default: out, beside the tests).
//
// FIREBREAK_BIN names the binary to test (default: ../bin/firebreak).
// FIREBREAK_ROUNDS says how often the freezes are played whose p99 is promised
// by the median round, and FIREBREAK_LONG=1 makes the long freeze last ten minutes.
package e2e
