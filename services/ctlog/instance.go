package ctlog

import (
	"context"
	"crypto"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"github.com/google/certificate-transparency-go/trillian/ctfe"
	"github.com/google/certificate-transparency-go/trillian/ctfe/configpb"
	tkeys "github.com/google/trillian/crypto/keys"
	"github.com/google/trillian/crypto/keyspb"
	"github.com/google/trillian/monitoring"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"sigstack/internal/pki"
)

// unbounded is the deadline that ctfe itself sets on a request. It computes it
// from the stack's clock but the runtime measures it with the machine's, so a
// stack clock that lags would fail every request; requestTimeout bounds them
// instead. The longest Duration is 292 years.
const unbounded = 100 * 365 * 24 * time.Hour

// setUp makes a ctfe instance on backend and returns its handlers by path.
func setUp(ctx context.Context, cfg Config, backend *backend) (ctfe.PathHandlers, error) {
	roots, err := writeRoots(cfg.TempDir, cfg.Roots)
	if err != nil {
		return nil, err
	}
	handlers, err := setUpInstance(ctx, cfg, backend, roots)
	return handlers, errors.Join(err, os.Remove(roots)) // it is read once
}

func setUpInstance(ctx context.Context, cfg Config, backend *backend, roots string) (ctfe.PathHandlers, error) {
	signer, err := anypb.New(wrapperspb.String(cfg.Signer.Name))
	if err != nil {
		return nil, fmt.Errorf("encode key name: %w", err)
	}
	validated, err := ctfe.ValidateLogConfig(&configpb.LogConfig{
		LogId:        cfg.Tree.ID(),
		Prefix:       cfg.Prefix,
		RootsPemFile: []string{roots},
		PrivateKey:   signer,
		PublicKey:    &keyspb.PublicKey{Der: cfg.Signer.SPKI()},
		ExtKeyUsages: []string{"CodeSigning"},
	})
	if err != nil {
		return nil, fmt.Errorf("validate config: %w", err)
	}
	registerSigner()
	inst, err := ctfe.SetUpInstance(context.WithValue(ctx, signerKey{}, cfg.Signer.Signer), ctfe.InstanceOptions{
		Validated: validated,
		Client:    backend,
		Deadline:  unbounded,
		// The mux counts requests. ctfe's own metrics are process-global and
		// would belong to whichever log was set up first.
		MetricFactory:      monitoring.InertMetricFactory{},
		RequestLog:         &ctfe.DefaultRequestLog{},
		MaskInternalErrors: true,
	})
	if err != nil {
		return nil, err
	}
	for _, h := range inst.Handlers {
		h.Info.TimeSource = timeSource{cfg.Now} // shared by all handlers
	}
	return inst.Handlers, nil
}

// writeRoots writes roots as PEM to a private temporary file, the one form in
// which ctfe takes them.
func writeRoots(dir string, roots []*x509.Certificate) (path string, err error) {
	f, err := os.CreateTemp(dir, "ctlog-roots-*.pem")
	if err != nil {
		return "", fmt.Errorf("make roots file: %w", err)
	}
	_, err = f.Write(pki.CertificatesPEM(roots))
	if err = errors.Join(err, f.Close()); err != nil {
		return "", errors.Join(fmt.Errorf("write roots file: %w", err), os.Remove(f.Name()))
	}
	return f.Name(), nil
}

// timeSource gives ctfe the stack's clock.
type timeSource struct{ now func() time.Time }

func (t timeSource) Now() time.Time { return t.now() }

// signerKey is the context key under which set-up carries a log's signer.
type signerKey struct{}

// registerSigner teaches Trillian's process-wide registry of key formats to
// take the signer from the context of the set-up that asks, so that several
// logs share the one registration.
var registerSigner = sync.OnceFunc(func() {
	tkeys.RegisterHandler(&wrapperspb.StringValue{}, signerFromContext)
})

func signerFromContext(ctx context.Context, _ proto.Message) (crypto.Signer, error) {
	signer, ok := ctx.Value(signerKey{}).(crypto.Signer)
	if !ok {
		return nil, errors.New("no signer in the context")
	}
	return signer, nil
}
