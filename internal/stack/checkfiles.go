package stack

import (
	"crypto"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"sigstack/internal/config"
	"sigstack/internal/keys"
	"sigstack/internal/pki"
	"sigstack/internal/tlsconf"
)

// Check adds to f what is wrong with it beyond what it can tell by itself: settings
// of connectors and, unless dir is empty, every file that it names; relative paths
// are below dir. Nothing is started, decrypted, changed or asked over a network.
func Check(f *config.File, dir string, now time.Time) {
	if !f.Understood() {
		return
	}
	f.Add(checkConnectors(f.Config)...)
	set, section := f.Config.Accepted()
	_, problems := ciProviders(set, section)
	f.Add(append(problems, checkPolicies(f.Config)...)...)
	if dir == "" {
		return
	}
	c := fileCheck{Layout: Layout{dir}, conf: f.Config, now: now, public: map[string]crypto.PublicKey{}}
	c.keys()
	c.database()
	c.chains()
	c.ctLogs()
	c.publishedCT()
	c.laterCT()
	c.takersCT()
	c.tls()
	_, problems = c.issuersOf(f.Config, podFiles())
	c.list = append(c.list, problems...)
	c.list = append(c.list, c.checkConnectorFiles(f.Config)...)
	c.list = append(c.list, c.testing(f.Config)...)
	c.list = append(c.list, c.careless(f.Config)...)
	c.split()
	f.Add(c.list...)
}

// fileCheck looks at every file that a configuration names.
type fileCheck struct {
	Layout
	conf   *config.Config
	now    time.Time
	list   []config.Problem
	public map[string]crypto.PublicKey // of keys, by name; those that are known
}

func (c *fileCheck) add(field, format string, args ...any) {
	c.list = append(c.list, config.Problem{Field: field, Message: fmt.Sprintf(format, args...)})
}

// split warns of a directory that no start will take.
func (c *fileCheck) split() {
	into, err := c.SplitInto()
	if err != nil {
		c.add("", "%v", err)
		return
	}
	if into != "" {
		c.list = append(c.list, config.Problem{Warning: true, Message: fmt.Sprintf(
			"directory %s was split into processes, in %s: those are served, each by its own configuration, and this one never again", c.Dir, into)})
	}
}

// database is not asked: only what is to be read at a start.
func (c *fileCheck) database() {
	if c.conf.Database == nil {
		return
	}
	if _, err := c.databaseURL(c.conf.Database); err != nil {
		c.add("database.url_file", "%v", err)
	}
}

func (c *fileCheck) keys() {
	store := keys.Open(c.Keys(), nil)
	for _, k := range c.conf.Keys() {
		if k.Secret {
			if _, err := c.pemType(k); err != nil {
				c.add(k.Field, "%v", notThere(err, "secret "+k.Name, c.Keys()))
			}
			continue
		}
		info, err := store.Info(k.Name)
		if err != nil && !errors.Is(err, keys.ErrLocked) {
			c.add(k.Field, "%v", notThere(err, "key "+k.Name, c.Keys()))
			continue
		}
		if public, err := x509.ParsePKIXPublicKey(info.SPKI); err == nil {
			c.public[k.Name] = public
		}
	}
}

// notThere says in words what is missing.
func notThere(err error, what, dir string) error {
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("there is no %s in %s", what, dir)
	}
	return err
}

// pemType returns how the file of a key or secret begins, "" for a key that lives
// elsewhere. A file that others may read is an error.
func (l Layout) pemType(k config.Key) (string, error) {
	suffix := ".key"
	if k.Secret {
		suffix = ".secret"
	}
	path := filepath.Join(l.Keys(), k.Name+suffix)
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist) && !k.Secret:
		if elsewhere, err := exists(filepath.Join(l.Keys(), k.Name+".ref")); elsewhere || err != nil {
			return "", err
		}
	case err == nil && (!info.Mode().IsRegular() || info.Mode().Perm()&0o077 != 0):
		return "", fmt.Errorf("%s: mode is %v, want a file with 0600: chmod 600 it, and change the key if it was seen", path, info.Mode())
	}
	if err != nil {
		return "", err
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return "", err
	}
	block, _ := pem.Decode(data)
	if block == nil {
		return "", fmt.Errorf("%s is not PEM", path)
	}
	return block.Type, nil
}

