package ca

import (
	"crypto/rsa"
	"errors"
	"fmt"
	"iter"
	"math/big"
)

const (
	// rsaExponent is the only public exponent allowed.
	rsaExponent = 65537
	// smallFactor bounds trial division.
	smallFactor = 752
	// fermatRounds is how many steps Fermat's method gets: enough for factors so
	// close that a careless generator made them, not for any others.
	fermatRounds = 100
	// lastROCAPrime is the last prime whose residues tell a ROCA modulus from a
	// random one; 38 odd primes leave a chance below 2^-100 for a mistake.
	lastROCAPrime = 167
)

// checkRSA refuses sizes and exponents that clients do not know, and moduli that
// are easily factored.
func checkRSA(key *rsa.PublicKey) error {
	switch key.N.BitLen() {
	case 2048, 3072, 4096:
	default:
		return fmt.Errorf("RSA modulus of %d bits is not allowed", key.N.BitLen())
	}
	if key.E != rsaExponent {
		return fmt.Errorf("RSA exponent %d is not allowed", key.E)
	}
	switch {
	case hasSmallFactor(key.N):
		return errors.New("RSA modulus has a small factor")
	case hasROCAResidues(key.N):
		return errors.New("RSA modulus was made by a broken generator (CVE-2017-15361)")
	case hasCloseFactors(key.N):
		return errors.New("RSA modulus has factors close to each other")
	}
	return nil
}

func hasSmallFactor(n *big.Int) bool {
	for p := range primes(smallFactor) {
		if residue(n, p) == 0 {
			return true
		}
	}
	return false
}

// hasROCAResidues finds moduli whose factors are 65537^a mod M, M a product of
// small primes (Nemec et al., "The Return of Coppersmith's Attack", 2017, §3):
// modulo each of those primes the modulus is then a power of 65537 too.
func hasROCAResidues(n *big.Int) bool {
	for p := range primes(lastROCAPrime) {
		if p > 2 && !isPower(residue(n, p), p) {
			return false
		}
	}
	return true
}

// isPower reports whether r is a power of 65537 modulo p.
func isPower(r, p int64) bool {
	power := int64(1)
	for range p {
		if power == r {
			return true
		}
		power = power * rsaExponent % p
	}
	return false
}

// hasCloseFactors looks for a with a²-n a square, from √n upwards (Fermat).
func hasCloseFactors(n *big.Int) bool {
	a := new(big.Int).Sqrt(n)
	one := big.NewInt(1)
	var square, rest, root big.Int
	for range fermatRounds {
		if square.Mul(a, a); square.Cmp(n) >= 0 && maybeSquare(rest.Sub(&square, n)) {
			root.Sqrt(&rest)
			if square.Mul(&root, &root); square.Cmp(&rest) == 0 {
				return true
			}
		}
		a.Add(a, one)
	}
	return false
}

// maybeSquare rules out four of five numbers cheaply: a square's remainder modulo
// 64 is one of twelve.
func maybeSquare(x *big.Int) bool {
	var low uint64
	for bit := range 6 {
		low |= uint64(x.Bit(bit)) << bit
	}
	const squares = 0x0202021202030213 // bit i: i is a square modulo 64
	return squares>>low&1 == 1
}

func residue(n *big.Int, p int64) int64 {
	var r big.Int
	return r.Mod(n, big.NewInt(p)).Int64()
}

// primes yields the primes up to limit.
func primes(limit int64) iter.Seq[int64] {
	return func(yield func(int64) bool) {
		for p := int64(2); p <= limit; p++ {
			if prime(p) && !yield(p) {
				return
			}
		}
	}
}

func prime(n int64) bool {
	for d := int64(2); d*d <= n; d++ {
		if n%d == 0 {
			return false
		}
	}
	return true
}
