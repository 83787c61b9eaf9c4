package replicas_test

import (
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"sigstack/e2e/e2etest"
	"sigstack/e2e/testissuer"
	"sigstack/internal/pgtest"
)

// Of one identity, and of one issuer, at once; nothing grows during the test. Each
// replica may issue one of twenty before the other knows.
const (
	mostOfIdentity = 20
	mostOfIssuer   = 30
	mostAhead      = 1
	issuanceLimits = "\nlimits:\n  identity: {per_second: 0.0001, burst: 20}\n  issuer: {per_second: 0.0001, burst: 30}\n"
)

// certificate asks this replica for one.
func (r *replica) certificate(t *testing.T, token, who string) (status int, answer string) {
	t.Helper()
	status, body := e2etest.Send(t, http.MethodPost, r.at+"/api/v2/signingCert", "application/json", e2etest.CertificateRequest(t, token, who))
	return status, string(body)
}

// certificates asks both for n, all at once, and returns how many there were. The others
// must have been refused by a limit.
func certificates(t *testing.T, a, b *replica, n int, token, who, limit string) int {
	t.Helper()
	bodies := make([][]byte, n)
	for i := range bodies {
		bodies[i] = e2etest.CertificateRequest(t, token, who)
	}
	var issued atomic.Int64
	var wait sync.WaitGroup
	for i, body := range bodies {
		wait.Go(func() {
			r := []*replica{a, b}[i%2]
			status, answer, err := e2etest.Post(t.Context(), http.DefaultClient, r.at+"/api/v2/signingCert", body)
			switch {
			case err != nil:
				t.Errorf("%s: %v", r.name, err)
			case status == http.StatusOK:
				issued.Add(1)
			case status != http.StatusTooManyRequests || !strings.Contains(string(answer), `"limit":"`+limit+`"`):
				t.Errorf("%s answers %d %s, want 429 by the limit of the %s", r.name, status, answer, limit)
			}
		})
	}
	wait.Wait()
	return int(issued.Load())
}

// TestReplicasLimitCertificatesTogether: both replicas issue one limit's worth, also
// when one of them begins anew, and none while nobody can count.
func TestReplicasLimitCertificatesTogether(t *testing.T) {
	if e2etest.OverTLS() {
		t.Skip("replicas are reached one by one here, by addresses that no certificate names")
	}
	issuer := testissuer.Start(t)
	server, db := pgtest.Start(t)
	a, b := startTwoOn(t, db, issuer.URL, issuanceLimits)
	const ann, bob = "ann@example.com", "bob@example.com"
	annToken, bobToken := issuer.Mint(t, issuer.Claims(ann)), issuer.Mint(t, issuer.Claims(bob))
	issued := 0
	t.Run("an identity", func(t *testing.T) {
		got := certificates(t, a, b, 3*mostOfIdentity, annToken, ann, "identity")
		if most := mostOfIdentity + 2*mostAhead; got < mostOfIdentity || got > most {
			t.Errorf("%d certificates, want %d to %d", got, mostOfIdentity, most)
		}
		issued = got
	})
	t.Run("an issuer", func(t *testing.T) {
		issued += certificates(t, a, b, mostOfIdentity, bobToken, bob, "issuer") // what Ann was refused did not count
		if most := mostOfIssuer + 2*mostAhead; issued < mostOfIssuer || issued > most {
			t.Errorf("%d certificates, want %d to %d", issued, mostOfIssuer, most)
		}
	})
	t.Run("a replica begins anew", func(t *testing.T) {
		b.Kill()
		b.start(b.Dir)
		b.wantRefused(t, annToken, ann)
	})
	t.Run("nobody can count", func(t *testing.T) {
		token := a.Token(t) // of another issuer, which has all of its limit
		if status, answer := a.certificate(t, token, e2etest.DemoUser); status != http.StatusOK {
			t.Fatalf("before: %d %s", status, answer)
		}
		if err := server.Kill(); err != nil {
			t.Fatal(err)
		}
		for range 2 {
			for _, r := range []*replica{a, b} {
				began := time.Now()
				if status, answer := r.certificate(t, token, e2etest.DemoUser); status != http.StatusServiceUnavailable {
					t.Errorf("%s answers %d %s without a database, want 503", r.name, status, answer)
				} else {
					t.Logf("%s after %v: %s", r.name, time.Since(began).Round(time.Millisecond), answer)
				}
			}
		}
		if err := server.Start(); err != nil {
			t.Fatal(err)
		}
		for _, r := range []*replica{a, b} {
			r.wantCertificate(t, token, e2etest.DemoUser)
		}
		// The database ended without a word, and remembers what no process does.
		b.Kill()
		b.start(b.Dir)
		b.wantRefused(t, annToken, ann)
	})
}

// wantRefused demands that a replica which knows nothing yet lets no more pass than it
// may before it is told.
func (r *replica) wantRefused(t *testing.T, token, who string) {
	t.Helper()
	issued := 0
	for range 5 {
		status, answer := r.certificate(t, token, who)
		switch status {
		case http.StatusOK:
			issued++
		case http.StatusTooManyRequests:
		default:
			t.Errorf("%s answers %d %s, want 429", r.name, status, answer)
		}
	}
	if issued > mostAhead {
		t.Errorf("%s issues %d certificates over the limit, want %d at most", r.name, issued, mostAhead)
	}
}

// wantCertificate waits until a replica issues again.
func (r *replica) wantCertificate(t *testing.T, token, who string) {
	t.Helper()
	for end := time.Now().Add(e2etest.ReadyWithin); ; time.Sleep(100 * time.Millisecond) {
		status, answer := r.certificate(t, token, who)
		if status == http.StatusOK {
			return
		}
		if status != http.StatusServiceUnavailable || time.Now().After(end) {
			t.Fatalf("%s answers %d %s when the database is back", r.name, status, answer)
		}
	}
}
