package caddymodule_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/quic-go/quic-go/http3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	grpcstatus "google.golang.org/grpc/status"

	"github.com/firebreak-proxy/firebreak/breaker"
)

// selfSigned writes a certificate for localhost, and returns a client's
// configuration that trusts it.
func selfSigned(t *testing.T) (cert, key string, client *tls.Config) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), DNSNames: []string{"localhost"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	cert, key = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	certPEM := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	for name, data := range map[string][]byte{cert: certPEM, key: pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER})} {
		if err := os.WriteFile(name, data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(certPEM)
	return cert, key, &tls.Config{RootCAs: roots, ServerName: "localhost"}
}

// startSecure starts Caddy with a guarded site over TLS, which speaks HTTP/1.1,
// HTTP/2 and HTTP/3. It returns the site's address.
func startSecure(t *testing.T, handler, proxy string) (s *sidecar, address string, client *tls.Config) {
	t.Helper()
	cert, key, client := selfSigned(t)
	address = freeAddress(t)
	_, port, _ := net.SplitHostPort(address)
	secure := fmt.Sprintf("respond plain\n}\n\nhttps://localhost:%s {\nbind 127.0.0.1\ntls %s %s\nfirebreak {\n%s\n}\n%s", port, cert, key, handler, proxy)
	return startSidecar(t, fmt.Sprintf(fastApp, "hung_hold 2s"), secure), address, client
}

// TestHTTP3 sends requests over QUIC.
func TestHTTP3(t *testing.T) {
	stuck := newGate(t)
	upstream := newUpstream(t, func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/hang":
			stuck.wait()
		case "/stream":
			w.Header().Set("Content-Type", "text/event-stream")
			for n := range 3 {
				fmt.Fprintf(w, "data: %d\n\n", n)
				_ = http.NewResponseController(w).Flush()
				time.Sleep(400 * time.Millisecond)
			}
		default:
			body, _ := io.ReadAll(r.Body) // before the answer: HTTP/1.1 is not full duplex
			_, _ = w.Write(body)
		}
	})
	s, address, trust := startSecure(t, "key query key\nkey json store", fmt.Sprintf("reverse_proxy %s {\ntransport firebreak\n}", upstream))
	transport := &http3.Transport{TLSClientConfig: trust}
	defer transport.Close()
	client := &http.Client{Transport: transport, Timeout: 15 * time.Second}
	_, port, _ := net.SplitHostPort(address)
	send := func(method, path, body string) (*http.Response, string) {
		t.Helper()
		req, err := http.NewRequestWithContext(t.Context(), method, "https://localhost:"+port+path, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Content-Type", "application/json")
		res, err := client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		answer, err := io.ReadAll(res.Body)
		if err != nil {
			t.Fatal(err)
		}
		if res.ProtoMajor != 3 {
			t.Fatalf("it was HTTP/%d, want 3", res.ProtoMajor)
		}
		return res, string(answer)
	}

	t.Run("body", func(t *testing.T) {
		body := `{"store": "b", "rest": "` + strings.Repeat("x", 300<<10) + `"}`
		if res, answer := send(http.MethodPost, "/", body); res.StatusCode != 200 || answer != body {
			t.Errorf("status %d, %d bytes, want 200 and the %d that were sent", res.StatusCode, len(answer), len(body))
		}
		s.wantOutcome(t, "unknown", breaker.OK, 1) // it is longer than what is peeked
		if res, answer := send(http.MethodPost, "/", `{"store": "b"}`); res.StatusCode != 200 || answer != `{"store": "b"}` {
			t.Errorf("status %d, %q", res.StatusCode, answer)
		}
		s.wantOutcome(t, "z1", breaker.OK, 1)
	})
	t.Run("many at once", func(t *testing.T) {
		var wg sync.WaitGroup
		for n := range 6 { // fewer than the zone's limit
			wg.Go(func() {
				body := bytes.Repeat([]byte{byte('a' + n%26)}, 10000+n)
				res, err := client.Post("https://localhost:"+port+"/?key=e", "text/plain", bytes.NewReader(body))
				if err != nil {
					t.Error(err)
					return
				}
				defer res.Body.Close()
				if answer, _ := io.ReadAll(res.Body); res.StatusCode != 200 || !bytes.Equal(answer, body) {
					t.Errorf("request %d: status %d, %d bytes", n, res.StatusCode, len(answer))
				}
			})
		}
		wg.Wait()
	})
	t.Run("stream", func(t *testing.T) {
		if res, answer := send(http.MethodGet, "/stream?key=e", ""); res.StatusCode != 200 || strings.Count(answer, "data:") != 3 {
			t.Errorf("status %d, %q; want 3 events, though the last came after the deadline", res.StatusCode, answer)
		}
	})
	t.Run("deadline", func(t *testing.T) {
		began := time.Now()
		res, body := send(http.MethodGet, "/hang?key=a", "")
		within(t, "the answer", time.Since(began), 480*time.Millisecond, 2*time.Second)
		wantHung(t, res, body)
		s.wantSlots(t, "z1", 0, 1)
		stuck.release()
		s.wantSlots(t, "z1", 0, 0)
	})
	t.Run("client leaves", func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		req, _ := http.NewRequestWithContext(ctx, http.MethodGet, "https://localhost:"+port+"/stream?key=e", nil)
		if res, err := client.Do(req); err == nil {
			_, _ = io.Copy(io.Discard, res.Body)
			res.Body.Close()
		}
		s.wantSlots(t, "z2", 0, 0)
	})
}

