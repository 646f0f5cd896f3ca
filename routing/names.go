package routing

import (
	"errors"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

const (
	// MaxNameLen is the longest store id or key, in bytes.
	MaxNameLen = 128
	// MaxZoneLen is the longest zone name, in bytes.
	MaxZoneLen = 64
)

// reservedZones are names with a meaning of their own in status pages,
// metrics and commands.
var reservedZones = map[string]string{
	"unknown": "it stands for requests whose key no directory knows",
	"all":     "it stands for every zone at once",
}

// CheckZoneName reports why a zone name cannot be used: names have 1 to 64
// characters of A-Z, a-z, 0-9, '.', '_' and '-', and are not "unknown" or
// "all" in any spelling.
func CheckZoneName(zone string) error {
	switch {
	case zone == "":
		return errors.New("zone is empty")
	case len(zone) > MaxZoneLen:
		return fmt.Errorf("zone %q is %d bytes long, at most %d are allowed", clip(zone), len(zone), MaxZoneLen)
	}
	for i := range len(zone) {
		if !zoneByte(zone[i]) {
			return fmt.Errorf("zone %q has a character outside A-Z a-z 0-9 . _ -", clip(zone))
		}
	}
	if why, ok := reservedZones[strings.ToLower(zone)]; ok {
		return fmt.Errorf("zone %q is a reserved name: %s", zone, why)
	}
	return nil
}

func zoneByte(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' ||
		c == '.' || c == '_' || c == '-'
}

// checkName reports why a store id or key cannot stand in a directory; what
// says which of the two it is.
func checkName(what, name string) error {
	switch {
	case name == "":
		return fmt.Errorf("%s is empty", what)
	case len(name) > MaxNameLen:
		return fmt.Errorf("%s %q is %d bytes long, at most %d are allowed", what, clip(name), len(name), MaxNameLen)
	case name[0] == ' ' || name[len(name)-1] == ' ':
		return fmt.Errorf("%s %q starts or ends with a space", what, name)
	case !utf8.ValidString(name):
		return fmt.Errorf("%s %q is not valid UTF-8", what, name)
	case hasControl(name):
		return fmt.Errorf("%s %q has a control character", what, name)
	}
	return nil
}

// usableKey reports whether a key found in a request could stand in a
// directory. What could not is no key, so that no log or metric downstream
// has to deal with it.
func usableKey(key string) bool {
	return key != "" && len(key) <= MaxNameLen && !hasControl(key) && utf8.ValidString(key)
}

func hasControl(s string) bool {
	for i := range len(s) {
		if s[i] < ' ' || s[i] >= 0x7f {
			// DEL, or not ASCII: decided rune by rune.
			return strings.ContainsFunc(s, unicode.IsControl)
		}
	}
	return false
}

// clip shortens a name that is too long to be repeated in an error.
func clip(s string) string {
	const longest = 40
	if len(s) <= longest {
		return s
	}
	return s[:longest] + "..."
}
