// Package servers asks API servers themselves, beside the requests that they serve:
// whether they can be connected to ([Dial]), whether they are well ([Check], the option
// server_check), and how many workers they have and how many of those are busy
// ([Watches], the option server_status). What they answer goes to the guard, which
// decides what to make of it.
package servers
