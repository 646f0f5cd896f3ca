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

// CheckStoreIn says what is wrong with a way to find a query's store.
func CheckStoreIn(where string) error {
	if where == StoreInComment || where == StoreInAppName {
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
func CheckStoreProbe(statement string) error {
	if !strings.Contains(statement, "$1") || strings.Contains(statement, "$2") {
		return errors.New("store_probe: the statement needs $1, where the store's name goes, and no other parameter; write for example: store_probe \"SELECT 1 FROM products WHERE store = $1 LIMIT 1\"")
	}
	return nil
}

// checkAsks finds what is wrong with what asks about stores.
func (c *Check) checkAsks() error {
	if !c.Asks() {
		return nil
	}
	if c.Protocol != "postgres" {
		return fmt.Errorf("check %s: store_in and store_probe need a check of the protocol postgres", c.Protocol)
	}
	for _, where := range c.StoreIn {
		if err := CheckStoreIn(where); err != nil {
			return err
		}
	}
	if c.StoreProbe != "" {
		return CheckStoreProbe(c.StoreProbe)
	}
	return nil
}
