package trust

// RenderConfig is the inverse of ParseSigningConfig.
func RenderConfig(c Config) ([]byte, error) { return raw(c.proto()) }
