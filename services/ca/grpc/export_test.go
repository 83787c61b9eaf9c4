package grpc

// DecodeRequest is for a test that holds it against protobuf's own decoder.
var DecodeRequest = decodeRequest
