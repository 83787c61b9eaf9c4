// Package grpctest is a client of the CA's gRPC face for tests: it makes messages
// from the published schema with protobuf's own library, which thereby checks the
// server's encoding. It is for tests only.
package grpctest

import (
	"context"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/dynamicpb"

	cagrpc "sigstack/services/ca/grpc"
)

// Method is the path of one of the service's methods.
func Method(name string) string { return "/" + cagrpc.Service + "/" + name }

// New returns an empty message of the schema.
func New(t testing.TB, name string) *dynamicpb.Message {
	t.Helper()
	file, err := schema()
	if err != nil {
		t.Fatal(err)
	}
	d := file.Messages().ByName(protoreflect.Name(name))
	if d == nil {
		t.Fatalf("ca.proto has no message %s", name)
	}
	return dynamicpb.NewMessage(d)
}

// FromJSON returns a message of the schema by its JSON, unknown fields aside.
func FromJSON(t testing.TB, name string, text []byte) *dynamicpb.Message {
	t.Helper()
	m := New(t, name)
	if err := (protojson.UnmarshalOptions{DiscardUnknown: true}).Unmarshal(text, m); err != nil {
		t.Fatalf("%s of %s: %v", name, text, err)
	}
	return m
}

// Call calls a method; the answer is of the named type.
func Call(ctx context.Context, t testing.TB, conn *grpc.ClientConn, method string, in proto.Message, answer string, opts ...grpc.CallOption) (*dynamicpb.Message, error) {
	t.Helper()
	out := New(t, answer)
	return out, conn.Invoke(ctx, Method(method), in, out, opts...)
}

// Certificates are those of a SigningCertificate with an embedded SCT.
func Certificates(m *dynamicpb.Message) []string {
	var out []string
	inner := m
	for _, name := range []protoreflect.Name{"signed_certificate_embedded_sct", "chain"} {
		inner = inner.Get(inner.Descriptor().Fields().ByName(name)).Message().Interface().(*dynamicpb.Message)
	}
	list := inner.Get(inner.Descriptor().Fields().ByName("certificates")).List()
	for i := range list.Len() {
		out = append(out, list.Get(i).String())
	}
	return out
}

var schema = sync.OnceValues(func() (protoreflect.FileDescriptor, error) {
	file, err := parse(cagrpc.Schema)
	if err != nil {
		return nil, err
	}
	return protodesc.NewFile(file, nil)
})

// The lines that a schema without nested messages is made of.
var (
	reBlock = regexp.MustCompile(`^(message|enum|oneof|service) (\w+) \{$`)
	reField = regexp.MustCompile(`^(repeated )?(\w+) (\w+) = (\d+);$`)
	reValue = regexp.MustCompile(`^(\w+) = (\d+);$`)
	reRPC   = regexp.MustCompile(`^rpc (\w+)\((\w+)\) returns \((\w+)\);$`)
	reOther = regexp.MustCompile(`^(syntax = "proto3";|package ([\w.]+);|\})?$`)
)

// parser reads a schema line by line.
type parser struct {
	file  *descriptorpb.FileDescriptorProto
	open  []string // kinds of the blocks that are open
	enums []string
}

func parse(text string) (*descriptorpb.FileDescriptorProto, error) {
	p := parser{file: &descriptorpb.FileDescriptorProto{Name: proto.String("ca.proto"), Syntax: proto.String("proto3")}}
	for line := range strings.SplitSeq(text, "\n") {
		if m := reBlock.FindStringSubmatch(line); m != nil && m[1] == "enum" {
			p.enums = append(p.enums, m[2])
		}
	}
	for line := range strings.SplitSeq(text, "\n") {
		line, _, _ = strings.Cut(line, "//")
		if err := p.line(strings.TrimSpace(line)); err != nil {
			return nil, fmt.Errorf("ca.proto: %q: %w", line, err)
		}
	}
	return p.file, nil
}

func (p *parser) line(line string) error {
	if m := reBlock.FindStringSubmatch(line); m != nil {
		p.block(m[1], proto.String(m[2]))
		return nil
	}
	if m := reRPC.FindStringSubmatch(line); m != nil {
		service := p.file.Service[len(p.file.Service)-1]
		service.Method = append(service.Method, &descriptorpb.MethodDescriptorProto{
			Name: proto.String(m[1]), InputType: p.local(m[2]), OutputType: p.local(m[3]),
		})
		return nil
	}
	if m := reValue.FindStringSubmatch(line); m != nil {
		n, err := strconv.ParseInt(m[2], 10, 32)
		enum := p.file.EnumType[len(p.file.EnumType)-1]
		enum.Value = append(enum.Value, &descriptorpb.EnumValueDescriptorProto{Name: proto.String(m[1]), Number: proto.Int32(int32(n))})
		return err
	}
	if m := reField.FindStringSubmatch(line); m != nil {
		return p.field(m[1] != "", m[2], m[3], m[4])
	}
	m := reOther.FindStringSubmatch(line)
	switch {
	case m == nil:
		return fmt.Errorf("not understood")
	case m[2] != "":
		p.file.Package = proto.String(m[2])
	case line == "}":
		p.open = p.open[:len(p.open)-1]
	}
	return nil
}

func (p *parser) block(kind string, name *string) {
	p.open = append(p.open, kind)
	switch kind {
	case "message":
		p.file.MessageType = append(p.file.MessageType, &descriptorpb.DescriptorProto{Name: name})
	case "enum":
		p.file.EnumType = append(p.file.EnumType, &descriptorpb.EnumDescriptorProto{Name: name})
	case "service":
		p.file.Service = append(p.file.Service, &descriptorpb.ServiceDescriptorProto{Name: name})
	case "oneof":
		m := p.message()
		m.OneofDecl = append(m.OneofDecl, &descriptorpb.OneofDescriptorProto{Name: name})
	}
}

func (p *parser) message() *descriptorpb.DescriptorProto {
	return p.file.MessageType[len(p.file.MessageType)-1]
}

func (p *parser) field(repeated bool, kind, name, number string) error {
	n, err := strconv.ParseInt(number, 10, 32)
	if err != nil {
		return err
	}
	m := p.message()
	f := &descriptorpb.FieldDescriptorProto{
		Name: proto.String(name), Number: proto.Int32(int32(n)), Label: descriptorpb.FieldDescriptorProto_LABEL_OPTIONAL.Enum(),
	}
	if repeated {
		f.Label = descriptorpb.FieldDescriptorProto_LABEL_REPEATED.Enum()
	}
	if slices.Contains(p.open, "oneof") {
		f.OneofIndex = proto.Int32(int32(len(m.OneofDecl)) - 1)
	}
	switch kind {
	case "string":
		f.Type = descriptorpb.FieldDescriptorProto_TYPE_STRING.Enum()
	case "bytes":
		f.Type = descriptorpb.FieldDescriptorProto_TYPE_BYTES.Enum()
	case "bool":
		f.Type = descriptorpb.FieldDescriptorProto_TYPE_BOOL.Enum()
	default:
		f.Type, f.TypeName = descriptorpb.FieldDescriptorProto_TYPE_MESSAGE.Enum(), p.local(kind)
		if slices.Contains(p.enums, kind) {
			f.Type = descriptorpb.FieldDescriptorProto_TYPE_ENUM.Enum()
		}
	}
	m.Field = append(m.Field, f)
	return nil
}

// local is the full name of one of the schema's types.
func (p *parser) local(name string) *string {
	return proto.String("." + p.file.GetPackage() + "." + name)
}
