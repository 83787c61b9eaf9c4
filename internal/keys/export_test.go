package keys

// RewriteReference reads a reference and writes it.
func RewriteReference(data []byte) ([]byte, error) {
	r, err := decodeReference(data)
	if err != nil {
		return nil, err
	}
	return r.encode()
}
