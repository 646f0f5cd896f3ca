// Package upload receives the bodies of requests before anything else is done
// with the requests, so that a client that is slow to send occupies no worker of
// an API server. What is received that way at once is bounded, in all and for
// each client.
package upload
