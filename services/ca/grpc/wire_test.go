package grpc_test

import (
	"bytes"
	"testing"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/dynamicpb"

	"sigstack/internal/fault"
	cagrpc "sigstack/services/ca/grpc"
	"sigstack/services/ca/grpc/grpctest"
)

// child is a message field's value, empty if it is not set.
func child(m *dynamicpb.Message, name protoreflect.Name) *dynamicpb.Message {
	return m.Get(m.Descriptor().Fields().ByName(name)).Message().Interface().(*dynamicpb.Message)
}

func value(m *dynamicpb.Message, name protoreflect.Name) protoreflect.Value {
	return m.Get(m.Descriptor().Fields().ByName(name))
}

// field is a field of type string, bytes or message, encoded.
func field(n protowire.Number, value string) []byte {
	return protowire.AppendString(protowire.AppendTag(nil, n, protowire.BytesType), value)
}

func join(parts ...[]byte) []byte { return bytes.Join(parts, nil) }

// FuzzDecodeRequest: whatever bytes come, the decoder takes the same messages as
// protobuf's own, and finds the same in them.
func FuzzDecodeRequest(f *testing.F) {
	key := func(content, proof string) string {
		return string(join(field(1, string(field(2, content))), field(2, proof)))
	}
	for _, seed := range [][]byte{
		nil,
		join(field(1, string(field(1, "token"))), field(2, key("PEM", "proof"))),
		field(3, "CSR"),
		join(field(2, key("a", "b")), field(3, "CSR")), // both arms: the last one counts
		join(field(3, "CSR"), field(2, key("a", "b"))),
		join(field(2, key("a", "b")), field(3, ""), field(2, key("c", ""))),
		join(field(2, key("a", "b")), field(2, string(field(2, "c")))), // merged
		join(field(1, string(field(1, "x"))), field(1, "")),
		join(field(9, "unknown"), []byte{0x08, 0x01}), // another type in field 1
		field(1, string(field(1, "\xff"))),            // not UTF-8
		field(2, string(field(1, string(field(2, "\xff"))))),
		{0x0a, 0x05, 0x00},                   // cut short
		{0x00},                               // field 0
		{0x0b, 0x0c},                         // a group in field 1
		{0x0c},                               // its end alone
		{0xfa, 0xff, 0xff, 0xff, 0x0f, 0x00}, // the largest field number
		{0x82, 0x80, 0x80, 0x80, 0x10, 0x00}, // and one more
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		want := grpctest.New(t, "CreateSigningCertificateRequest")
		wantErr := proto.Unmarshal(data, want)
		got, err := cagrpc.DecodeRequest(data)
		if (err == nil) != (wantErr == nil) {
			t.Fatalf("%x: error %v, protobuf's own %v", data, err, wantErr)
		}
		if err != nil {
			if fault.KindOf(err) != fault.Invalid {
				t.Errorf("error %v is not the caller's", err)
			}
			return
		}
		request := child(want, "public_key_request")
		for _, x := range []struct {
			what      string
			got, want []byte
		}{
			{"token", []byte(got.Token), []byte(value(child(want, "credentials"), "oidc_identity_token").String())},
			{"key", got.PublicKey, []byte(value(child(request, "public_key"), "content").String())},
			{"proof", got.Proof, value(request, "proof_of_possession").Bytes()},
			{"csr", got.CSR, value(want, "certificate_signing_request").Bytes()},
		} {
			if !bytes.Equal(x.got, x.want) {
				t.Errorf("%x: %s %q, want %q", data, x.what, x.got, x.want)
			}
		}
	})
}
