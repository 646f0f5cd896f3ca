package routing

import (
	"net/url"
	"strings"
)

// manyParams is where [url.ParseQuery] may refuse a query for its number of
// parameters.
const manyParams = 10000

// queryValue returns the first value of a parameter, as url.ParseQuery would
// have it, without decoding the others: pairs with a semicolon or a broken
// escape do not count.
func queryValue(query, name string) string {
	if strings.Count(query, "&")+1 >= manyParams {
		values, _ := url.ParseQuery(query)
		return values.Get(name)
	}
	for query != "" {
		var pair string
		pair, query, _ = strings.Cut(query, "&")
		key, value, _ := strings.Cut(pair, "=")
		if pair == "" || !sameParam(key, name) || strings.Contains(pair, ";") {
			continue
		}
		if !escaped(value) {
			return value
		}
		if value, err := url.QueryUnescape(value); err == nil {
			return value
		}
	}
	return ""
}

func sameParam(key, name string) bool {
	if !escaped(key) {
		return key == name
	}
	key, err := url.QueryUnescape(key)
	return err == nil && key == name
}

func escaped(s string) bool {
	for i := range len(s) {
		if s[i] == '%' || s[i] == '+' {
			return true
		}
	}
	return false
}
