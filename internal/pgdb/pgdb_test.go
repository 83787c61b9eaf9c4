package pgdb_test

import (
	"context"
	"fmt"
	"os"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/jackc/pgx/v5"

	"sigstack/internal/pgdb"
	"sigstack/internal/pgtest"
)

func TestMain(m *testing.M) { os.Exit(pgtest.Main(m)) }

// steps are migrations that make one table each.
func steps(n int) fstest.MapFS {
	files := fstest.MapFS{}
	for i := 1; i <= n; i++ {
		files[fmt.Sprintf("%05d_step.sql", i)] = &fstest.MapFile{Data: fmt.Appendf(nil, "-- +goose Up\nCREATE TABLE step%d (x int);\n", i)}
	}
	return files
}

func TestMigrateGoesOnFromWhereItWas(t *testing.T) {
	db := pgtest.New(t)
	for _, tt := range []struct {
		steps int
		want  pgdb.Version
	}{{2, pgdb.Version{Current: 0, Target: 2}}, {2, pgdb.Version{Current: 2, Target: 2}}, {3, pgdb.Version{Current: 2, Target: 3}}} {
		got, err := pgdb.Migrate(t.Context(), db.URL, "some", steps(tt.steps))
		if err != nil || got != tt.want {
			t.Errorf("%d steps: got %+v and %v, want %+v", tt.steps, got, err, tt.want)
		}
		now, err := pgdb.ReadVersion(t.Context(), db.URL, "some", steps(tt.steps))
		if err != nil || now.Check() != nil {
			t.Errorf("%d steps: got %+v and %v afterwards", tt.steps, now, err)
		}
	}
	if _, err := pgdb.Migrate(t.Context(), db.URL, "some", steps(1)); err == nil || !strings.Contains(err.Error(), "newer") {
		t.Errorf("an older program migrates: got %v, want it refused", err)
	}
}

// TestMigrateInASchemaThatWasGiven has a user who may make no schema.
func TestMigrateInASchemaThatWasGiven(t *testing.T) {
	db := pgtest.New(t)
	db.Exec(t, "CREATE ROLE guest LOGIN", "CREATE SCHEMA given AUTHORIZATION guest")
	config, err := pgx.ParseConfig(db.URL)
	if err != nil {
		t.Fatal(err)
	}
	guest := fmt.Sprintf("host=%s user=guest dbname=%s", config.Host, config.Database)
	if _, err := pgdb.Migrate(t.Context(), guest, "given", steps(1)); err != nil {
		t.Error(err)
	}
	if _, err := pgdb.Migrate(t.Context(), guest, "taken", steps(1)); err == nil || !strings.Contains(err.Error(), "create the schema") {
		t.Errorf("got %v, want a schema that cannot be made", err)
	}
}

func TestCheckNamesBothVersions(t *testing.T) {
	for _, tt := range []struct {
		v    pgdb.Version
		want string
	}{
		{pgdb.Version{Current: 2, Target: 2}, ""},
		{pgdb.Version{Current: 1, Target: 2}, "has version 1, this program needs 2"},
		{pgdb.Version{Current: 3, Target: 2}, "has version 3, this program knows 2"},
	} {
		err := tt.v.Check()
		if tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)) {
			t.Errorf("%+v: got %v, want %q", tt.v, err, tt.want)
		}
	}
}

func TestNoErrorShowsThePassword(t *testing.T) {
	const password = "correct-horse"
	for _, url := range []string{
		"postgres://user:" + password + "@host:notaport/db",
		"postgres://user:" + password + "@ho st/db",
		"user=x password=" + password + " port=99999999",
		"user=x password='" + password,
		"postgres://user:" + password + "@host/db?sslmode=bogus",
		"postgres://user:" + password + "@host/db?connect_timeout=soon",
		"postgres://user@host/db?pass%77ord=" + password + "&sslmode=bogus",
		"postgres://user:" + password + "@127.0.0.1:1/db", // where nobody answers
	} {
		_, err := pgdb.ReadVersion(context.Background(), url, "some", steps(1))
		if err == nil {
			t.Errorf("%s was read", url)
			continue
		}
		if strings.Contains(err.Error(), password) {
			t.Errorf("the password is in %q", err)
		}
	}
}

func TestCheckURL(t *testing.T) {
	for url, good := range map[string]bool{
		"postgres://user:pass@host:5432/db?sslmode=disable": true,
		"host=/run/postgresql dbname=logs":                  true,
		"":                                                  false,
		" \n":                                               false,
		"logs":                                              false,
	} {
		if err := pgdb.CheckURL(url); (err == nil) != good {
			t.Errorf("%q: got %v", url, err)
		}
	}
}

func TestConfigRefusesOtherNames(t *testing.T) {
	for name, good := range map[string]bool{
		"a": true, "sigstack_tlog": true, "a" + strings.Repeat("b", 62): true,
		"": false, "Logs": false, "1st": false, `a"; DROP SCHEMA b; --`: false, "a" + strings.Repeat("b", 63): false,
	} {
		if _, err := pgdb.Config("host=/run", name); (err == nil) != good {
			t.Errorf("%q: got %v", name, err)
		}
	}
}

func TestClaimIsForOneOwner(t *testing.T) {
	db := pgtest.New(t)
	db.Exec(t, "CREATE SCHEMA dba", "COMMENT ON SCHEMA dba IS 'mine'")
	for _, tt := range []struct {
		schema, owner string
		fresh         bool
		problem       string
	}{
		{"log", "a's", true, ""},
		{"log", "a's", false, ""},
		{"log", "b", false, "another stack's"},
		{"dba", "a's", false, "has a comment already"},
		{"log2", "b", true, ""},
	} {
		fresh, err := pgdb.Claim(t.Context(), db.URL, tt.schema, tt.owner)
		if tt.problem != "" {
			if err == nil || !strings.Contains(err.Error(), tt.problem) {
				t.Errorf("%s for %s: got %v, want %q", tt.schema, tt.owner, err, tt.problem)
			}
			continue
		}
		if err != nil || fresh != tt.fresh {
			t.Errorf("%s for %s: got %v and %v, want %v", tt.schema, tt.owner, fresh, err, tt.fresh)
		}
	}
}
