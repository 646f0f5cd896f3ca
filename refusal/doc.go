// Package refusal answers requests that firebreak refuses: the status, the header
// fields, and a body in the format the client accepts (JSON problem, HTML, text,
// gRPC), its own or the operator's. It decides nothing: the reason comes from the
// guard or the handler.
package refusal
