package config

// Audit configures the audit record, which is always kept, in audit/ of the data
// directory.
type Audit struct {
	// Key is the name of the key in keys/ that signs the record's heads; ECDSA
	// P-256.
	Key string `yaml:"key"`
	// AnchorEvery is how often the head is entered in the transparency log, as a
	// Go duration. Default: 1h.
	AnchorEvery string `yaml:"anchor_every,omitempty"`
}
