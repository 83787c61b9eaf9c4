package signing

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/encoding/protowire"
)

// The SPIFFE Workload API: its method, and the header without which agents refuse
// every call, since what a browser can be led to send has none.
const (
	spiffeMethod  = "/SpiffeWorkloadAPI/FetchJWTSVID"
	spiffeHeader  = "workload.spiffe.io"
	spiffeTimeout = 30 * time.Second
)

// Numbers of the fields of JWTSVIDRequest, JWTSVIDResponse and JWTSVID that we use.
const (
	spiffeAudience protowire.Number = 1
	spiffeSVIDs    protowire.Number = 1
	spiffeSVID     protowire.Number = 2
)

// spiffe asks the agent of the SPIFFE Workload API at the socket that the variable
// names; without the variable none is looked for, since anybody of a machine can put
// a socket below /tmp.
func (c CI) spiffe() (*Ambient, error) {
	named := c.Getenv(spiffeVariable)
	if named == "" {
		return nil, nil
	}
	path := strings.TrimPrefix(strings.TrimPrefix(named, "unix:"), "//")
	if !strings.HasPrefix(path, "/") {
		return nil, fmt.Errorf("find identity token: the variable %s: want unix:///PATH of the agent's socket", spiffeVariable)
	}
	return &Ambient{fmt.Sprintf("the SPIFFE agent at %s, for %q", path, c.Audience), func(ctx context.Context) (string, error) {
		token, err := c.askSPIFFE(ctx, path)
		if err != nil {
			return "", err
		}
		if err := c.checkAudience(token); err != nil {
			return "", fmt.Errorf("token of the SPIFFE agent: %w", err)
		}
		return token, nil
	}}, nil
}

func (c CI) askSPIFFE(ctx context.Context, path string) (_ string, err error) {
	conn, err := grpc.NewClient("unix:"+path, grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultCallOptions(grpc.ForceCodec(rawCodec{}), grpc.MaxCallRecvMsgSize(maxAnswer)))
	if err != nil {
		return "", fmt.Errorf("ask the SPIFFE agent: %w", err)
	}
	defer func() { err = errors.Join(err, conn.Close()) }()
	ctx, cancel := context.WithTimeout(metadata.AppendToOutgoingContext(ctx, spiffeHeader, "true"), spiffeTimeout)
	defer cancel()
	request := protowire.AppendString(protowire.AppendTag(nil, spiffeAudience, protowire.BytesType), c.Audience)
	var answer []byte
	if err := conn.Invoke(ctx, spiffeMethod, &request, &answer); err != nil {
		return "", &UnreachableError{Service: "SPIFFE agent", URL: path, Err: err, Next: "check that it runs and has an entry for this workload"}
	}
	return parseSVIDs(answer)
}

// parseSVIDs returns the first token of a JWTSVIDResponse: an agent lists the
// workload's default identity first.
func parseSVIDs(message []byte) (string, error) {
	svid, err := field(message, spiffeSVIDs)
	if err != nil {
		return "", err
	}
	token, err := field(svid, spiffeSVID)
	if err != nil {
		return "", err
	}
	if len(token) == 0 || len(token) > maxToken {
		return "", errors.New("read answer of the SPIFFE agent: it holds no token")
	}
	return string(token), nil
}

// field returns the first field of a message that has the number and holds bytes,
// nil if there is none. The whole message has to be well-formed.
func field(message []byte, number protowire.Number) (found []byte, err error) {
	for len(message) > 0 {
		got, kind, n := protowire.ConsumeField(message)
		if n < 0 {
			return nil, errors.New("read answer of the SPIFFE agent: it is no protobuf message")
		}
		if got == number && kind == protowire.BytesType && found == nil {
			_, _, head := protowire.ConsumeTag(message)
			found, _ = protowire.ConsumeBytes(message[head:n])
		}
		message = message[n:]
	}
	return found, nil
}

// rawCodec passes messages as the bytes they are.
type rawCodec struct{}

// Marshal implements encoding.Codec.
func (rawCodec) Marshal(v any) ([]byte, error) { return *v.(*[]byte), nil }

// Unmarshal implements encoding.Codec.
func (rawCodec) Unmarshal(data []byte, v any) error {
	*v.(*[]byte) = append([]byte(nil), data...)
	return nil
}

// Name implements encoding.Codec; agents know messages by this name.
func (rawCodec) Name() string { return "proto" }
