package config

// SigningAlgorithms are the names that CA.SigningAlgorithms may have, of pairs of a
// key and a hash; the first seven are its default.
var SigningAlgorithms = []string{
	"ecdsa-sha2-256-nistp256", "ecdsa-sha2-384-nistp384", "ecdsa-sha2-512-nistp521",
	"rsa-sign-pkcs1-2048-sha256", "rsa-sign-pkcs1-3072-sha256", "rsa-sign-pkcs1-4096-sha256",
	"ed25519",
	"ecdsa-sha2-256-nistp384", "ecdsa-sha2-256-nistp521",
	"rsa-sign-pss-2048-sha256", "rsa-sign-pss-3072-sha256", "rsa-sign-pss-4096-sha256",
	"ed25519-ph",
}
