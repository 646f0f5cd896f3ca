package mysql

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"database/sql"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/go-sql-driver/mysql"

	"github.com/firebreak-proxy/firebreak/zonecheck"
)

// Config reads the address of a database: a URL like mysql://firebreak@db7/shop, or
// what the driver takes, like firebreak@unix(/run/mysqld/mysqld.sock)/shop. Errors
// hold no password.
func Config(address string) (*mysql.Config, error) {
	config, err := parse(address)
	if err != nil {
		return nil, fmt.Errorf("the database's address: %w", err)
	}
	if config.TLS, err = withCertificates(config); err != nil {
		return nil, fmt.Errorf("the database's address: %w", err)
	}
	config.Logger = &mysql.NopLogger{}
	config.InterpolateParams = true // a probe is one message, and its query is seen whole
	config.MultiStatements = false
	config.AllowAllFiles = false
	config.ConnectionAttributes = "program_name:" + zonecheck.AppName
	if config.WriteTimeout == 0 {
		config.WriteTimeout = 5 * time.Second
	}
	return config, nil
}

// parse reads a URL, or what the driver takes.
func parse(address string) (*mysql.Config, error) {
	scheme, _, isURL := strings.Cut(address, "://")
	if !isURL {
		config, err := mysql.ParseDSN(address)
		if err != nil {
			return nil, errors.New("it is neither a URL like mysql://firebreak@db7/shop nor like firebreak@tcp(db7:3306)/shop")
		}
		return config, nil
	}
	u, err := url.Parse(address)
	if err != nil || u.Host == "" || scheme != "mysql" && scheme != "mariadb" {
		return nil, errors.New("it is no URL like mysql://firebreak@db7:3306/shop")
	}
	config, err := mysql.ParseDSN("/?" + u.Query().Encode())
	if err != nil {
		return nil, err // about a parameter; there is no password in it
	}
	config.TLS = nil // for another host; it is made anew with the connection
	config.User = u.User.Username()
	config.Passwd, _ = u.User.Password()
	config.Net, config.DBName = "tcp", strings.TrimPrefix(u.Path, "/")
	config.Addr = net.JoinHostPort(u.Hostname(), cmp.Or(u.Port(), "3306"))
	return config, nil
}

// withCertificates takes the parameters tls_ca, tls_cert and tls_key, which the
// driver does not know, out of the settings.
func withCertificates(config *mysql.Config) (*tls.Config, error) {
	ca, cert, key := config.Params["tls_ca"], config.Params["tls_cert"], config.Params["tls_key"]
	delete(config.Params, "tls_ca")
	delete(config.Params, "tls_cert")
	delete(config.Params, "tls_key")
	if ca == "" && cert == "" && key == "" {
		return config.TLS, nil // as the parameter tls says
	}
	settings := &tls.Config{MinVersion: tls.VersionTLS12}
	if host, _, err := net.SplitHostPort(config.Addr); err == nil {
		settings.ServerName = host
	}
	if ca != "" {
		pem, err := os.ReadFile(ca)
		if err != nil {
			return nil, fmt.Errorf("tls_ca: %w", err)
		}
		settings.RootCAs = x509.NewCertPool()
		if !settings.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("tls_ca: there is no certificate in %s", ca)
		}
	}
	if cert != "" || key != "" {
		pair, err := tls.LoadX509KeyPair(cert, key)
		if err != nil {
			return nil, fmt.Errorf("tls_cert and tls_key: %w", err)
		}
		settings.Certificates = []tls.Certificate{pair}
	}
	return settings, nil
}

// mostAnswer bounds the bytes of one answer.
const mostAnswer = 8 << 20

// conn is one connection.
type conn struct {
	db      *sql.DB
	conn    *sql.Conn
	left    zonecheck.Allowance // bytes that may be read yet
	maria   bool
	limits  time.Duration // the time limit that is set
	listed  time.Time
	lastErr error // after which the connection is of no more use
}

// connect opens a connection.
func connect(ctx context.Context, config *mysql.Config) (*conn, error) {
	c := new(conn)
	c.left.Set(mostAnswer)
	config = config.Clone()
	config.DialFunc = func(ctx context.Context, network, address string) (net.Conn, error) {
		n, err := new(net.Dialer).DialContext(ctx, network, address)
		if err != nil {
			return nil, err
		}
		return c.left.Limit(n), nil
	}
	connector, err := mysql.NewConnector(config)
	if err != nil {
		return nil, err
	}
	c.db = sql.OpenDB(connector)
	if c.conn, err = c.db.Conn(ctx); err == nil {
		err = c.greet(ctx)
	}
	if err != nil {
		c.Drop()
		return nil, err
	}
	return c, nil
}

// greet asks which kind of database it is.
func (c *conn) greet(ctx context.Context) error {
	return c.rows(ctx, 1, 1, func(row []string) { c.maria = strings.Contains(row[0], "MariaDB") }, "SELECT VERSION()")
}

// rows reads up to so many rows of so many columns; columns 0: whatever they are.
// NULL is read as "".
func (c *conn) rows(ctx context.Context, columns, most int, each func(row []string), query string, args ...any) error {
	c.left.Set(mostAnswer)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	rows, err := c.conn.QueryContext(ctx, query, args...)
	if err != nil {
		return c.note(err)
	}
	if names, err := rows.Columns(); err != nil || columns > 0 && len(names) != columns {
		return c.note(cmp.Or(err, errors.New("the answer has other columns than were asked for")))
	}
	row, into := make([]sql.NullString, columns), make([]any, columns)
	for i := range row {
		into[i] = &row[i]
	}
	texts := make([]string, columns)
	for n := 0; rows.Next(); n++ {
		if n >= most {
			cancel() // closing would read the rest
			_ = rows.Close()
			return c.note(zonecheck.ErrTooMuch)
		}
		if columns == 0 {
			continue
		}
		if err := rows.Scan(into...); err != nil {
			return c.note(err)
		}
		for i := range row {
			texts[i] = row[i].String
		}
		each(texts)
	}
	return c.note(cmp.Or(rows.Err(), rows.Close()))
}

// note keeps the errors that are not the database's own.
func (c *conn) note(err error) error {
	if c.left.Exceeded() {
		err = zonecheck.ErrTooMuch
	}
	if err != nil && !c.Said(err) {
		c.lastErr = err
	}
	return err
}

// Said implements [zonecheck.Conn].
func (c *conn) Said(err error) bool {
	var said *mysql.MySQLError
	return errors.As(err, &said)
}

// Closed implements [zonecheck.Conn].
func (c *conn) Closed() bool { return c.lastErr != nil }

// Drop implements [zonecheck.Conn].
func (c *conn) Drop() {
	if c.conn != nil {
		_ = c.conn.Close()
	}
	_ = c.db.Close()
}

// Ping implements [zonecheck.Conn].
func (c *conn) Ping(ctx context.Context) error {
	return c.rows(ctx, 1, 1, func([]string) {}, "SELECT 1")
}
