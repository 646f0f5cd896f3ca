//go:build e2e

package redis_test

import (
	"testing"

	"github.com/firebreak-proxy/firebreak/maintenance"
)

func on(stores ...string) *maintenance.Edit {
	edit := new(maintenance.Edit)
	for _, name := range stores {
		edit.Set = append(edit.Set, maintenance.Switch{Target: maintenance.Target{Scope: maintenance.Store, Name: name}})
	}
	return edit
}

func off(stores ...string) *maintenance.Edit {
	edit := new(maintenance.Edit)
	for _, name := range stores {
		edit.Clear = append(edit.Clear, maintenance.Target{Scope: maintenance.Store, Name: name})
	}
	return edit
}

func mustChange(t *testing.T, b *maintenance.Board, edit *maintenance.Edit) *maintenance.State {
	t.Helper()
	s, _, err := b.Change(t.Context(), maintenance.Author{By: "ann"}, edit)
	if err != nil {
		t.Fatal(err)
	}
	return s
}