// newUpstream is an API server; it returns its address.
func newUpstream(t *testing.T, serve http.HandlerFunc) net.Addr {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: serve}
	t.Cleanup(func() { server.Close() })
	go server.Serve(listener)
	return listener.Addr()
}

// TestGRPC puts a real gRPC service behind firebreak, and a real client before
// it.
func TestGRPC(t *testing.T) {
	stuck := newGate(t)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer(grpc.UnaryInterceptor(func(ctx context.Context, req any, _ *grpc.UnaryServerInfo, handle grpc.UnaryHandler) (any, error) {
		if md, _ := metadata.FromIncomingContext(ctx); len(md["hang"]) > 0 {
			stuck.wait()
		}
		return handle(ctx, req)
	}))
	service := health.NewServer()
	healthpb.RegisterHealthServer(server, service)
	go server.Serve(listener)
	t.Cleanup(server.Stop)
	s, address, trust := startSecure(t, "key header X-Store", fmt.Sprintf("reverse_proxy h2c://%s {\ntransport firebreak\n}", listener.Addr()))
	conn, err := grpc.NewClient("passthrough:///"+address, grpc.WithTransportCredentials(credentials.NewTLS(trust)))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	client := healthpb.NewHealthClient(conn)
	as := func(store string, more ...string) context.Context {
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		t.Cleanup(cancel)
		return metadata.AppendToOutgoingContext(ctx, append([]string{"x-store", store}, more...)...)
	}

	t.Run("unary", func(t *testing.T) {
		answer, err := client.Check(as("a"), new(healthpb.HealthCheckRequest))
		if err != nil || answer.GetStatus() != healthpb.HealthCheckResponse_SERVING {
			t.Fatalf("%v, %v; want SERVING", answer, err)
		}
		s.wantOutcome(t, "z1", breaker.OK, 1)
	})
	t.Run("a client's mistake is no failure", func(t *testing.T) {
		_, err := client.Check(as("a"), &healthpb.HealthCheckRequest{Service: "nowhere"})
		if grpcstatus.Code(err) != codes.NotFound {
			t.Errorf("%v, want NotFound", err)
		}
		s.wantOutcome(t, "z1", breaker.OK, 2)
	})
	t.Run("stream", func(t *testing.T) {
		stream, err := client.Watch(as("b"), new(healthpb.HealthCheckRequest))
		if err != nil {
			t.Fatal(err)
		}
		for _, want := range []healthpb.HealthCheckResponse_ServingStatus{healthpb.HealthCheckResponse_SERVING, healthpb.HealthCheckResponse_NOT_SERVING} {
			answer, err := stream.Recv()
			if err != nil || answer.GetStatus() != want {
				t.Fatalf("%v, %v; want %s", answer, err, want)
			}
			time.Sleep(700 * time.Millisecond) // longer than a request may take
			service.SetServingStatus("", healthpb.HealthCheckResponse_NOT_SERVING)
		}
		if z := s.zone(t, "z1"); z.Streams != 1 || z.Hung != 0 {
			t.Errorf("%d streams, %d hung, want 1 and 0", z.Streams, z.Hung)
		}
	})
	t.Run("deadline", func(t *testing.T) {
		began := time.Now()
		_, err := client.Check(as("c", "hang", "1"), new(healthpb.HealthCheckRequest))
		within(t, "the answer", time.Since(began), 480*time.Millisecond, 2*time.Second)
		if grpcstatus.Code(err) != codes.DeadlineExceeded {
			t.Errorf("%v, want DeadlineExceeded", err)
		}
		s.wantOutcome(t, "z1", breaker.Hung, 1)
		stuck.release()
		s.wantSlots(t, "z1", 0, 0)
	})
	t.Run("refused", func(t *testing.T) {
		s.mustSend(t, 200, http.MethodPost, "/firebreak/zones/z2/isolate", `{"reason": "test"}`)
		_, err := client.Check(as("e"), new(healthpb.HealthCheckRequest))
		if grpcstatus.Code(err) != codes.Unavailable || !strings.Contains(err.Error(), "not available at the moment") {
			t.Errorf("%v, want Unavailable and firebreak's sentence", err)
		}
	})
}
