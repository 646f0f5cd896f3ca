//go:build e2e

package e2e_test

import (
	"slices"
	"strings"
)

// tunnel types a command of ssh on a machine beside the page's, looks from there
// at what the page shows on localhost, and ends it.
func (s *docsStage) tunnel(command string) bool {
	if !strings.HasPrefix(command, "ssh -L ") {
		return false
	}
	far := s.laptop()
	const curl, dashboard = "curl --silent --fail localhost:2019/firebreak/ui/", "<title>Firebreak</title>"
	if out, err := far.script(curl).Output(); err == nil {
		s.t.Fatalf("before %s\n%s\nis answered already:\n%s", command, curl, out)
	}
	far.serve(command)
	if out, err := far.script(curl).Output(); err != nil || !strings.Contains(string(out), dashboard) {
		s.t.Fatalf("through %s\n%s\nhas no %s: %v\n%s", command, curl, dashboard, err, out)
	}
	far.interrupt("127.0.0.1:2019")
	return true
}

// laptop is a second machine, on a cable to the page's, which is web1.example.com
// to it and lets alice in by her key, as Debian's sshd does. The two have only
// their networks apart: alice has one home.
func (s *docsStage) laptop() *docsStage {
	const furnish = `set -e
ip netns add laptop
ip link add eth0 type veth peer name eth0 netns laptop
ip address add 192.0.2.1/24 dev eth0
ip link set eth0 up
ip -netns laptop address add 192.0.2.2/24 dev eth0
ip -netns laptop link set eth0 up
ip -netns laptop link set lo up
echo 192.0.2.1 web1.example.com >>/etc/hosts

usermod --password '*' alice # none, which is not the same as locked
ssh-keygen -A
mkdir -p /run/sshd
/usr/sbin/sshd -o UsePAM=no

mkdir -m 700 ~alice/.ssh
cd ~alice/.ssh
ssh-keygen -q -t ed25519 -N '' -f id_ed25519
cp id_ed25519.pub authorized_keys
echo "web1.example.com $(cat /etc/ssh/ssh_host_ed25519_key.pub)" >known_hosts
chown -R alice: .`
	cmd := s.as("root", "env", "PATH=/usr/sbin:/usr/bin:/sbin:/bin", "bash", "-c", furnish)
	log := s.output(cmd, "laptop.log") // not a pipe, which sshd would keep open
	if err := cmd.Run(); err != nil {
		s.t.Fatalf("making a second machine: %v\n%s", err, tail(log, 20))
	}
	far := *s
	far.enter = slices.Concat(s.enter, []string{"nsenter", "--net=/run/netns/laptop"})
	far.servers = make(map[string]*terminal)
	return &far
}
