package main

import "syscall"

// childAttributes give a child its own process group, so that Ctrl-C reaches
// only this program, and have the kernel kill it when this program dies: the
// proxy does not watch its standard input.
func childAttributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}
