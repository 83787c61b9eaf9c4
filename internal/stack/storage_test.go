package stack_test

import (
	"context"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"sigstack/internal/admin"
	"sigstack/internal/config"
	"sigstack/internal/pgtest"
	"sigstack/internal/stack"
)

// urlFile is a file with the URL of a database, as section database names it.
func urlFile(t *testing.T, db *pgtest.Database) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "database-url")
	if err := os.WriteFile(path, []byte(db.URL+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func loadConf(t *testing.T, dir string) *config.Config {
	t.Helper()
	conf, err := config.Load(filepath.Join(dir, "config.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	return conf
}

// TestInitInDatabase: schemas belong to one stack, whose logs are not in its directory.
func TestInitInDatabase(t *testing.T) {
	_, db := pgtest.Start(t)
	place := stack.InitDatabase{URLFile: urlFile(t, db)}
	dir := initDir(t, stack.InitConfig{Profile: config.ProfileUp, Database: place})
	for range 2 {
		runUntilReady(t, options(dir, config.ProfileUp))
	}
	if _, err := os.Stat(stack.Layout{Dir: dir}.LogDB()); !os.IsNotExist(err) {
		t.Errorf("db/log: got %v, want that there is none", err)
	}
	if n := pgtest.Value[int64](t, db, "SELECT count(*) FROM sigstack_tlog.SequencedLeafData"); n < 2 {
		t.Errorf("the log's schema has %d entries, want one of each start", n)
	}
	other := testInit(filepath.Join(t.TempDir(), "other"))
	other.Database = place
	if err := stack.Init(t.Context(), other); err == nil || !strings.Contains(err.Error(), "another stack's") {
		t.Errorf("another stack in the schemas: got %v, want it refused", err)
	}
	other.Dir, other.Database.Schema = filepath.Join(t.TempDir(), "other"), "second"
	if err := stack.Init(t.Context(), other); err != nil {
		t.Fatal(err)
	}
	runUntilReady(t, options(other.Dir, config.ProfileUp))
}

// TestInitInDatabaseGoesOn: an init that was interrupted after it made its trees takes
// them, as the marker in its directory proves.
func TestInitInDatabaseGoesOn(t *testing.T) {
	_, db := pgtest.Start(t)
	place := stack.InitDatabase{URLFile: urlFile(t, db)}
	dir := initDir(t, stack.InitConfig{Profile: config.ProfileUp, Database: place})
	before := loadConf(t, dir)
	comment := pgtest.Value[string](t, db, "SELECT obj_description('sigstack_tlog'::regnamespace)")
	interrupt := func(marker string) {
		t.Helper()
		if err := os.Remove(filepath.Join(dir, "config.yaml")); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, "init-unfinished"), []byte(marker), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	cfg := testInit(dir)
	cfg.Database = place
	interrupt(strings.TrimPrefix(comment, "sigstack "))
	if err := stack.Init(t.Context(), cfg); err != nil {
		t.Fatal(err)
	}
	if after := loadConf(t, dir); after.TLog.TreeID != before.TLog.TreeID || after.CTLog.TreeID != before.CTLog.TreeID {
		t.Errorf("trees %d and %d, want those of before, %d and %d", after.TLog.TreeID, after.CTLog.TreeID, before.TLog.TreeID, before.CTLog.TreeID)
	}
	runUntilReady(t, options(dir, config.ProfileUp))
	interrupt("")
	if err := stack.Init(t.Context(), cfg); err == nil || !strings.Contains(err.Error(), "another stack's") {
		t.Errorf("an init of another name: got %v, want it refused", err)
	}
}

// TestOtherVersionsAreRefused names the command that helps.
func TestOtherVersionsAreRefused(t *testing.T) {
	_, db := pgtest.Start(t)
	dir := initDir(t, stack.InitConfig{Profile: config.ProfileUp, Database: stack.InitDatabase{URLFile: urlFile(t, db)}})
	refused := func(want string) {
		t.Helper()
		s, err := stack.Open(t.Context(), options(dir, config.ProfileUp))
		if err == nil {
			t.Fatalf("opened; closed with %v", s.Close())
		}
		if !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q in it", err, want)
		}
	}
	state := func() string {
		t.Helper()
		d, err := stack.ReadDatabase(t.Context(), dir)
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range d.Schemas {
			if s.Name == "sigstack_ctlog" {
				return s.State
			}
		}
		return "not there"
	}
	db.Exec(t, "DROP SCHEMA sigstack_ctlog CASCADE")
	refused("sigstack db migrate --dir " + dir)
	if got := state(); got != stack.SchemaMissing {
		t.Errorf("state %s, want it missing", got)
	}
	done, err := stack.MigrateDatabase(t.Context(), dir)
	if err != nil || len(done) == 0 || state() != stack.SchemaCurrent {
		t.Errorf("migrated %+v, %v, and the schema is %s", done, err, state())
	}
	refused("not found") // the tree was in the schema
	db.Exec(t, "INSERT INTO sigstack_tlog.goose_db_version (version_id, is_applied) VALUES (99, true)")
	refused("migrated by a newer one")
	if _, err := stack.MigrateDatabase(t.Context(), dir); err == nil || !strings.Contains(err.Error(), "newer") {
		t.Errorf("migrating back: got %v, want it refused", err)
	}
}

// TestShardsInDatabase: shards of the log share its schema, a CT log has its own.
func TestShardsInDatabase(t *testing.T) {
	_, db := pgtest.Start(t)
	dir := initDir(t, stack.InitConfig{Profile: config.ProfileUp, Database: stack.InitDatabase{URLFile: urlFile(t, db)}})
	var c clock
	opts := options(dir, config.ProfileUp)
	opts.Now = c.now
	r := start(t, opts)
	prepareShard(t, dir)
	c.add(10 * time.Second)
	var got stack.ActivatedShard
	if err := admin.Dial(dir).Post(t.Context(), stack.AdminShardActivate, nil, &got); err != nil || got.Frozen.Size == 0 {
		t.Fatalf("activated %+v, %v", got, err)
	}
	prepareCT(t, dir, stack.CTLogOrder{})
	if n := pgtest.Value[int64](t, db, "SELECT count(*) FROM sigstack_ctlog_ct2.Trees"); n != 1 {
		t.Errorf("the CT log's schema has %d trees, want 1", n)
	}
	if n := pgtest.Value[int64](t, db, "SELECT count(*) FROM sigstack_tlog.Trees WHERE TreeState = 'ACTIVE'"); n != 1 {
		t.Errorf("%d shards take entries, want 1", n)
	}
	r.stop()
	if err := <-r.done; err != nil {
		t.Fatal(err)
	}
	d, err := stack.ReadDatabase(t.Context(), dir)
	if err != nil || len(d.Due()) > 0 || len(d.Schemas) < 3 {
		t.Errorf("database %+v, %v, want three schemas of this version", d, err)
	}
	r = start(t, opts)
	if got := states(shards(t, dir)); got != "tlog frozen, tlog-2 active" {
		t.Errorf("shards %s after a restart", got)
	}
	if code, rep := r.report(t); code != http.StatusOK {
		t.Errorf("readiness %d %+v", code, rep)
	}
}

// TestStoppedLogInDatabase: what reads, checks and repairs a stopped directory.
func TestStoppedLogInDatabase(t *testing.T) {
	_, db := pgtest.Start(t)
	dir := initDir(t, stack.InitConfig{Profile: config.ProfileUp, Database: stack.InitDatabase{URLFile: urlFile(t, db)}})
	runUntilReady(t, options(dir, config.ProfileUp))
	log, err := stack.OpenStoppedLog(t.Context(), dir, time.Now)
	if err != nil {
		t.Fatal(err)
	}
	e, err := log.Get(t.Context(), "0", 0)
	if err != nil || e.TreeSize == 0 {
		t.Errorf("entry %+v, %v", e, err)
	}
	if err := log.Close(); err != nil {
		t.Error(err)
	}
	const count = "SELECT count(*) FROM sigstack_tlog.ExtraRow"
	rows := pgtest.Value[int64](t, db, count)
	// One row goes, one is another's, one is nothing's.
	db.Exec(t, "DELETE FROM sigstack_tlog.ExtraRow WHERE Key = (SELECT Key FROM sigstack_tlog.ExtraRow WHERE get_byte(Key, 0) = ascii('s') ORDER BY Key DESC LIMIT 1)",
		"UPDATE sigstack_tlog.ExtraRow SET Value = decode(repeat('00', 32), 'hex') WHERE Key = (SELECT Key FROM sigstack_tlog.ExtraRow WHERE get_byte(Key, 0) = ascii('s') ORDER BY Key LIMIT 1)",
		"INSERT INTO sigstack_tlog.ExtraRow (TreeId, Key, Value) SELECT TreeId, decode('73' || repeat('ab', 40), 'hex'), '' FROM sigstack_tlog.Trees",
		"INSERT INTO sigstack_tlog.ExtraRow (TreeId, Key, Value) SELECT TreeId, decode('73' || repeat('ab', 32) || '0000000000000000', 'hex'), '' FROM sigstack_tlog.Trees")
	r, err := stack.ReindexStopped(t.Context(), dir, time.Now, func(string, uint64, uint64) {})
	if err != nil || len(r.Logs) != 1 || r.Logs[0].Written != 2 || r.Logs[0].Removed != 2 || r.Failed() != nil {
		t.Errorf("reindexed %+v, %v, want 2 rows written and 2 removed", r, err)
	}
	if n := pgtest.Value[int64](t, db, count); n != rows {
		t.Errorf("%d rows after that, want %d", n, rows)
	}
	wantFsck(t, dir, "")
	db.Exec(t, "UPDATE sigstack_tlog.LeafData SET LeafValue = LeafValue || ' '::bytea "+
		"WHERE LeafIdentityHash = (SELECT LeafIdentityHash FROM sigstack_tlog.SequencedLeafData WHERE SequenceNumber = 0)")
	wantFsck(t, dir, "it hashes to")
}

func wantFsck(t *testing.T, dir, want string) {
	t.Helper()
	report, err := stack.CheckLogs(t.Context(), stack.LogCheck{Dir: dir, Now: time.Now})
	switch {
	case err != nil:
		t.Fatal(err)
	case want == "" && (report.Count != 0 || len(report.Trees) != 2):
		t.Errorf("fsck: %+v, want two sound trees", report)
	case want != "" && (report.Count != 1 || report.Problems[0].Index == nil || *report.Problems[0].Index != 0 || !strings.Contains(report.Problems[0].Detail, want)):
		t.Errorf("fsck: %+v, want one problem of entry 0, %q", report, want)
	}
}

// TestNoPasswordIsTold: neither by a start without the database nor by config check.
func TestNoPasswordIsTold(t *testing.T) {
	_, db := pgtest.Start(t)
	file := urlFile(t, db)
	dir := initDir(t, stack.InitConfig{Profile: config.ProfileUp, Database: stack.InitDatabase{URLFile: file}})
	const password = "correct-horse"
	for _, tt := range []struct {
		url, want string
		mode      os.FileMode
	}{
		{"postgres://log:" + password + "@127.0.0.1:1/logs?sslmode=disable", "127.0.0.1:1", 0o600},
		{"postgres://log:" + password + "@127.0.0.1:port/logs", "database.url_file", 0o600},
		{"postgres://log:" + password + "@127.0.0.1:1/logs", "chmod 600", 0o644},
		{"", "database.url_file", 0o600},
	} {
		if err := os.WriteFile(file, []byte(tt.url), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(file, tt.mode); err != nil {
			t.Fatal(err)
		}
		opts := options(dir, config.ProfileUp)
		var said strings.Builder
		opts.Log = slog.New(slog.NewTextHandler(&said, nil))
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		s, err := stack.Open(ctx, opts)
		cancel()
		if err == nil {
			t.Fatalf("%s: opened; closed with %v", tt.url, s.Close())
		}
		if !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: got %v, want %q in it", tt.url, err, tt.want)
		}
		f, fileErr := config.ReadFile(filepath.Join(dir, "config.yaml"))
		if fileErr != nil {
			t.Fatal(fileErr)
		}
		stack.Check(f, dir, time.Now())
		if strings.Contains(err.Error()+said.String()+errorText(f.Err()), password) {
			t.Errorf("%s: the password is told: %v\n%s\n%v", tt.url, err, said.String(), f.Err())
		}
	}
}

func errorText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}
