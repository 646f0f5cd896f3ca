package replay

import "bytes"

// scanFields calls yield with the fields of a JSON object, their values as they
// are written. It reports whether the text is one object and nothing else. Of
// what is nested in the values only quotes and brackets are looked at: a log is
// long, and most of a line is not needed.
func scanFields(text []byte, yield func(name, value []byte)) bool {
	i := skipBlank(text, 0)
	if i == len(text) || text[i] != '{' {
		return false
	}
	if i = skipBlank(text, i+1); i < len(text) && text[i] == '}' {
		return skipBlank(text, i+1) == len(text)
	}
	for {
		from := i
		if i = skipString(text, i); i < 0 {
			return false
		}
		name := text[from+1 : i-1]
		if i = skipBlank(text, i); i == len(text) || text[i] != ':' {
			return false
		}
		from = skipBlank(text, i+1)
		if i = skipValue(text, from); i < 0 {
			return false
		}
		yield(name, text[from:i])
		if i = skipBlank(text, i); i == len(text) {
			return false
		}
		switch text[i] {
		case ',':
			i = skipBlank(text, i+1)
		case '}':
			return skipBlank(text, i+1) == len(text)
		default:
			return false
		}
	}
}

func skipBlank(text []byte, i int) int {
	for i < len(text) && (text[i] == ' ' || text[i] == '\t' || text[i] == '\r') {
		i++
	}
	return i
}

// skipString returns where the string that begins at i ends, or -1.
func skipString(text []byte, i int) int {
	if i >= len(text) || text[i] != '"' {
		return -1
	}
	for i++; ; i++ {
		n := bytes.IndexByte(text[i:], '"')
		if n < 0 {
			return -1
		}
		i += n
		slashes := 0
		for text[i-1-slashes] == '\\' {
			slashes++
		}
		if slashes%2 == 0 {
			return i + 1
		}
	}
}

// skipValue returns where the value that begins at i ends, or -1.
func skipValue(text []byte, i int) int {
	if i >= len(text) {
		return -1
	}
	switch text[i] {
	case '"':
		return skipString(text, i)
	case '{', '[':
		return skipNested(text, i)
	}
	from := i
	for i < len(text) && bytes.IndexByte([]byte(",}] \t\r"), text[i]) < 0 {
		i++
	}
	if i == from {
		return -1
	}
	return i
}

func skipNested(text []byte, i int) int {
	for depth := 0; i < len(text); i++ {
		switch text[i] {
		case '{', '[':
			depth++
		case '}', ']':
			if depth--; depth == 0 {
				return i + 1
			}
		case '"':
			if i = skipString(text, i); i < 0 {
				return -1
			}
			i--
		}
	}
	return -1
}
