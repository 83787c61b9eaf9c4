package config

import (
	"errors"
	"slices"
	"testing"
)

// TestAccess: what each policy needs to work at all.
func TestAccess(t *testing.T) {
	issuer := Issuer{URL: "https://issuer.example.com", Type: "email"}
	withCA := Config{CA: &CA{}, CTLog: &CTLog{}, TLog: &TLog{}, TSA: &TSA{}}
	logs := Config{CTLog: &CTLog{}, TLog: &TLog{}, Peers: &Peers{Listen: "127.0.0.1:1"}}
	front := Config{TUF: &TUF{}, Peers: &Peers{}}
	clients := &TLS{ClientCA: "clients.pem"}
	tests := []struct {
		name   string
		conf   Config
		tls    *TLS
		access Access
		want   []string // fields with a problem
	}{
		{"nothing said", withCA, nil, Access{}, nil},
		{"bearer with a CA", withCA, nil, Access{Read: "bearer", Write: WriteAccess{TLog: "bearer", TSA: "bearer"}}, nil},
		{"bearer without issuers", logs, nil, Access{Read: "bearer", Write: WriteAccess{TLog: "bearer"}}, []string{"access.read", "access.write.tlog"}},
		{"bearer with issuers", logs, nil, Access{Read: "bearer", IssuerSet: IssuerSet{Issuers: []Issuer{issuer}}}, nil},
		{"bearer elsewhere", front, nil, Access{Read: "bearer", Write: WriteAccess{TLog: "bearer"}}, nil},
		{"issuers twice", withCA, nil, Access{IssuerSet: IssuerSet{Issuers: []Issuer{issuer}}}, []string{"access.issuers"}},
		{"issuer of no type", logs, nil, Access{IssuerSet: IssuerSet{Issuers: []Issuer{{URL: issuer.URL}}}}, []string{"access.issuers[0].type"}},
		{"mtls without authorities", withCA, nil, Access{Read: "mtls", Write: WriteAccess{CA: "mtls"}}, []string{"access.read", "access.write.ca"}},
		{"mtls", withCA, clients, Access{Read: "mtls", Write: WriteAccess{CA: "mtls", CTLog: "mtls"}}, nil},
		{"mtls behind a front", logs, nil, Access{Read: "mtls"}, nil},
		{"mtls at a front", front, nil, Access{Read: "mtls"}, []string{"access.read"}},
		{"internal", withCA, nil, Access{Write: WriteAccess{CTLog: "internal"}}, nil},
		{
			"internal elsewhere", withCA, nil,
			Access{Read: "internal", Write: WriteAccess{CA: "internal", TLog: "internal", TSA: "internal"}},
			[]string{"access.read", "access.write.ca", "access.write.tlog", "access.write.tsa"},
		},
		{"bearer for the CA", withCA, nil, Access{Write: WriteAccess{CA: "bearer"}}, []string{"access.write.ca"}},
		{"proxies", withCA, nil, Access{TrustedProxies: []string{"10.0.0.0/8", "10.0.0.1"}}, []string{"access.trusted_proxies[1]"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			tt.conf.TLS = tt.tls
			tt.access.setDefaults(ProfileServe)
			var p problems
			tt.access.validate(&p, &tt.conf)
			var invalid *Invalid
			var got []string
			if errors.As(p.join(), &invalid) {
				for _, problem := range invalid.Problems {
					got = append(got, problem.Field)
				}
			}
			if !slices.Equal(got, tt.want) {
				t.Errorf("problems in %v, want %v: %v", got, tt.want, p.join())
			}
		})
	}
}

func TestAccessDefaults(t *testing.T) {
	for profile, ctlog := range map[string]string{ProfileUp: AccessAnonymous, ProfileServe: AccessInternal} {
		var a Access
		a.setDefaults(profile)
		want := WriteAccess{CA: AccessAnonymous, CTLog: ctlog, TLog: AccessAnonymous, TSA: AccessAnonymous}
		if a.Read != AccessAnonymous || a.Write != want {
			t.Errorf("profile %s: read %s, write %+v, want %+v", profile, a.Read, a.Write, want)
		}
		var l Limits
		l.setDefaults(profile)
		if limited := l.Address != (Rate{}) && l.Identity != (Rate{}); limited != (profile == ProfileServe) {
			t.Errorf("profile %s: limits %+v", profile, l)
		}
	}
}
