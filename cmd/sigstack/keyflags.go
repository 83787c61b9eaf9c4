package main

import (
	"strings"

	"github.com/spf13/pflag"

	"sigstack/internal/keys"
	"sigstack/internal/stack"
)

// pluginFlags say where the programs are that reach keys in key services.
type pluginFlags struct{ dir string }

func (p *pluginFlags) add(f *pflag.FlagSet) {
	f.StringVar(&p.dir, "kms-plugins", "", "`directory` of the programs sigstore-kms-SCHEME that reach keys in key services (default: PATH)")
}

// placeFlags say which keys init does not put into files.
type placeFlags struct {
	places  []string
	create  bool
	plugins pluginFlags
}

func (p *placeFlags) add(f *pflag.FlagSet) {
	f.StringArrayVar(&p.places, "key", nil, "`NAME=URI`: the key NAME lives at URI rather than in a file; may be repeated; see docs/keys.md")
	f.BoolVar(&p.create, "create-keys", false, "make a key at a URI of --key that has none")
	p.plugins.add(f)
}

func (p placeFlags) keys() (stack.InitKeys, error) {
	k := stack.InitKeys{URIs: map[string]string{}, Create: p.create}
	for _, v := range p.places {
		name, uri, ok := strings.Cut(v, "=")
		if !ok || strings.Contains(name, ":") {
			return k, usagef("--key: want NAME=URI, such as ca=hashivault://ca") // quoted it might show a PIN
		}
		if _, twice := k.URIs[name]; twice {
			return k, usagef("--key %s is given twice", name)
		}
		if err := keys.CheckURI(uri); err != nil {
			return k, usagef("--key %s: %w", name, err)
		}
		k.URIs[name] = uri
	}
	if k.Create && len(k.URIs) == 0 {
		return k, usagef("--create-keys says what to do about --key, which is not given")
	}
	return k, nil
}
