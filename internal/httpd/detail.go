package httpd

import (
	"encoding/base64"
	"maps"
	"slices"

	"google.golang.org/protobuf/encoding/protowire"

	"sigstack/internal/fault"
)

// errorDomain is whose reasons they are that error details name.
const errorDomain = "sigstack"

// The messages in error details (googleapis: google/rpc/error_details.proto).
const (
	errorInfoType   = "type.googleapis.com/google.rpc.ErrorInfo"
	requestInfoType = "type.googleapis.com/google.rpc.RequestInfo"
)

// jsonDetails is what programs are told of err in a body: its cause and, with one,
// the request's id, by which our log has the rest. Empty, never nil.
func jsonDetails(err error, requestID string) []any {
	detail, ok := fault.DetailOf(err)
	if !ok {
		return []any{}
	}
	return []any{
		struct {
			Type     string            `json:"@type"`
			Reason   string            `json:"reason"`
			Domain   string            `json:"domain"`
			Metadata map[string]string `json:"metadata,omitempty"`
		}{errorInfoType, detail.Reason, errorDomain, detail.Metadata},
		struct {
			Type      string `json:"@type"`
			RequestID string `json:"requestId"`
		}{requestInfoType, requestID},
	}
}

// callDetails is jsonDetails for a call's status: the value of the metadatum
// grpc-status-details-bin, a google.rpc.Status; "" if there is no cause.
func callDetails(code int, err error, requestID string) string {
	detail, ok := fault.DetailOf(err)
	if !ok {
		return ""
	}
	info := appendString(nil, 1, detail.Reason)
	info = appendString(info, 2, errorDomain)
	for _, key := range slices.Sorted(maps.Keys(detail.Metadata)) {
		entry := appendString(appendString(nil, 1, key), 2, detail.Metadata[key])
		info = appendString(info, 3, string(entry))
	}
	status := protowire.AppendVarint(protowire.AppendTag(nil, 1, protowire.VarintType), uint64(code)) // 0 to 16
	status = appendString(status, 2, fault.Public(err))
	status = appendAny(status, errorInfoType, info)
	status = appendAny(status, requestInfoType, appendString(nil, 1, requestID))
	return base64.RawStdEncoding.EncodeToString(status)
}

// appendAny adds a detail to a google.rpc.Status.
func appendAny(status []byte, name string, message []byte) []byte {
	wrapped := appendString(appendString(nil, 1, name), 2, string(message))
	return appendString(status, 3, string(wrapped))
}

func appendString(message []byte, n protowire.Number, value string) []byte {
	return protowire.AppendString(protowire.AppendTag(message, n, protowire.BytesType), value)
}
