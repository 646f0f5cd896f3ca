package config

import (
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
func (c *Check) Asks() bool { return c != nil && (len(c.StoreIn) > 0 || c.StoreProbe != "") }

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
	if err := c.CheckAsks("store_in and store_probe"); err != nil {
		return fmt.Errorf("check %s: %w", c.Protocol, err)
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