// chains are those of the services' certificates. Where the key's public half is
// known without a passphrase it must be the certificate's.
func (c *fileCheck) chains() {
	for _, x := range namedChains(c.conf) {
		chain, err := c.chain(x.path)
		if err != nil {
			c.add(x.field, "%v", err)
			continue
		}
		public, ok := c.public[x.key]
		if !ok {
			public = chain[0].PublicKey
		}
		if x.timestamps {
			err = pki.CheckTimestampChain(chain, public, c.now)
		} else {
			err = pki.CheckIssuingChain(chain, public, x.usage, c.now)
		}
		if err != nil {
			c.add(x.field, "%s: %v", x.path, err)
		}
	}
}

// ctLogs are the files of CT logs and of who is logged there.
func (c *fileCheck) ctLogs() {
	if log := c.conf.CTLog; log != nil {
		for i, path := range log.Roots {
			if _, err := c.chain(path); err != nil {
				c.add(fmt.Sprintf("ctlog.roots[%d]", i), "%v", err)
			}
		}
	}
	if c.conf.CA == nil {
		return
	}
	for i, log := range c.conf.CA.CTLogs {
		field := fmt.Sprintf("ca.ct_logs[%d]", i)
		if log.Key != "" {
			if _, err := c.publicKey(log.Key); err != nil {
				c.add(field+".key", "%v", err)
			}
		}
		if _, end := log.Range(); !log.Own && !log.Retired && !end.IsZero() && !c.now.Before(end) {
			c.list = append(c.list, config.Problem{Warning: true, Field: field + ".not_after_limit", Message: fmt.Sprintf(
				"%s is over: the log is asked for nothing any more; say retired: true", log.NotAfterLimit)})
		}
		if log.CACert != "" {
			if _, err := c.chain(log.CACert); err != nil {
				c.add(field+".ca_cert", "%v", err)
			}
		}
	}
}

// namedChain is a chain of certificates that the configuration names.
type namedChain struct {
	field, path, key string
	usage            x509.ExtKeyUsage
	timestamps       bool
}

func namedChains(conf *config.Config) []namedChain {
	var out []namedChain
	if ca := conf.CA; ca != nil {
		out = append(out, namedChain{"ca.chain", ca.Chain, ca.Key, x509.ExtKeyUsageCodeSigning, false})
	}
	if tsa := conf.TSA; tsa != nil {
		out = append(out, namedChain{"tsa.chain", tsa.Chain, tsa.Key, x509.ExtKeyUsageTimeStamping, true})
	}
	if conf.TLS != nil && conf.TLS.InternalCA != nil {
		ca := conf.TLS.InternalCA
		out = append(out, namedChain{"tls.internal_ca.chain", ca.Chain, ca.Key, x509.ExtKeyUsageServerAuth, false})
	}
	return slices.DeleteFunc(out, func(c namedChain) bool { return c.path == "" })
}

func (c *fileCheck) tls() {
	t := c.conf.TLS
	if t == nil {
		return
	}
	if t.ClientCA != "" {
		if _, err := c.chain(t.ClientCA); err != nil {
			c.add("tls.client_ca", "%v", err)
		}
	}
	f := t.Files
	if f == nil || f.Certificate == "" || f.Key == "" {
		return
	}
	missing := false
	for _, x := range []struct{ field, path string }{
		{"tls.files.certificate", f.Certificate}, {"tls.files.key", f.Key}, {"tls.files.authorities", f.Authorities},
	} {
		if x.path == "" {
			continue
		}
		if err := readable(c.path(x.path)); err != nil {
			c.add(x.field, "%v", err)
			missing = true
		}
	}
	if missing {
		return
	}
	if err := tlsconf.CheckFiles(*c.tlsFiles(f), c.conf.Host(), c.now); err != nil {
		c.add("tls.files", "%v", err)
	}
}

// readable reports why a file cannot be read.
func readable(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = fmt.Errorf("%s is not a regular file", path)
	}
	return errors.Join(err, f.Close())
}
