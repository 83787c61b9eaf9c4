package ctlog

import (
	"context"
	"crypto"
	"crypto/x509"
	"errors"
	"fmt"
	"math"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/google/certificate-transparency-go/trillian/ctfe"
	"github.com/google/certificate-transparency-go/trillian/ctfe/configpb"
	tkeys "github.com/google/trillian/crypto/keys"
	"github.com/google/trillian/crypto/keyspb"
	"github.com/google/trillian/monitoring"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/timestamppb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"sigstack/internal/pki"
)

// unbounded is the deadline that ctfe itself sets on a request. It computes it
// from the stack's clock but the runtime measures it with the machine's, so a
// stack clock that lags would fail every request; requestTimeout bounds them
// instead. The longest Duration is 292 years.
const unbounded = 100 * 365 * 24 * time.Hour

// instance is a ctfe instance with the roots that it has read. Another set of
// roots is another instance, and so is a log that is frozen.
type instance struct {
	handlers ctfe.PathHandlers
	roots    []*x509.Certificate
	final    []byte // tree head of a frozen log
	known    known  // chains above a precertificate that it has taken
}

func (s *Service) newInstance(ctx context.Context, roots []*x509.Certificate, final []byte) (*instance, error) {
	file, err := writeRoots(s.cfg.TempDir, roots)
	if err != nil {
		return nil, err
	}
	handlers, err := s.setUp(ctx, file, final)
	if err = errors.Join(err, os.Remove(file)); err != nil { // it is read once
		return nil, err
	}
	return &instance{handlers: handlers, roots: slices.Clone(roots), final: final}, nil
}

func (s *Service) setUp(ctx context.Context, rootsFile string, final []byte) (ctfe.PathHandlers, error) {
	validated, err := s.ctfeConfig(rootsFile, final)
	if err != nil {
		return nil, err
	}
	registerSigner()
	inst, err := ctfe.SetUpInstance(context.WithValue(ctx, signerKey{}, s.cfg.Signer.Signer), ctfe.InstanceOptions{
		Validated: validated,
		Client:    s.backend,
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
		h.Info.TimeSource = timeSource{s.cfg.Now} // shared by all handlers
	}
	return inst.Handlers, nil
}

// ctfeConfig leaves refusing chains to the service, whose state can change, but for a
// log that is frozen for ever.
func (s *Service) ctfeConfig(rootsFile string, final []byte) (*ctfe.ValidatedLogConfig, error) {
	signer, err := anypb.New(wrapperspb.String(s.cfg.Signer.Name))
	if err != nil {
		return nil, fmt.Errorf("encode key name: %w", err)
	}
	conf := &configpb.LogConfig{
		LogId:            s.cfg.Tree.ID(),
		Prefix:           s.cfg.Prefix,
		RootsPemFile:     []string{rootsFile},
		PrivateKey:       signer,
		PublicKey:        &keyspb.PublicKey{Der: s.cfg.Signer.SPKI()},
		ExtKeyUsages:     []string{"CodeSigning"},
		IsReadonly:       final != nil,
		MaxMergeDelaySec: int32(min(s.cfg.MergeDelay/time.Second, math.MaxInt32)),
		Logv3Url:         s.base() + "/",
	}
	if from := s.cfg.NotAfterStart; !from.IsZero() {
		conf.NotAfterStart = timestamppb.New(from)
	}
	if to := s.cfg.NotAfterLimit; !to.IsZero() {
		conf.NotAfterLimit = timestamppb.New(to)
	}
	if final != nil {
		if conf.FrozenSth, err = parseHead(final); err != nil {
			return nil, err
		}
	}
	validated, err := ctfe.ValidateLogConfig(conf)
	if err != nil {
		return nil, fmt.Errorf("validate config: %w", err)
	}
	return validated, nil
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
