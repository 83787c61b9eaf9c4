package tsa

import (
	"mime"
	"net/http"

	"sigstack/internal/fault"
	"sigstack/internal/httpd"
)

const (
	timestampPath = "/api/v1/timestamp"
	chainPath     = "/api/v1/timestamp/certchain"

	// maxDER bounds a DER request in bytes; a real one has about 100.
	maxDER = 64 << 10

	queryType = "application/timestamp-query" // RFC 3161 §3.4
	replyType = "application/timestamp-reply"
	jsonType  = "application/json"
	chainType = "application/pem-certificate-chain"
)

// Mount adds the service's routes to mux.
func (s *Service) Mount(mux *httpd.Mux) {
	g := mux.Group("tsa", httpd.RESTErrors)
	g.Handle(http.MethodPost, timestampPath, maxDER, s.timestamp)
	g.As(httpd.Public).Handle(http.MethodGet, chainPath, 0, s.certchain)
}

// timestamp answers both forms of the request with a DER TimeStampResp, 201 as
// upstream does.
func (s *Service) timestamp(w http.ResponseWriter, r *http.Request) error {
	form, parse := "der", parseDER
	switch mediaType(r) {
	case queryType:
	case jsonType:
		form, parse = "json", parseJSON
	default:
		return fault.Newf(fault.Unsupported, "content type must be %s or %s", queryType, jsonType)
	}
	body, err := httpd.ReadBody(r)
	if err != nil {
		return err
	}
	q, err := parse(body)
	if err != nil {
		return err
	}
	der, err := s.issue(r.Context(), q)
	if err != nil {
		return err
	}
	s.metrics.issued.WithLabelValues(form).Inc()
	httpd.WriteBytes(w, http.StatusCreated, replyType, der)
	return nil
}

func (s *Service) certchain(w http.ResponseWriter, _ *http.Request) error {
	httpd.WriteBytes(w, http.StatusOK, chainType, s.state.Load().pem)
	return nil
}

// mediaType returns the request's content type without parameters, "" if there
// is none or it is malformed.
func mediaType(r *http.Request) string {
	media, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if err != nil {
		return ""
	}
	return media
}
