//go:build !unix

package incidents_test

const asCut = "FIREBREAK_TEST_AS_CUT"

func writeAndBeCut(string) {}
