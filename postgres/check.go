package postgres

import (
	"context"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/firebreak-proxy/firebreak/config"
	"github.com/firebreak-proxy/firebreak/routing/pgtable"
	"github.com/firebreak-proxy/firebreak/zonecheck"
)

func init() {
	zonecheck.Register("postgres", checkPostgres)
}

// checkPostgres opens a connection and asks for SELECT 1.
func checkPostgres(ctx context.Context, c *config.Check) error {
	config, err := pgtable.Config(c.Address)
	if err != nil {
		return err
	}
	conn, err := pgconn.ConnectConfig(ctx, config)
	if err != nil {
		return zonecheck.AnswerError(ctx, err)
	}
	defer func() { _ = conn.Close(ctx) }()
	_, err = conn.Exec(ctx, "SELECT 1").ReadAll()
	return zonecheck.AnswerError(ctx, err)
}
