package arch

// module is the import path of the repository.
const module = "sigstack"

// The layers, lowest first. A row names one component: a package and every
// package below its folder, unless a longer row exists for those. It may
// import itself, and of the rest of the repository exactly what uses lists.
// A package without a row fails the test, so a new one is placed on purpose.
//
// Changing this table is a design decision: write a page in docs/decisions.
var layers = []layer{
	// Pure: bytes in, bytes out.
	{path: "internal/fault"},
	{path: "internal/pki", uses: []string{"internal/fault"}},
	{path: "internal/trust", uses: []string{"internal/fault", "internal/pki"}},
	{path: "internal/look"},
	{path: "internal/pgtest"},
	{path: "internal/pgdb", uses: []string{"internal/pgtest"}},

	// Foundation: what every service stands on.
	{path: "internal/durable", uses: pure},
	{path: "internal/run", uses: pure},
	{path: "internal/limit"},
	{path: "internal/httpd", uses: join(pure, "internal/limit")},
	{path: "internal/keys", uses: join(pure, "internal/durable")},
	{path: "internal/merkle", uses: join(pure, "internal/durable", "internal/pgdb", "internal/pgtest")},
	{path: "internal/audit", uses: join(pure, "internal/durable")},
	{path: "internal/fleet", uses: join(pure, "internal/durable", "internal/pgdb", "internal/pgtest")},
	{path: "internal/filewatch"},
	{path: "internal/tlsconf", uses: join(pure, "internal/filewatch")},
	{path: "internal/peer", uses: join(pure, "internal/httpd", "internal/tlsconf")},
	{path: "internal/admin", uses: join(pure, "internal/durable", "internal/httpd")},

	// The trust root.
	{path: "tuf-root", uses: join(pure, "internal/keys", "internal/durable")},
	{path: "tuf-root/ceremony", uses: join(pure, "internal/durable", "tuf-root")},

	// Services, which never import one another.
	{path: "services/ca", uses: foundation},
	{path: "services/ctlog", uses: foundation},
	{path: "services/oidc", uses: join(foundation, "internal/look")},
	{path: "services/tlog", uses: foundation},
	{path: "services/tlog/entry", uses: pure},
	{path: "services/tsa", uses: foundation},
	{path: "services/tuf", uses: join(foundation, "tuf-root")},

	// The client, beside the services: it knows trust material and URLs.
	{path: "internal/signing", uses: join(pure, "internal/durable", "internal/look")},
	{path: "internal/oci", uses: join(pure, "internal/signing")},
	{path: "internal/slsa", uses: []string{"internal/signing"}},
	{path: "internal/sbom", uses: []string{"internal/signing"}},
	{path: "internal/release", uses: join(pure, "internal/durable", "internal/oci", "internal/signing")},

	// Assembly.
	{path: "internal/config", uses: join(pure, "internal/durable")},
	{path: "internal/rotate", uses: []string{"internal/durable"}},
	{path: "internal/stack", uses: join(foundation, "internal/admin", "internal/filewatch", "internal/fleet", "internal/peer", "internal/tlsconf", "internal/config", "internal/look", "internal/signing", "tuf-root",
		"services/ca", "services/ctlog", "services/oidc", "services/tlog", "services/tsa", "services/tuf")},

	// The edges.
	{path: "cmd/sigstack", uses: edge},
	{path: "cmd/sigstore-kms-hashivault"},
	{path: "e2e", uses: edge},
	{path: "deploy", uses: []string{"internal/config"}},
	{path: "tools", uses: []string{"..."}},
	{path: "internal/arch"},
}

var (
	pure       = []string{"internal/fault", "internal/pki", "internal/trust"}
	foundation = join(pure, "internal/merkle", "internal/keys", "internal/httpd", "internal/run", "internal/durable",
		"internal/audit", "internal/limit", "internal/pgdb", "internal/pgtest")
	edge = join(pure, "internal/stack", "internal/config", "internal/fleet", "internal/signing", "internal/oci", "internal/slsa", "internal/sbom", "internal/release",
		"internal/keys", "internal/httpd", "internal/run", "internal/durable", "internal/audit", "internal/admin", "internal/tlsconf", "internal/rotate", "internal/pgtest",
		"tuf-root", "tuf-root/ceremony")
)

// owners says which components may import a package of someone else, or of
// the standard library, and every package below it. Tests keep to the first
// kind but not to the second: they may read flags and files.
var owners = []owner{
	{path: "github.com/google/trillian/extension", only: []string{"internal/merkle"}},
	{path: "github.com/google/trillian/integration", only: []string{"internal/merkle"}},
	{path: "github.com/google/trillian/log", only: []string{"internal/merkle"}},
	{path: "github.com/google/trillian/quota", only: []string{"internal/merkle"}},
	{path: "github.com/google/trillian/server", only: []string{"internal/merkle"}},
	{path: "github.com/google/trillian/storage", only: []string{"internal/merkle"}},
	{path: "github.com/google/trillian/trees", only: []string{"internal/merkle"}},
	{path: "github.com/google/certificate-transparency-go/trillian", only: []string{"services/ctlog"}},
	{path: "github.com/dexidp/dex", only: []string{"services/oidc"}},
	{path: "github.com/theupdateframework/go-tuf", only: []string{"tuf-root", "internal/signing"}},
	// Roots are never merged, and the public one is never fetched unasked.
	{path: "github.com/sigstore/sigstore-go/pkg/tuf", only: testsAlone, code: true},
	{path: "github.com/spf13/cobra", only: []string{"cmd/sigstack"}},
	{path: "github.com/spf13/pflag", only: []string{"cmd/sigstack"}},

	{path: "flag", only: programs, code: true},
	{path: "log", exact: true, only: programs, code: true},
}

// calls says which components may name a function outside tests.
var calls = []owner{
	{path: "os.Exit", only: programs},
	// All time comes from one clock, which the stack is given.
	{path: "time.Now", only: join(programs, "internal/stack")},
	{path: "time.Since", only: join(programs, "internal/stack")},
	{path: "time.Until", only: join(programs, "internal/stack")},
	{path: sigstoreRoot + "TrustedMaterialCollection", only: testsAlone},
	{path: sigstoreRoot + "FetchTrustedRoot", only: testsAlone},
	{path: sigstoreRoot + "FetchTrustedRootWithOptions", only: testsAlone},
	{path: sigstoreRoot + "GetTrustedRoot", only: testsAlone},
	{path: sigstoreRoot + "NewLiveTrustedRoot", only: testsAlone},
	{path: sigstoreRoot + "NewLiveTrustedRootFromTarget", only: testsAlone},
	{path: sigstoreRoot + "NewLiveTrustedRootFromTargetWithPeriod", only: testsAlone},
}

// sigstoreRoot is the package of trusted roots.
const sigstoreRoot = "github.com/sigstore/sigstore-go/pkg/root."

// testsAlone is no component: tests do without leave.
var testsAlone = []string{"tests"}

// programs are the components that own a process.
var programs = []string{"cmd/sigstack", "cmd/sigstore-kms-hashivault", "e2e", "tools"}

// withoutIO are the components that touch no file, network or logger, and
// what that rules out.
var (
	withoutIO = []string{"internal/fault", "internal/pki", "internal/trust", "services/tlog/entry"}
	ioImports = []string{"log/slog", "net/http", "os"}
)

// The size of a folder under services and of a file anywhere.
const (
	maxServiceFiles = 8
	maxFileLines    = 450
)

// join returns a list that shares no memory with its parts.
func join(list []string, more ...string) []string {
	return append(append([]string(nil), list...), more...)
}
