package config

import (
	"cmp"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// Where a query names its store, beside regular expressions.
const (
	StoreInComment = "comment"
	StoreInAppName = "application_name"
)

// Asks reports whether the zone's database is asked about its stores.
func (c *Check) Asks() bool {
	return c != nil && (len(c.StoreIn) > 0 || c.StoreProbe != "" || c.OnHung != nil)
}

// CancelQuery is the action of [OnHung].
const CancelQuery = "cancel_query"

// RequestHeader gives the API server the id of a request whose query is cancelled if
// it hangs. What a client puts there itself never arrives.
const RequestHeader = "Firebreak-Request"

// Defaults of [OnHung].
const (
	defaultCancelPerMinute = 60
	defaultCancelShare     = 10
)

// Cancels reports whether queries of requests with this method are cancelled in the
// database when they hang.
func (c *Check) Cancels(method string) bool {
	return c != nil && c.OnHung != nil && slices.Contains(c.OnHung.Methods, method)
}

// Check finds what is wrong with the settings.
func (o *OnHung) Check() error {
	switch {
	case o == nil:
	case o.Action != CancelQuery:
		return fmt.Errorf("on_hung %q: there is only on_hung cancel_query", o.Action)
	case o.PerMinute < 0:
		return fmt.Errorf("on_hung: per_minute %d must not be negative", o.PerMinute)
	default:
		if err := checkShare("on_hung max_share", o.MaxShare); err != nil {
			return err
		}
		for _, method := range o.Methods {
			if method == "" || method != strings.ToUpper(method) {
				return fmt.Errorf("on_hung: %q is no method; write for example: methods GET HEAD", method)
			}
		}
	}
	return nil
}

func (o *OnHung) withDefaults() *OnHung {
	if o == nil {
		return nil
	}
	own := *o
	if len(own.Methods) == 0 {
		own.Methods = []string{"GET", "HEAD"}
	}
	own.PerMinute = cmp.Or(own.PerMinute, defaultCancelPerMinute)
	own.MaxShare = cmp.Or(own.MaxShare, defaultCancelShare)
	return &own
}

// AskProtocols are the protocols of databases that are asked about their stores.
var AskProtocols = []string{"postgres", "mysql"}

// CheckAsks says what is wrong with asking a database of the check's protocol.
func (c *Check) CheckAsks(option string) error {
	if !slices.Contains(AskProtocols, c.Protocol) {
		return fmt.Errorf("%s needs a check of the protocol postgres or mysql, not %s", option, c.Protocol)
	}
	return nil
}

// CheckStoreIn says what is wrong with a way to find a query's store.
func (c *Check) CheckStoreIn(where string) error {
	switch {
	case where == StoreInAppName && c.Protocol == "mysql":
		return errors.New("store_in application_name: MySQL does not show it with a query; use comment, or a regular expression with a group named store")
	case where == StoreInComment || where == StoreInAppName:
		return nil
	}
	re, err := regexp.Compile(where)
	switch {
	case err != nil:
		return fmt.Errorf("store_in %q: %w", where, err)
	case !slices.Contains(re.SubexpNames(), "store"):
		return fmt.Errorf("store_in %q: write comment, application_name, or a regular expression with a group named store, for example: store_in \"store_id = '(?P<store>[^']+)'\"", where)
	}
	return nil
}

// CheckStoreProbe says what is wrong with a statement that tries a store.
func (c *Check) CheckStoreProbe(statement string) error {
	switch {
	case c.Protocol == "mysql" && strings.Count(statement, "?") != 1:
		return errors.New("store_probe: the statement needs one ?, where the store's name goes; write for example: store_probe \"SELECT 1 FROM products WHERE store = ? LIMIT 1\"")
	case c.Protocol != "mysql" && (!strings.Contains(statement, "$1") || strings.Contains(statement, "$2")):
		return errors.New("store_probe: the statement needs $1, where the store's name goes, and no other parameter; write for example: store_probe \"SELECT 1 FROM products WHERE store = $1 LIMIT 1\"")
	}
	return nil
}

// checkAsks finds what is wrong with what asks about stores.
func (c *Check) checkAsks() error {
	if !c.Asks() {
		return nil
	}
	if err := c.CheckAsks("store_in, store_probe and on_hung"); err != nil {
		return fmt.Errorf("check %s: %w", c.Protocol, err)
	}
	if err := c.OnHung.Check(); err != nil {
		return err
	}
	for _, where := range c.StoreIn {
		if err := c.CheckStoreIn(where); err != nil {
			return err
		}
	}
	if c.StoreProbe != "" {
		return c.CheckStoreProbe(c.StoreProbe)
	}
	return nil
}
