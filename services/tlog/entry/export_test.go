package entry

// CanonicalKey gives tests the canonical form of key material.
func CanonicalKey(material []byte) ([]byte, error) {
	v, err := parseVerifier(material)
	return v.pem, err
}
